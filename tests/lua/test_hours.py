"""The hour notes of an account: what it had spent one to two hours ago, which forecasts look back on."""

from __future__ import annotations

import random

import pytest

from gateway.domain.tier import Tier
from tests.lua.caller import HOUR_MS, JAKARTA, LEASE_MS, MINUTE_MS, NOON_MS, Caller
from tests.lua.conftest import NewCaller

RICH = Tier("rich", signup=10**9, zone=JAKARTA)


@pytest.fixture
def rich(new_caller: NewCaller) -> Caller:
    return new_caller(RICH)


def spend(caller: Caller, id: str, cost: int) -> None:
    caller.reserve(id, cost)
    caller.settle(id, cost)


def notes(caller: Caller) -> list[int]:
    """The instants and amounts of the note of this hour and of the one before, in hours and units since noon."""
    fields = caller.hash(caller.key)
    began, before = int(fields["noted_at"]), int(fields["noted_before_at"])
    return [
        (began - NOON_MS) // MINUTE_MS,
        int(fields["noted_spent"]),
        (before - NOON_MS) // MINUTE_MS,
        int(fields["noted_before_spent"]),
    ]


def test_an_account_is_noted_when_it_is_opened(rich: Caller) -> None:
    rich.open()

    assert notes(rich) == [0, 0, 0, 0]
    assert rich.account().spent_since == (NOON_MS, 0)


def test_within_the_hour_the_notes_stay_as_they_are(rich: Caller) -> None:
    spend(rich, "r1", 5)
    rich.now_ms += HOUR_MS - 1
    spend(rich, "r2", 7)

    assert notes(rich) == [0, 0, 0, 0]


def test_each_hour_is_noted_once_and_the_one_before_is_kept(rich: Caller) -> None:
    spend(rich, "r1", 5)
    for number in range(3):
        rich.now_ms += HOUR_MS
        rich.reserve(f"a{number}", 10)
        rich.settle(f"a{number}", 10)

    assert rich.account().spent == 35
    assert notes(rich) == [180, 25, 120, 15]
    assert rich.account().spent_since == (NOON_MS + 2 * HOUR_MS, 15)


def test_a_note_has_what_was_spent_up_to_it_and_not_what_is_held(rich: Caller) -> None:
    spend(rich, "r1", 5)
    rich.now_ms += HOUR_MS

    rich.reserve("r2", 100)

    assert notes(rich) == [60, 5, 0, 0]


def test_who_was_away_is_compared_with_when_it_left(rich: Caller) -> None:
    spend(rich, "r1", 5)
    rich.now_ms += 72 * HOUR_MS

    spend(rich, "r2", 7)

    assert rich.account().spent_since == (NOON_MS, 0)
    assert notes(rich)[:2] == [72 * 60, 5]


def test_an_account_of_before_there_were_notes_begins_with_what_it_has_spent(rich: Caller) -> None:
    spend(rich, "r1", 5)
    rich.client.hdel(rich.key, "noted_at", "noted_spent", "noted_before_at", "noted_before_spent")
    assert rich.account().spent_since == (0, 0)
    rich.now_ms += MINUTE_MS

    spend(rich, "r2", 7)

    assert notes(rich) == [1, 5, 1, 5]


def test_a_clock_that_steps_back_notes_nothing(rich: Caller) -> None:
    spend(rich, "r1", 5)
    rich.now_ms += HOUR_MS
    spend(rich, "r2", 5)
    before = notes(rich)

    rich.now_ms -= 2 * MINUTE_MS
    spend(rich, "r3", 5)

    assert notes(rich) == before


@pytest.mark.parametrize("decision", ["reserve", "settle", "release", "renew", "expire", "grant"])
def test_whatever_is_decided_after_an_hour_notes_it(rich: Caller, decision: str) -> None:
    rich.reserve("open", 3, lease_ms=2 * HOUR_MS if decision != "expire" else LEASE_MS)
    rich.now_ms += HOUR_MS

    match decision:
        case "reserve":
            rich.reserve("r1", 1)
        case "settle":
            rich.settle("open", 2)
        case "release":
            rich.release("open")
        case "renew":
            rich.renew("open", 1, more=1)
        case "expire":
            rich.expire()
        case "grant":
            rich.grant("g1", 1)

    assert notes(rich)[0] == 60


def test_a_busy_account_is_always_compared_with_one_to_two_hours_ago(rich: Caller) -> None:
    """Calls at most ten minutes apart, so that no hour passes unnoted."""
    spent, at = 0, random.Random(11)
    history = {NOON_MS: 0}
    for number in range(120):
        rich.now_ms += at.randint(1, 10 * MINUTE_MS)
        cost = at.randint(0, 9)
        spend(rich, f"r{number}", cost)
        spent += cost
        history[rich.now_ms] = spent
        since_ms, spent_then = rich.account().spent_since
        if rich.now_ms - min(history) >= 2 * HOUR_MS + 10 * MINUTE_MS:
            assert HOUR_MS <= rich.now_ms - since_ms < 2 * HOUR_MS + 20 * MINUTE_MS
        known = [total for when, total in history.items() if when <= since_ms]
        assert spent_then in known[-2:]  # The hold of that instant noted it, or its settlement.
