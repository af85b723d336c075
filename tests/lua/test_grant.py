"""`grant`: credits an account once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.reservation import GrantConflict, Granted, GrantOverflow, Reserved
from gateway.domain.tier import MAX_UNITS
from tests.lua.caller import FREE, MIDNIGHT_MS, MINUTE_MS, NOON_MS, PAYG, Caller, contents
from tests.lua.conftest import NewCaller


def test_a_grant_is_in_the_balance_and_in_the_ledger(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.open()
    caller.events()

    assert caller.grant("order-7", 50, kind="REWARD", reason="for a friend; and = more") == Granted("order-7", left=50)

    assert caller.left() == {"credits:order-7": 50}
    assert caller.account().granted == 50
    event = caller.event()
    assert (event.kind, event.account, event.at_ms, event.reason) == (
        "grant",
        "ada",
        NOON_MS,
        "for a friend; and = more",
    )
    assert [(e.kind, e.bucket, e.amount) for e in event.entries] == [("REWARD", "credits:order-7", 50)]
    assert (event.tier, event.zone) == (None, None)


def test_an_unknown_account_is_opened_with_its_sign_up_grant(caller: Caller) -> None:
    assert caller.grant("order-7", 50) == Granted("order-7", left=65)

    assert caller.left() == {"credits:order-7": 50, "credits:signup": 15}
    opening, grant = caller.events()
    assert (opening.kind, opening.tier, opening.zone) == ("opening", "free", "")
    assert [(e.kind, e.bucket, e.amount) for e in opening.entries] == [("SIGNUP", "credits:signup", 15)]
    assert grant.kind == "grant"
    assert caller.reserve("r1", 1) == Reserved("r1", version=1, left=69, resets_at_ms=MIDNIGHT_MS)


def test_a_repeat_credits_nothing_and_tells_what_is_left_now(caller: Caller) -> None:
    caller.grant("order-7", 50)
    caller.reserve("r1", 40)
    before = contents(caller.client)

    assert caller.grant("order-7", 50) == Granted("order-7", left=30)
    assert contents(caller.client) == before


def test_a_grant_that_is_used_up_is_not_credited_again(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50)
    caller.reserve("r1", 50)
    caller.settle("r1", 50)
    before = contents(caller.client)

    assert caller.grant("order-7", 50) == Granted("order-7", left=0)
    assert contents(caller.client) == before


def test_another_amount_under_the_same_id_is_a_conflict(caller: Caller) -> None:
    caller.grant("order-7", 50)
    before = contents(caller.client)

    assert caller.grant("order-7", 51) == GrantConflict("order-7", amount=50)
    assert contents(caller.client) == before


def test_the_same_id_credits_each_account(new_caller: NewCaller) -> None:
    ada, bob = new_caller(PAYG), new_caller(PAYG, "bob")

    ada.grant("welcome", 1)
    bob.grant("welcome", 2)

    assert (ada.left(), bob.left()) == ({"credits:welcome": 1}, {"credits:welcome": 2})


def test_no_two_grants_share_an_event_id_whatever_their_names(new_caller: NewCaller) -> None:
    one, other = new_caller(PAYG, "team"), new_caller(PAYG, "team:ada")

    one.grant("ada:1", 5)
    other.grant("1", 5)

    ids = [event.id for event in one.events() if event.kind == "grant"]
    assert len(set(ids)) == 2


def test_no_opening_shares_its_event_id_with_another_whatever_the_names(new_caller: NewCaller) -> None:
    ada, namesake = new_caller(id="ada"), new_caller(id="r1")

    ada.reserve("r1", 1)
    namesake.open()

    ids = [event.id for event in ada.events()]
    assert len(set(ids)) == 2


def test_a_lifetime_total_beyond_exact_integers_is_refused(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    assert caller.grant("most", MAX_UNITS - 1) == Granted("most", left=MAX_UNITS - 1)
    before = contents(caller.client)

    assert caller.grant("more", 2) == GrantOverflow("more", granted=MAX_UNITS - 1)
    assert contents(caller.client) == before
    assert caller.grant("last", 1) == Granted("last", left=MAX_UNITS)
    assert caller.entries() == [f"TOP_UP credits:most +{MAX_UNITS - 1}", "TOP_UP credits:last +1"]


def test_the_sign_up_grant_counts_towards_the_total(caller: Caller) -> None:
    assert caller.grant("most", MAX_UNITS - FREE.signup + 1) == GrantOverflow("most", granted=0)
    assert contents(caller.client) == {}
    assert caller.grant("most", MAX_UNITS - FREE.signup) == Granted("most", left=MAX_UNITS)


def test_a_grant_keeps_its_terms_for_good(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50, priority=3, expires_s=1_900_000_000)
    caller.reserve("r1", 50)
    caller.settle("r1", 50)

    grants: Any = caller.client.hgetall(caller.period_key("grants"))
    assert grants == {b"order-7": f"amount=50 priority=3 expires_at=1900000000 granted_at={NOON_MS}".encode()}


def test_a_grant_of_a_later_day_does_not_count_what_the_last_day_still_had(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.settle("r1", 1)
    caller.now_ms = MIDNIGHT_MS

    assert caller.grant("order-7", 50) == Granted("order-7", left=65)


@pytest.mark.parametrize("priority", [0, 1, 900])
def test_a_released_grant_comes_back_whatever_its_terms(new_caller: NewCaller, priority: int) -> None:
    caller = new_caller(PAYG)
    caller.grant("order-7", 50, priority=priority, expires_s=(NOON_MS + MINUTE_MS) // 1000)
    caller.reserve("r1", 50)

    caller.release("r1")

    assert caller.left() == {"credits:order-7": 50}
