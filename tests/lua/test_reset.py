"""`reset`: opens the periods that are due, without a call."""

from __future__ import annotations

import pytest

from gateway.domain.acts import Reset
from gateway.domain.reservation import ClockOff, Reserved, Stale, Unknown
from gateway.domain.tier import Allowance, Tier
from tests.lua.caller import (
    DAY_MS,
    EVERY_KIND,
    JAKARTA,
    MIDNIGHT_MS,
    MINUTE_MS,
    MONTH_END_MS,
    NOON_MS,
    PAYG,
    Caller,
    contents,
)
from tests.lua.conftest import NewCaller
from tests.lua.test_changes import changes


def test_the_day_that_is_due_opens_and_the_one_before_is_written_off(caller: Caller) -> None:
    caller.use("u1", 2)
    caller.events()
    caller.now_ms = MIDNIGHT_MS
    noted = changes(caller)

    assert caller.reset("z1") == Reset("z1", ("day",), left=20, resets_at_ms=MIDNIGHT_MS + DAY_MS)

    assert caller.left() == {"day:2026-11-21": 5, "credits:signup": 15}
    event = caller.event()
    assert (event.kind, event.at_ms, event.tier, event.usage) == ("opening", MIDNIGHT_MS, None, None)
    assert [f"{e.kind} {e.bucket} {e.amount:+d}" for e in event.entries] == [
        "EXPIRY day:2026-11-20 -3",
        "DAILY_RESET day:2026-11-21 +5",
    ]
    assert caller.account().requests == 1
    assert changes(caller) == noted + 1


def test_twice_changes_nothing_and_a_call_finds_it_open(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.open()
    first = caller.reset("z1")
    before = contents(caller.client)

    assert first == Reset("z1", ("day", "month"), left=14, resets_at_ms=MIDNIGHT_MS)
    assert caller.reset("z1") == caller.reset("z1") == Reset("z1", (), left=14, resets_at_ms=MIDNIGHT_MS)
    assert contents(caller.client) == before
    caller.events()
    assert caller.reserve("r1", 14) == Reserved("r1", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.events() == []


def test_only_what_is_due_opens(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.use("u1", 5)
    caller.now_ms = MIDNIGHT_MS
    assert caller.reset("z1") == Reset("z1", ("day",), left=12, resets_at_ms=MIDNIGHT_MS + DAY_MS)
    caller.now_ms = MONTH_END_MS
    assert caller.reset("z2") == Reset("z2", ("day", "month"), left=14, resets_at_ms=MONTH_END_MS + DAY_MS)


def test_what_is_left_rolls_over(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("rolling", allowances=(Allowance("day", 5, rollover=2),), zone=JAKARTA))
    caller.use("u1", 1)
    caller.now_ms = MIDNIGHT_MS

    assert caller.reset("z1") == Reset("z1", ("day",), left=7, resets_at_ms=MIDNIGHT_MS + DAY_MS)


def test_an_account_that_may_not_call_has_its_day_all_the_same(caller: Caller) -> None:
    caller.use("u1", 2)
    caller.set_status("suspended")
    caller.now_ms = MIDNIGHT_MS

    assert caller.reset("z1") == Reset("z1", ("day",), left=20, resets_at_ms=MIDNIGHT_MS + DAY_MS)


def test_a_tier_without_allowances_has_nothing_to_open_and_what_lapsed_is_told(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("short", 5, expires_s=(NOON_MS + MINUTE_MS) // 1000)
    caller.events()
    caller.now_ms += MINUTE_MS

    assert caller.reset("z1") == Reset("z1", (), left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.entries() == ["EXPIRY credits:short -5"]


def test_the_first_opening_of_an_anchored_tier_keeps_the_anchor(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("anchored", allowances=(Allowance("month", 5, is_anchored=True),), zone=JAKARTA))
    caller.open()
    caller.now_ms += 3 * DAY_MS

    assert isinstance(caller.reset("z1"), Reset)
    assert caller.account().anchor == "2026-11-20"
    assert "month:2026-11-20" in caller.left()


def test_a_caller_that_believes_in_an_older_account_hears_which_one_it_is(caller: Caller) -> None:
    caller.open()
    before = contents(caller.client)

    assert caller.try_reset("z1") == Stale("z1", version=1, tier="free", zone="", anchor="", first_seen_ms=NOON_MS)
    assert contents(caller.client) == before


@pytest.mark.parametrize("off_ms", [-3 * DAY_MS, 3 * DAY_MS])
def test_a_clock_that_is_days_off_is_told(caller: Caller, off_ms: int) -> None:
    caller.open()
    caller.version = 1
    before = contents(caller.client)

    assert caller.try_reset("z1", gateway_ms=NOON_MS + off_ms) == ClockOff("z1", NOON_MS)
    assert contents(caller.client) == before


def test_an_account_that_nobody_knows_is_not_opened(caller: Caller) -> None:
    assert caller.reset("z1") == Unknown("z1")
    assert contents(caller.client) == {}
