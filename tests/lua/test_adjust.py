"""`adjust`: takes units back, as an operator's correction."""

from __future__ import annotations

import pytest

from gateway.domain.acts import Adjusted, Short
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Conflict, Ended, Unknown
from gateway.domain.tier import MAX_UNITS
from tests.lua.caller import EVERY_KIND, LEASE_MS, MIDNIGHT_MS, NOON_MS, PAYG, Caller, contents
from tests.lua.conftest import NewCaller
from tests.lua.test_changes import changes


def test_units_are_taken_in_burn_order_and_were_never_granted(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.use("u1", 1)
    caller.events()
    noted = changes(caller)

    assert caller.adjust("a1", 8, "paid by mistake; twice = 2") == Adjusted("a1", left=5)

    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0, "credits:signup": 5}
    account = caller.account()
    assert (account.granted, account.spent, account.held, account.requests) == (6, 1, 0, 1)
    event = caller.event()
    assert (event.kind, event.at_ms, event.reason, event.usage) == (
        "adjusted", NOON_MS, "paid by mistake; twice = 2", None,
    )  # fmt: skip
    assert [f"{e.kind} {e.bucket} {e.amount:+d}" for e in event.entries] == [
        "ADJUSTMENT day:2026-11-20 -2",
        "ADJUSTMENT month:2026-11 -4",
        "ADJUSTMENT credits:signup -2",
    ]
    assert changes(caller) == noted + 1


def test_the_order_may_be_another(caller: Caller) -> None:
    caller.use("u1", 1)

    assert caller.adjust("a1", 15, order="credits") == Adjusted("a1", left=4)

    assert caller.left() == {"day:2026-11-20": 4}


def test_what_is_not_free_is_not_taken(caller: Caller) -> None:
    caller.reserve("r1", 8)
    before = contents(caller.client)

    assert caller.adjust("a1", 13) == Short("a1", left=12)
    assert contents(caller.client) == before
    assert caller.adjust("a1", 12) == Adjusted("a1", left=0)
    caller.settle("r1", 3)
    assert caller.account().left == 5


def test_what_has_lapsed_is_not_free(caller: Caller) -> None:
    caller.use("u1", 1)
    caller.now_ms = MIDNIGHT_MS
    caller.events()

    assert caller.adjust("a1", 16) == Short("a1", left=15)
    assert caller.adjust("a1", 15) == Adjusted("a1", left=0)
    assert caller.entries() == ["EXPIRY day:2026-11-20 -4", "ADJUSTMENT credits:signup -15"]


def test_a_repeat_takes_nothing_more_and_gives_the_same_answer(caller: Caller) -> None:
    caller.open()
    first = caller.adjust("a1", 5)
    caller.use("u1", 2)
    before = contents(caller.client)

    assert caller.adjust("a1", 5, "in other words") == first == Adjusted("a1", left=10)
    assert contents(caller.client) == before


def test_an_id_with_other_parameters_is_a_conflict(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    for caller in (ada, bob):
        caller.open()
    ada.adjust("a1", 5)
    ada.use("u1", 5)
    ada.reserve("r1", 1)
    ada.release("free")
    before = contents(ada.client)

    for id in ("u1", "r1", "free"):
        assert ada.adjust(id, 5) == Conflict(id)
    assert ada.adjust("a1", 6) == Conflict("a1")
    assert ada.adjust("a1", 5, order="credits") == Conflict("a1")
    assert bob.adjust("a1", 5) == Conflict("a1")
    assert contents(ada.client) == before


def test_no_call_ends_an_adjustment(caller: Caller) -> None:
    caller.open()
    caller.adjust("a1", 5)
    before = contents(caller.client)

    assert caller.settle("a1", 5) == Ended("a1", "adjusted")
    assert caller.release("a1") == Ended("a1", "adjusted")
    assert caller.renew("a1", 1) == Ended("a1", "adjusted")
    assert caller.reserve("a1", 5) == caller.use("a1", 5) == Conflict("a1")
    assert contents(caller.client) == before


def test_an_id_that_is_used_again_after_it_was_forgotten_is_another_correction(caller: Caller) -> None:
    caller.open()
    caller.adjust("a1", 5, remember_ms=LEASE_MS)
    caller.client.delete(caller.partition_key("done:a1"))  # As its expiry does, by the server's own clock.
    caller.now_ms += LEASE_MS

    assert caller.adjust("a1", 5) == Adjusted("a1", left=5)
    assert len({event.id for event in caller.events()}) == 3


def test_an_account_that_nobody_knows_is_not_opened(caller: Caller) -> None:
    assert caller.adjust("a1", 5) == Unknown("a1")
    assert contents(caller.client) == {}


def test_the_largest_balance_can_be_taken_to_the_last_unit(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("most", MAX_UNITS)

    assert caller.adjust("a1", MAX_UNITS - 1) == Adjusted("a1", left=1)
    assert caller.left() == {"credits:most": 1}


@pytest.mark.parametrize("amount", [0, -1, MAX_UNITS + 1])
def test_an_amount_that_is_none_is_refused(caller: Caller, amount: int) -> None:
    with pytest.raises(RefusedInput, match="amount"):
        caller.adjust("a1", amount)
