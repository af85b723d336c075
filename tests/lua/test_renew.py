"""`renew`: lengthens a hold's lease, notes what was counted so far, and reserves more."""

from __future__ import annotations

import pytest

from gateway.domain.reservation import Ended, Expired, Refused, Renewed, Unknown
from gateway.domain.tier import MAX_UNITS, Allowance, Tier
from gateway.domain.usage import Usage
from tests.lua.caller import EVERY_KIND, JAKARTA, LEASE_MS, MIDNIGHT_MS, PAYG, SECOND_MS, Caller, contents
from tests.lua.conftest import NewCaller


def test_a_renewed_hold_outlives_its_first_lease(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.now_ms += LEASE_MS - SECOND_MS

    assert caller.renew("r1", 1) == Renewed("r1", amount=7, left=13)

    caller.now_ms += SECOND_MS
    assert caller.expire() == Expired(ended=0, charged=0)
    caller.now_ms += LEASE_MS
    assert caller.expire() == Expired(ended=1, charged=0)


def test_a_renewal_notes_what_was_counted_so_far(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.renew("r1", 1, counted=2, counted_usage=Usage(input=20, output=10))
    caller.renew("r1", 2, counted=6, counted_usage=Usage(input=20, output=40))
    caller.now_ms += LEASE_MS
    caller.events()

    assert caller.expire() == Expired(ended=1, charged=6)
    usage = caller.event().usage
    assert usage is not None
    assert (usage.cost, usage.input_tokens, usage.output_tokens) == (6, 20, 40)


def test_a_renewal_tells_the_ledger_nothing(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()

    caller.renew("r1", 1, counted=2, more=3)

    assert caller.events() == []


def test_a_call_that_outgrows_its_hold_reserves_more_in_burn_order(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 2)

    assert caller.renew("r1", 1, more=6) == Renewed("r1", amount=8, left=6)

    assert caller.hold("r1")["parts"] == "day:2026-11-20=3 month:2026-11=4 credits:signup=1"
    assert caller.hold("r1")["amount"] == "8"
    assert caller.account().held == 8
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0, "credits:signup": 6}


def test_what_was_reserved_in_addition_is_settled_with_the_rest(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.renew("r1", 1, more=6)
    caller.events()

    caller.settle("r1", 7)

    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 13}
    assert caller.entries() == ["USAGE day:2026-11-20 -5", "USAGE credits:signup -2"]


def test_more_than_the_balance_is_refused_as_a_whole_and_the_lease_is_longer_all_the_same(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.now_ms += LEASE_MS - SECOND_MS

    assert caller.renew("r1", 1, counted=7, more=14) == Refused("r1", amount=7, left=13)

    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 13}
    caller.now_ms += LEASE_MS - SECOND_MS
    assert caller.expire() == Expired(ended=0, charged=0)
    caller.now_ms += SECOND_MS
    assert caller.expire() == Expired(ended=1, charged=7)


def test_the_last_unit_may_be_reserved(caller: Caller) -> None:
    caller.reserve("r1", 7)

    assert caller.renew("r1", 1, more=13) == Renewed("r1", amount=20, left=0)
    assert caller.renew("r1", 2, more=1) == Refused("r1", amount=20, left=0)


def test_nothing_more_is_reserved_from_a_day_that_has_ended(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS

    assert isinstance(caller.renew("r1", 1, more=16), Refused)
    assert isinstance(caller.renew("r1", 2, more=15), Renewed)
    assert caller.left() == {}


def test_what_the_ended_day_still_had_is_not_left(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS

    assert caller.renew("r1", 1, more=1) == Renewed("r1", amount=3, left=14)


def test_more_is_reserved_from_the_new_day_when_it_is_open(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r2", 1)

    caller.renew("r1", 1, more=3)

    assert caller.hold("r1")["parts"] == "day:2026-11-20=2 day:2026-11-21=3"


def test_the_largest_amounts_are_exact(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("all", MAX_UNITS)
    caller.reserve("r1", 1)

    assert caller.renew("r1", 1, counted=MAX_UNITS - 1, more=MAX_UNITS - 2) == Renewed("r1", MAX_UNITS - 1, left=1)
    caller.now_ms += LEASE_MS
    assert caller.expire() == Expired(ended=1, charged=MAX_UNITS - 1)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("more", [6, 14], ids=["renewed", "refused"])
def test_a_repeat_gives_the_same_answer_and_reserves_no_second_time(caller: Caller, more: int) -> None:
    caller.reserve("r1", 7)
    first = caller.renew("r1", 1, counted=1, more=more)
    before = contents(caller.client)

    assert caller.renew("r1", 1, counted=1, more=more) == first
    assert contents(caller.client) == before


def test_a_refusal_stands_though_there_is_enough_by_now(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.renew("r1", 1, more=14)
    caller.grant("g1", 100)

    assert caller.renew("r1", 1, more=14) == Refused("r1", amount=7, left=14)


def test_an_older_renewal_that_comes_again_changes_nothing(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.renew("r1", 1, counted=1, more=3)
    caller.renew("r1", 2, counted=5, more=4)
    before = contents(caller.client)

    caller.renew("r1", 1, counted=1, more=3)

    assert contents(caller.client) == before


@pytest.mark.parametrize("how", ["settled", "released", "expired"])
def test_what_has_ended_is_not_renewed(caller: Caller, how: str) -> None:
    if how == "expired":
        caller.lose("r1", 7)
    else:
        caller.reserve("r1", 7)
        if how == "settled":
            caller.settle("r1", 7)
        else:
            caller.release("r1")
    before = contents(caller.client)

    assert caller.renew("r1", 1, more=1) == Ended("r1", how)
    assert contents(caller.client) == before


def test_what_was_never_held_is_not_renewed(caller: Caller) -> None:
    assert caller.renew("r1", 1, more=1) == Unknown("r1")
    assert contents(caller.client) == {}


def test_one_account_does_not_renew_the_hold_of_another(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.reserve("r1", 2)
    bob.open()

    bob.renew("r1", 1, more=3)

    assert ada.account().held == sum(int(part.rpartition("=")[2]) for part in ada.hold("r1")["parts"].split())
    assert bob.left() == {"credits:signup": 15}


def test_a_refusal_tells_what_this_call_could_still_hold_and_not_what_it_may_not_burn(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("days", allowances=(Allowance("day", 3),), burn_order=("day",), zone=JAKARTA))
    caller.grant("g1", 100)
    caller.reserve("r1", 2)

    assert caller.renew("r1", 1, more=10) == Refused("r1", amount=2, left=1)
    assert caller.renew("r1", 2, more=1) == Renewed("r1", amount=3, left=100)
