"""`release`: gives a hold back in full, and spends an id that was never held."""

from __future__ import annotations

from typing import Any

from gateway.domain.reservation import Ended, Released
from tests.lua.caller import EVERY_KIND, MIDNIGHT_MS, Caller, contents
from tests.lua.conftest import NewCaller


def test_a_released_hold_goes_back_in_full(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 10)

    assert caller.release("r1") == Released("r1", left=14)

    account = caller.account()
    assert (account.granted, account.spent, account.held, account.used_tokens) == (14, 0, 0, 0)
    assert caller.left() == {"day:2026-11-20": 3, "month:2026-11": 4, "credits:signup": 7}
    assert caller.hold("r1") == {}
    assert caller.client.zcard(caller.partition_key("holds")) == 0


def test_the_ledger_hears_of_the_call_that_cost_nothing(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()

    caller.release("r1", status=502)

    event = caller.event()
    assert (event.id, event.kind, event.entries) == ("r1", "usage", ())
    assert event.usage is not None
    assert (event.usage.outcome, event.usage.status, event.usage.cost, event.usage.total_tokens) == (
        "released",
        502,
        0,
        0,
    )


def test_a_day_that_ended_meanwhile_takes_nothing_back(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    assert caller.release("r1") == Released("r1", left=15)
    assert caller.left() == {"credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -5"]


def test_a_repeat_gives_the_same_answer_and_changes_nothing(caller: Caller) -> None:
    caller.reserve("r1", 7)
    first = caller.release("r1")
    caller.reserve("r2", 3)
    before = contents(caller.client)

    assert caller.release("r1") == first
    assert contents(caller.client) == before


def test_an_id_that_was_never_held_is_spent(caller: Caller) -> None:
    caller.open()
    caller.events()

    assert caller.release("r1") == Released("r1", left=15)

    assert isinstance(caller.reserve("r1", 1), Ended)
    assert caller.left() == {"credits:signup": 15}
    assert caller.events() == []
    assert caller.release("r1") == Released("r1", left=15)


def test_the_id_of_an_unknown_account_is_spent_too_and_the_account_stays_unknown(caller: Caller) -> None:
    assert caller.release("r1") == Released("r1", left=0)

    assert list(contents(caller.client)) == [caller.partition_key("done:r1")]
    assert isinstance(caller.reserve("r1", 1), Ended)


def test_an_id_is_remembered_for_as_long_as_was_asked(caller: Caller) -> None:
    caller.release("r1", remember_ms=3_600_000)

    remembered: Any = caller.client.pttl(caller.partition_key("done:r1"))
    assert 0 < remembered <= 3_600_000


def test_what_has_settled_stays_settled(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.settle("r1", 7)
    before = contents(caller.client)

    assert caller.release("r1") == Ended("r1", "settled")
    assert contents(caller.client) == before


def test_a_release_that_comes_after_the_lease_gives_back_what_its_end_charged(caller: Caller) -> None:
    """The call had failed; only the word of it came late."""
    caller.lose("r1", 7, on_lost="charge_hold")
    caller.events()

    assert caller.release("r1") == Released("r1", left=20)
    assert caller.account().spent == 0
    assert caller.entries() == ["REFUND day:2026-11-20 +5", "REFUND credits:signup +2"]
    before = contents(caller.client)
    assert caller.release("r1") == Released("r1", left=20)
    assert caller.settle("r1", 3) == Ended("r1", "released")
    assert contents(caller.client) == before


def test_one_account_does_not_release_the_hold_of_another(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.reserve("r1", 7)
    bob.open()

    bob.release("r1")

    assert ada.account().held == 7
    assert bob.left() == {"credits:signup": 15}
