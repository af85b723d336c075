"""`expire`: ends holds whose lease is over, because their gateway is gone."""

from __future__ import annotations

import pytest

from gateway.domain.reservation import Expired
from gateway.domain.usage import Usage
from tests.lua.caller import LEASE_MS, MIDNIGHT_MS, SECOND_MS, Caller, contents
from tests.lua.conftest import NewCaller


@pytest.mark.parametrize(
    ("on_lost", "counted", "charged"),
    [
        ("charge_counted", 0, 0),
        ("charge_counted", 6, 6),
        ("charge_counted", 9, 9),  # More than was held: the excess is drawn.
        ("charge_hold", 6, 7),
        ("release", 6, 0),
    ],
)
def test_a_lost_call_is_charged_as_its_route_says(caller: Caller, on_lost: str, counted: int, charged: int) -> None:
    caller.reserve("r1", 7, on_lost=on_lost)
    caller.renew("r1", 1, counted=counted)
    caller.now_ms += LEASE_MS

    assert caller.expire() == Expired(ended=1, charged=charged)

    account = caller.account()
    assert (account.spent, account.held, account.left) == (charged, 0, 20 - charged)
    assert caller.hold("r1") == {}


def test_a_stream_that_had_reserved_more_is_charged_all_of_it(caller: Caller) -> None:
    caller.reserve("r1", 7, on_lost="charge_hold")
    caller.renew("r1", 1, more=2)
    caller.now_ms += LEASE_MS

    assert caller.expire() == Expired(ended=1, charged=9)


def test_what_nothing_covers_is_not_among_the_units_charged(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.renew("r1", 1, counted=23)
    caller.now_ms += LEASE_MS
    caller.events()

    assert caller.expire() == Expired(ended=1, charged=20)
    assert caller.entries()[-2:] == ["USAGE overdraft -3", "WRITE_OFF overdraft +3"]


def test_the_ledger_hears_of_the_lost_call(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.renew("r1", 1, counted=6, counted_usage=Usage(input=30, output=12))
    caller.now_ms += LEASE_MS
    caller.events()

    caller.expire()

    event = caller.event()
    assert (event.id, event.kind, event.account) == ("r1", "usage", "ada")
    usage = event.usage
    assert usage is not None
    assert (usage.outcome, usage.cost, usage.input_tokens, usage.output_tokens) == ("lost", 6, 30, 12)
    assert (usage.estimated, usage.status) == (True, 0)
    assert caller.account().used_tokens == 42


def test_a_hold_is_left_alone_until_its_lease_is_over(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.now_ms += LEASE_MS - 1
    before = contents(caller.client)

    assert caller.expire() == Expired(ended=0, charged=0)
    assert contents(caller.client) == before
    caller.now_ms += 1
    assert caller.expire() == Expired(ended=1, charged=0)


def test_one_run_ends_no_more_holds_than_it_may_and_the_oldest_first(new_caller: NewCaller) -> None:
    caller = new_caller()
    for number in range(5):
        caller.reserve(f"r{number}", 1, on_lost="charge_hold")
        caller.now_ms += SECOND_MS
    caller.now_ms += LEASE_MS

    assert caller.expire(limit=2) == Expired(ended=2, charged=2)
    assert [id for id in ("r0", "r1", "r2", "r3", "r4") if caller.hold(id)] == ["r2", "r3", "r4"]
    assert caller.expire(limit=2) == Expired(ended=2, charged=2)
    assert caller.expire(limit=2) == Expired(ended=1, charged=1)
    assert caller.expire(limit=2) == Expired(ended=0, charged=0)


def test_the_holds_of_all_accounts_of_the_partition_are_swept(new_caller: NewCaller) -> None:
    callers = [new_caller(id=id) for id in ("ada", "bob", "cat:2026-11-20")]
    for caller in callers:
        caller.reserve(f"r-{caller.id}", 2, on_lost="charge_hold")
        caller.now_ms += LEASE_MS

    assert callers[0].expire() == Expired(ended=3, charged=6)
    assert [caller.account().spent for caller in callers] == [2, 2, 2]


def test_a_day_that_ended_meanwhile_takes_nothing_back(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    caller.expire()

    assert caller.left() == {"credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -5"]


def test_a_hold_that_was_deleted_by_hand_is_forgotten(caller: Caller) -> None:
    caller.reserve("r1", 0)
    caller.client.delete(caller.partition_key("hold:r1"))
    caller.now_ms += LEASE_MS

    assert caller.expire() == Expired(ended=1, charged=0)
    assert caller.expire() == Expired(ended=0, charged=0)


def test_a_hold_whose_account_was_deleted_by_hand_does_not_keep_the_others(new_caller: NewCaller) -> None:
    gone, caller = new_caller(id="gone"), new_caller()
    gone.reserve("r-gone", 0)
    caller.reserve("r1", 7, on_lost="charge_hold")
    gone.client.delete(gone.key)
    caller.now_ms += LEASE_MS

    caller.expire()

    assert caller.account().spent == 7
    assert caller.client.zcard(caller.partition_key("holds")) == 0
