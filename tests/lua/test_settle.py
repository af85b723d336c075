"""`settle`: charges what a call truly cost, once, and gives back what its hold did not need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.event import UsageFacts
from gateway.domain.reservation import Conflict, Ended, Settled, Unknown
from gateway.domain.tier import MAX_UNITS
from gateway.domain.usage import Usage
from tests.lua.caller import (
    EVERY_KIND,
    LEASE_MS,
    MIDNIGHT_MS,
    MINUTE_MS,
    MONTH_END_MS,
    NOON_MS,
    PAYG,
    SECOND_MS,
    Caller,
    contents,
)
from tests.lua.conftest import NewCaller

USED = Usage(input=100, cached=40, cache_write=20, output=50, reasoning=30, audio_ms=12_300, images=2)

# ── what it charges ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_settling_all_that_was_held_spends_it(caller: Caller) -> None:
    caller.reserve("r1", 7)

    assert caller.settle("r1", 7) == Settled("r1", charged=7, written_off=0, left=13)

    account = caller.account()
    assert (account.granted, account.spent, account.held) == (20, 7, 0)
    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 13}
    assert caller.entries()[2:] == ["USAGE day:2026-11-20 -5", "USAGE credits:signup -2"]


def test_settling_less_than_was_held_returns_the_difference_in_reverse_order(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 10)  # The day's 3, the month's 4, and 3 credits.
    caller.events()

    assert caller.settle("r1", 5) == Settled("r1", charged=5, written_off=0, left=9)

    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 2, "credits:signup": 7}
    assert caller.entries() == ["USAGE day:2026-11-20 -3", "USAGE month:2026-11 -2"]


def test_settling_more_than_was_held_draws_the_excess_in_burn_order(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 2)
    caller.events()

    assert caller.settle("r1", 9) == Settled("r1", charged=9, written_off=0, left=5)

    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0, "credits:signup": 5}
    assert caller.entries() == ["USAGE day:2026-11-20 -3", "USAGE month:2026-11 -4", "USAGE credits:signup -2"]


def test_an_excess_is_drawn_from_the_order_that_the_hold_was_made_with(new_caller: NewCaller) -> None:
    caller = new_caller(replace(EVERY_KIND, burn_order=("credits", "month", "day")))
    caller.reserve("r1", 1)

    caller.settle("r1", 9)

    assert caller.left() == {"day:2026-11-20": 3, "month:2026-11": 2}


def test_what_nothing_covers_is_written_off_and_no_balance_falls_below_zero(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()

    assert caller.settle("r1", 27) == Settled("r1", charged=20, written_off=7, left=0)

    account = caller.account()
    assert (account.granted, account.spent, account.held, account.left) == (20, 20, 0, 0)
    assert caller.entries() == [
        "USAGE day:2026-11-20 -5",
        "USAGE credits:signup -15",
        "USAGE overdraft -7",
        "WRITE_OFF overdraft +7",
    ]


def test_an_excess_leaves_what_other_calls_hold(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.reserve("r2", 13)

    assert caller.settle("r1", 8) == Settled("r1", charged=7, written_off=1, left=0)
    assert caller.settle("r2", 13) == Settled("r2", charged=13, written_off=0, left=0)


def test_a_call_that_cost_nothing_gives_everything_back(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()

    assert caller.settle("r1", 0) == Settled("r1", charged=0, written_off=0, left=20)
    assert caller.left() == {"day:2026-11-20": 5, "credits:signup": 15}
    assert caller.entries() == []


def test_a_free_call_is_recorded_with_an_empty_balance(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.reserve("r1", 0)

    assert caller.settle("r1", 0, USED) == Settled("r1", charged=0, written_off=0, left=0)
    event = caller.event()
    assert event.entries == ()
    assert event.usage is not None
    assert (event.usage.cost, event.usage.total_tokens) == (0, 150)


def test_a_call_that_outlived_its_free_hold_is_charged_all_the_same(caller: Caller) -> None:
    caller.reserve("r1", 0)

    assert caller.settle("r1", 6) == Settled("r1", charged=6, written_off=0, left=14)


def test_returned_credits_take_their_old_place_in_the_burn_order(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    for name in ("first", "second"):
        caller.now_ms += SECOND_MS
        caller.grant(name, 5)
    caller.reserve("r1", 5)
    caller.settle("r1", 2)

    caller.reserve("r2", 4)

    assert caller.hold("r2")["parts"] == "credits:first=3 credits:second=1"


def test_the_largest_amounts_are_exact(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("all", MAX_UNITS)
    caller.reserve("r1", MAX_UNITS)
    caller.events()

    assert caller.settle("r1", MAX_UNITS - 1) == Settled("r1", charged=MAX_UNITS - 1, written_off=0, left=1)
    assert caller.left() == {"credits:all": 1}
    assert caller.entries() == [f"USAGE credits:all -{MAX_UNITS - 1}"]
    assert caller.settle("r1", MAX_UNITS - 2) == Conflict("r1")


# ── what the ledger hears ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ledger_hears_everything_about_the_call(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()
    caller.now_ms += SECOND_MS

    caller.settle("r1", 6, USED._replace(estimated=True), status=206)

    event = caller.event()
    assert (event.kind, event.id, event.account, event.at_ms) == ("usage", "r1", "ada", NOON_MS + SECOND_MS)
    assert event.usage == UsageFacts(
        reservation_id="r1",
        outcome="settled",
        operation="chat",
        model="m1",
        route="/v1/chat",
        key="qg_12345678",
        price_version="prices-1",
        local_day="2026-11-20",
        input_tokens=100,
        cached_tokens=40,
        cache_write_tokens=20,
        output_tokens=50,
        reasoning_tokens=30,
        cost=6,
        written_off=0,
        estimated=True,
        status=206,
        started_at_ms=NOON_MS,
        audio_ms=12_300,
        images=2,
        held=7,
        first_held=7,
    )
    assert caller.account().used_tokens == 150


def test_nothing_is_held_any_more(caller: Caller) -> None:
    caller.reserve("r1", 7)

    caller.settle("r1", 7, remember_ms=3_600_000)

    assert caller.hold("r1") == {}
    assert caller.client.zcard(caller.partition_key("holds")) == 0
    remembered: Any = caller.client.pttl(caller.partition_key("done:r1"))
    assert 0 < remembered <= 3_600_000


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_gives_the_same_answer_and_changes_nothing(caller: Caller) -> None:
    caller.reserve("r1", 7)
    first = caller.settle("r1", 6, USED)
    caller.reserve("r2", 3)  # The balance moves on, the answer does not.
    before = contents(caller.client)

    assert caller.settle("r1", 6, USED) == first
    assert contents(caller.client) == before


def test_another_cost_under_the_same_id_is_a_conflict(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.settle("r1", 6)
    before = contents(caller.client)

    assert caller.settle("r1", 5) == Conflict("r1")
    assert contents(caller.client) == before


def test_a_released_call_is_not_charged(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.release("r1")
    before = contents(caller.client)

    assert caller.settle("r1", 7) == Ended("r1", "released")
    assert contents(caller.client) == before


def test_a_call_that_was_never_held_is_not_charged(caller: Caller) -> None:
    caller.open()
    before = contents(caller.client)

    assert caller.settle("r1", 7) == Unknown("r1")
    assert contents(caller.client) == before


def test_one_account_does_not_settle_the_hold_of_another(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.reserve("r1", 7)
    bob.open()
    before = contents(ada.client)

    assert not isinstance(bob.settle("r1", 7), Settled)
    assert contents(ada.client) == before


def test_one_account_does_not_settle_what_another_lost(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    bob.open()
    ada.lose("r1", 7)
    before = contents(ada.client)

    assert not isinstance(bob.settle("r1", 7), Settled)
    assert contents(ada.client) == before


# ── periods that end while units are held ────────────────────────────────────────────────────────────────────────────


def test_a_day_that_ended_meanwhile_takes_nothing_back(caller: Caller) -> None:
    caller.reserve("r1", 4)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    caller.settle("r1", 1)

    assert caller.account().granted == 20 - 1 - 3
    assert caller.left() == {"credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -1", "EXPIRY day:2026-11-20 -3", "USAGE day:2026-11-20 -1"]


def test_a_new_day_takes_nothing_back_for_the_last_one(caller: Caller) -> None:
    caller.reserve("r1", 4)
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r2", 1)
    caller.events()

    caller.settle("r1", 1)

    assert caller.left() == {"day:2026-11-21": 4, "credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -3", "USAGE day:2026-11-20 -1"]


def test_credits_and_a_running_month_take_their_parts_back_though_the_day_has_ended(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 10)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    caller.settle("r1", 1)

    assert caller.left() == {"month:2026-11": 4, "credits:signup": 7}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -2", "USAGE day:2026-11-20 -1"]


def test_a_month_that_ended_meanwhile_takes_nothing_back(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND, now_ms=MONTH_END_MS - MINUTE_MS)
    caller.reserve("r1", 10)
    caller.events()
    caller.now_ms = MONTH_END_MS

    caller.settle("r1", 4)

    assert caller.left() == {"credits:signup": 7}
    assert caller.entries() == ["USAGE day:2026-11-30 -3", "EXPIRY month:2026-11 -3", "USAGE month:2026-11 -1"]


def test_an_excess_is_not_drawn_from_a_day_that_has_ended(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    caller.settle("r1", 4)

    assert caller.left() == {"credits:signup": 13}
    assert caller.entries() == [
        "EXPIRY day:2026-11-20 -3",
        "USAGE day:2026-11-20 -2",
        "USAGE credits:signup -2",
    ]


def test_an_excess_is_drawn_from_the_new_day_when_it_is_open(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r2", 1)

    caller.settle("r1", 4)

    assert caller.left() == {"day:2026-11-21": 2, "credits:signup": 15}


def test_what_the_ended_day_still_had_is_not_left(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS

    assert caller.settle("r1", 2) == Settled("r1", charged=2, written_off=0, left=15)


def test_a_grant_that_expired_meanwhile_takes_nothing_back(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("short", 5, expires_s=(NOON_MS + MINUTE_MS) // 1000)
    caller.reserve("r1", 5)
    caller.events()
    caller.now_ms += MINUTE_MS

    assert caller.settle("r1", 2) == Settled("r1", charged=2, written_off=0, left=0)
    assert caller.left() == {}
    assert caller.entries() == ["EXPIRY credits:short -3", "USAGE credits:short -2"]


# ── late: after the hold has expired ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cost", [0, 3, 5, 6, 7, 9, 20, 23])
@pytest.mark.parametrize(
    ("on_lost", "counted"),
    [("charge_counted", 0), ("charge_counted", 6), ("charge_counted", 22), ("charge_hold", 0), ("release", 3)],
)
def test_a_late_settlement_leaves_the_account_as_if_it_had_settled_in_time(
    new_caller: NewCaller, on_lost: str, counted: int, cost: int
) -> None:
    late, in_time = new_caller(id="late"), new_caller(id="in-time")
    for caller in (late, in_time):
        caller.reserve("r-" + caller.id, 7, on_lost=on_lost)
    late.renew("r-late", 1, counted=counted, counted_usage=Usage(input=9, output=8))
    in_time.settle("r-in-time", cost, USED)
    late.now_ms += LEASE_MS
    late.expire()

    settled = late.settle("r-late", cost, USED)

    assert settled == Settled("r-late", min(cost, 20), max(cost - 20, 0), left=max(20 - cost, 0))
    assert totals(late) == totals(in_time)
    assert sums_of_usage(late, "late") == sums_of_usage(in_time, "in-time")


def test_the_ledger_hears_only_what_a_late_settlement_changes(caller: Caller) -> None:
    caller.reserve("r1", 7, on_lost="charge_hold")
    caller.renew("r1", 1, counted_usage=Usage(input=80, output=60))
    caller.now_ms += LEASE_MS
    caller.expire()
    caller.events()

    caller.settle("r1", 4, USED, status=200)

    event = caller.event()
    assert (event.id, event.kind) == ("r1:late", "usage")
    assert [(e.kind, e.bucket, e.amount) for e in event.entries] == [
        ("REFUND", "day:2026-11-20", 1),
        ("REFUND", "credits:signup", 2),
    ]
    usage = event.usage
    assert usage is not None
    assert (usage.reservation_id, usage.outcome, usage.cost, usage.status) == ("r1", "corrected", -3, 200)
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (20, -10, False)


def test_a_late_settlement_takes_back_what_was_written_off_too_much(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.renew("r1", 1, counted=23)
    caller.now_ms += LEASE_MS
    caller.expire()
    caller.events()

    assert caller.settle("r1", 21) == Settled("r1", charged=20, written_off=1, left=0)
    assert caller.entries() == ["REFUND overdraft +2", "WRITE_OFF overdraft -2"]


def test_a_late_settlement_of_what_was_charged_changes_no_balance(caller: Caller) -> None:
    caller.lose("r1", 7, on_lost="charge_hold")
    caller.events()
    before = totals(caller)

    assert caller.settle("r1", 7) == Settled("r1", charged=7, written_off=0, left=13)
    assert totals(caller) == before
    assert caller.entries() == []


def test_a_late_settlement_is_repeated_like_any_other(caller: Caller) -> None:
    caller.lose("r1", 7)
    first = caller.settle("r1", 6, USED)
    before = contents(caller.client)

    assert caller.settle("r1", 6, USED) == first
    assert caller.settle("r1", 7, USED) == Conflict("r1")
    assert contents(caller.client) == before


def test_a_refund_to_a_day_that_has_ended_expires_at_once(caller: Caller) -> None:
    caller.now_ms = MIDNIGHT_MS - LEASE_MS - SECOND_MS
    caller.lose("r1", 4, on_lost="charge_hold")
    caller.now_ms = MIDNIGHT_MS
    caller.events()

    caller.settle("r1", 1)

    assert caller.left() == {"credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -1", "EXPIRY day:2026-11-20 -3", "REFUND day:2026-11-20 +3"]


def totals(caller: Caller) -> dict[str, Any]:
    """All that an account has and has used."""
    account = caller.account()
    return {
        "granted": account.granted,
        "spent": account.spent,
        "held": account.held,
        "used_tokens": account.used_tokens,
        "requests": account.requests,
        "buckets": [(bucket.kind, bucket.id, bucket.left, bucket.held) for bucket in account.buckets],
    }


def sums_of_usage(caller: Caller, account: str) -> dict[str, int]:
    """What the ledger adds up from an account's events."""
    events = [event for event in caller.events() if event.account == account]
    sums = {"entries": sum(entry.amount for event in events for entry in event.entries)}
    for event in events:
        if event.usage is not None:
            for name in ("cost", "written_off", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
                sums[name] = sums.get(name, 0) + getattr(event.usage, name)
    return sums


@pytest.mark.parametrize("session", ["", "chat 7\n; a=b"])
def test_a_call_tells_its_session_where_it_has_one(caller: Caller, session: str) -> None:
    caller.reserve("r1", 3, session=session)
    assert caller.hold("r1").get("session", "") == session
    caller.settle("r1", 3)
    caller.lose("r2", 3, session=session)
    caller.settle("r2", 2)

    told = [(event.id, event.usage.session) for event in caller.events() if event.usage]
    assert told == [("r1", session), ("r2", session), ("r2:late", session)]
