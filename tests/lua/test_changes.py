"""The counter of changes: it goes up with what may give a denied account more, or what its operator does to it."""

from __future__ import annotations

from gateway.domain.reservation import Denied
from tests.lua.caller import PAYG, Caller
from tests.lua.conftest import NewCaller


def changes(caller: Caller) -> int:
    return int(caller.hash(caller.partition_key("changes")).get("version", "0"))


def test_a_grant_is_a_change_once(caller: Caller) -> None:
    caller.grant("g1", 5)
    assert changes(caller) == 1
    caller.grant("g1", 5)
    caller.grant("g1", 6)
    assert changes(caller) == 1


def test_an_account_that_is_opened_or_moved_is_a_change_and_one_that_exists_is_none(caller: Caller) -> None:
    caller.open()
    assert changes(caller) == 1
    caller.open(PAYG)
    caller.open(move=True)
    assert changes(caller) == 1
    caller.open(PAYG, move=True)
    assert changes(caller) == 2


def test_a_refund_after_an_expiry_is_a_change(caller: Caller) -> None:
    caller.lose("r1", 7, on_lost="charge_hold")
    caller.lose("r2", 7, on_lost="charge_hold")
    assert changes(caller) == 0
    caller.release("r1")
    assert changes(caller) == 1
    caller.settle("r2", 3)
    assert changes(caller) == 2


def test_calls_that_end_in_time_are_none(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.settle("r1", 3)
    caller.reserve("r2", 7)
    caller.release("r2")
    caller.reserve("r3", 100)

    assert changes(caller) == 0


def test_a_denial_says_what_calls_under_way_may_give_back(new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.reserve("r1", 18)
    denied = caller.reserve("r2", 3)
    assert isinstance(denied, Denied)
    assert (denied.held, denied.left) == (18, 2)

    caller.settle("r1", 18)
    denied = caller.reserve("r3", 3)
    assert isinstance(denied, Denied)
    assert (denied.held, denied.left) == (0, 2)


def test_a_denial_says_up_to_which_amount_it_stays_the_same(caller: Caller) -> None:
    """Two of credits are left: with the five of the next day that makes seven."""
    caller.reserve("r1", 18)
    caller.settle("r1", 18)
    said = {}
    for amount in (3, 7, 8, 100):
        denied = caller.reserve(f"r-{amount}", amount)
        assert isinstance(denied, Denied)
        said[amount] = (denied.policy, denied.most)

    assert said == {3: ("day", 7), 7: ("day", 7), 8: ("credits", None), 100: ("credits", None)}
