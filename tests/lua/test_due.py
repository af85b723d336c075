"""What `balance_of` says of an account is what the next call's script finds."""

from __future__ import annotations

import pytest

from gateway.domain.balance import balance_of
from gateway.domain.reservation import Reserved
from gateway.domain.tier import Allowance, Tier
from tests.lua.caller import DAY_MS, EVERY_KIND, FREE, HOUR_MS, JAKARTA, MIDNIGHT_MS, MINUTE_MS, NOON_MS, PAYG, Caller
from tests.lua.conftest import NewCaller

TIERS = {
    "nothing given": PAYG,
    "a day": FREE,
    "every kind of bucket": EVERY_KIND,
    "every period": Tier(
        "periods", 9, tuple(Allowance(every, 10) for every in ("hour", "day", "week", "month")), zone=JAKARTA
    ),
    "rests that move on": Tier(
        "rollover",
        0,
        (Allowance("hour", 10, rollover=4), Allowance("day", 20, rollover=15), Allowance("month", 30, rollover=1)),
        zone=JAKARTA,
    ),
    "anchored": Tier(
        "anchored",
        1,
        (Allowance("week", 8, is_anchored=True), Allowance("month", 50, is_anchored=True, rollover=50)),
        zone=JAKARTA,
        reset_hour=4,
    ),
}
PAUSES_MS = {
    "none": 0,
    "an hour": HOUR_MS,
    "to the last minute of the day": MIDNIGHT_MS - NOON_MS - MINUTE_MS,
    "to midnight": MIDNIGHT_MS - NOON_MS,
    "two days": 2 * DAY_MS,
    "a week": 7 * DAY_MS,
    "a month": 30 * DAY_MS,
    "a hundred days": 100 * DAY_MS,
}


@pytest.mark.parametrize("pause_ms", PAUSES_MS.values(), ids=PAUSES_MS)
@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_what_is_said_is_what_the_next_call_finds(new_caller: NewCaller, tier: Tier, pause_ms: int) -> None:
    caller = new_caller(tier)
    caller.grant("g1", 5)
    for id, cost in (("r1", 3), ("r2", 1)):
        caller.reserve(id, 4)
        caller.settle(id, cost)
    caller.reserve("open", 1, lease_ms=200 * DAY_MS)
    caller.now_ms += pause_ms

    said = balance_of(caller.account(), tier)
    found = caller.reserve("r3", 0)

    assert isinstance(found, Reserved)
    assert (said.available, said.resets_at_ms) == (found.left, found.resets_at_ms)
    buckets = {bucket.kind: bucket for bucket in caller.account().buckets if bucket.kind != "credits"}
    assert {bucket.kind: bucket for bucket in said.due} == {bucket.kind: buckets[bucket.kind] for bucket in said.due}
    assert balance_of(caller.account(), tier).due == ()


def test_who_moves_to_another_zone_keeps_the_day_on_which_it_was_opened(new_caller: NewCaller) -> None:
    """In Havana it is still the day before."""
    tier = TIERS["anchored"]
    caller = new_caller(tier)
    caller.reserve("r1", 1)
    caller.open(zone="America/Havana", move=True)
    caller.now_ms += 40 * DAY_MS

    said = balance_of(caller.account(), tier)
    found = caller.reserve("r2", 0)

    assert isinstance(found, Reserved)
    assert (said.available, said.resets_at_ms) == (found.left, found.resets_at_ms)
    opened = {bucket.id for bucket in caller.account().buckets}
    assert {bucket.id for bucket in said.due} == opened - {"signup"}


def test_asking_opens_nothing(caller: Caller) -> None:
    caller.open()

    said = balance_of(caller.account(), FREE)

    assert [(bucket.id, bucket.left, bucket.ends_at_ms) for bucket in said.due] == [("2026-11-20", 5, MIDNIGHT_MS)]
    assert (said.available, caller.account().left) == (20, 15)
