"""Where days and months end: to the instant, in zones where midnight is missing or comes twice, whoever's clock is
wrong.

FACTS: midnight is missing in Africa/Cairo on 2026-04-24, and comes twice in America/Havana on 2026-11-01.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import redis

from gateway.domain.reservation import ClockOff, Reserved
from tests.lua.caller import EVERY_KIND, HOUR_MS, LEASE_MS, MIDNIGHT_MS, MINUTE_MS, SECOND_MS, Caller, at, contents
from tests.lua.conftest import NewCaller


class Night(NamedTuple):
    """One midnight of one zone."""

    zone: str
    day: str
    #: The first instant of the date after `day`, and of the one after that.
    ends: str
    next_day: str
    next_ends: str


NIGHTS = [
    Night("Asia/Jakarta", "2026-11-20", "2026-11-20 17:00Z", "2026-11-21", "2026-11-21 17:00Z"),
    Night("Asia/Bangkok", "2026-02-28", "2026-02-28 17:00Z", "2026-03-01", "2026-03-01 17:00Z"),
    # 23:59:59 is followed by 01:00:00: the day begins late, and has 23 hours.
    Night("Africa/Cairo", "2026-04-23", "2026-04-23 22:00Z", "2026-04-24", "2026-04-24 21:00Z"),
    Night("Africa/Cairo", "2026-04-24", "2026-04-24 21:00Z", "2026-04-25", "2026-04-25 21:00Z"),
    # 00:59:59 is followed by 00:00:00 of the same date: the day begins at the first of both, and has 25 hours.
    Night("America/Havana", "2026-10-31", "2026-11-01 04:00Z", "2026-11-01", "2026-11-02 05:00Z"),
    Night("America/Havana", "2026-11-01", "2026-11-02 05:00Z", "2026-11-02", "2026-11-03 05:00Z"),
]


@pytest.fixture(params=NIGHTS, ids=lambda night: f"{night.zone} {night.day}")
def night(request: pytest.FixtureRequest) -> Night:
    found: Night = request.param
    return found


def before_midnight(new_caller: NewCaller, night: Night, before_ms: int = HOUR_MS) -> Caller:
    tier = replace(EVERY_KIND, zone=ZoneInfo(night.zone))
    return new_caller(tier, now_ms=at(night.ends) - before_ms)


def test_the_days_key_expires_at_the_first_instant_of_the_next_local_date(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night)
    earliest_ms = server_ms(caller.client)

    outcome = caller.reserve("r1", 1)

    latest_ms = server_ms(caller.client)
    assert outcome == Reserved("r1", version=1, left=13, resets_at_ms=at(night.ends))
    bucket = caller.hash(caller.period_key(f"day:{night.day}"))
    assert bucket == {"amount": "3", "left": "2", "held": "1", "ends_at": str(at(night.ends))}
    # The test's clock stood still at an hour before midnight while the server's went from earliest to latest.
    expires_ms = expires_at_ms(caller.client, caller.period_key(f"day:{night.day}"))
    assert earliest_ms + HOUR_MS - SECOND_MS <= expires_ms <= latest_ms + HOUR_MS + SECOND_MS


def test_the_next_day_opens_at_midnight_and_not_before(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night)
    caller.reserve("r1", 1)
    caller.settle("r1", 1)
    caller.events()

    caller.now_ms = at(night.ends) - 1
    assert caller.reserve("r2", 0) == Reserved("r2", version=1, left=13, resets_at_ms=at(night.ends))
    assert caller.events() == []
    caller.now_ms += 1
    outcome = caller.reserve("r3", 1)

    assert isinstance(outcome, Reserved)
    assert outcome.resets_at_ms == at(night.next_ends)
    days = [entry for entry in caller.entries() if " day:" in entry]
    assert days == [f"EXPIRY day:{night.day} -2", f"DAILY_RESET day:{night.next_day} +3"]
    assert caller.left()[f"day:{night.next_day}"] == 2


def test_a_day_is_opened_once_until_its_end(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night, before_ms=0)
    caller.reserve("r1", 1)
    caller.events()

    # Every half hour of the day, the second midnight of Havana among them.
    for number, now_ms in enumerate(range(at(night.ends), at(night.next_ends), HOUR_MS // 2)):
        caller.now_ms = now_ms
        caller.reserve(f"r1-{number}", 0)

    assert caller.events() == []


def test_a_call_that_straddles_midnight_is_charged_to_the_day_it_began_on(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night, before_ms=MINUTE_MS)
    caller.reserve("r1", 3)
    caller.events()
    caller.now_ms = at(night.ends)

    caller.settle("r1", 2)

    event = caller.event()
    assert [(e.kind, e.bucket, e.amount) for e in event.entries if e.bucket.startswith("day:")] == [
        ("EXPIRY", f"day:{night.day}", -1),
        ("USAGE", f"day:{night.day}", -2),
    ]
    assert event.usage is not None
    assert event.usage.local_day == night.day
    caller.reserve("r2", 1)
    assert caller.left()[f"day:{night.next_day}"] == 2


def test_a_hold_that_is_lost_over_midnight_gives_nothing_to_the_new_day(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night, before_ms=SECOND_MS)
    caller.reserve("r1", 3)
    caller.now_ms += LEASE_MS
    caller.reserve("r2", 1)

    caller.expire()

    assert caller.left()[f"day:{night.next_day}"] == 2


# ── months ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "month", "ends", "next_month", "next_ends"),
    [
        ("Asia/Jakarta", "2026-11", "2026-11-30 17:00Z", "2026-12", "2026-12-31 17:00Z"),
        ("Asia/Bangkok", "2026-02", "2026-02-28 17:00Z", "2026-03", "2026-03-31 17:00Z"),
        ("Asia/Jakarta", "2026-12", "2026-12-31 17:00Z", "2027-01", "2027-01-31 17:00Z"),
        ("America/Havana", "2026-10", "2026-11-01 04:00Z", "2026-11", "2026-12-01 05:00Z"),
        ("America/Havana", "2026-11", "2026-12-01 05:00Z", "2026-12", "2027-01-01 05:00Z"),
    ],
)
def test_a_month_ends_at_the_first_instant_of_the_next_one(
    new_caller: NewCaller, zone: str, month: str, ends: str, next_month: str, next_ends: str
) -> None:
    caller = new_caller(
        replace(EVERY_KIND, allowances=EVERY_KIND.allowances[1:], zone=ZoneInfo(zone)), now_ms=at(ends) - HOUR_MS
    )
    caller.reserve("r1", 1)
    assert caller.hash(caller.period_key(f"month:{month}"))["ends_at"] == str(at(ends))
    caller.events()

    caller.now_ms = at(ends)
    caller.reserve("r2", 1)

    assert caller.entries() == [f"EXPIRY month:{month} -3", f"MONTHLY_RESET month:{next_month} +4"]
    assert caller.hash(caller.period_key(f"month:{next_month}"))["ends_at"] == str(at(next_ends))


# ── clocks that are wrong ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gateway_whose_clock_is_behind_opens_the_new_day_all_the_same(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night)
    caller.reserve("r1", 1)
    caller.events()
    caller.now_ms = at(night.ends) + SECOND_MS

    outcome = caller.reserve("r2", 1, gateway_ms=at(night.ends) - 5 * MINUTE_MS)

    assert isinstance(outcome, Reserved)
    assert outcome.resets_at_ms == at(night.next_ends)
    assert caller.left()[f"day:{night.next_day}"] == 2
    assert caller.hold("r2")["local_day"] == night.next_day


def test_a_gateway_whose_clock_is_ahead_does_not_open_the_new_day_early(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night, before_ms=MINUTE_MS)
    caller.reserve("r1", 1)
    before = contents(caller.client)

    ahead_ms = at(night.ends) + 5 * MINUTE_MS
    assert caller.reserve("r2", 1, gateway_ms=ahead_ms) == ClockOff("r2", caller.now_ms)
    assert contents(caller.client) == before
    # Now it knows what time it is, and repeats.
    caller.reserve("r2", 1, gateway_ms=caller.now_ms)
    assert caller.left()[f"day:{night.day}"] == 1


def test_gateways_that_disagree_open_each_day_once(new_caller: NewCaller, night: Night) -> None:
    caller = before_midnight(new_caller, night, before_ms=MINUTE_MS)
    caller.reserve("r0", 0)
    caller.events()

    for number, seconds in enumerate(range(-60, 61, 10)):
        caller.now_ms = at(night.ends) + seconds * SECOND_MS
        for off_ms in (-3 * MINUTE_MS, 0, 3 * MINUTE_MS):
            caller.reserve(f"r{number}{off_ms:+d}", 0, gateway_ms=caller.now_ms + off_ms)

    assert [entry for entry in caller.entries() if entry.startswith("DAILY")] == [
        f"DAILY_RESET day:{night.next_day} +3"
    ]


def test_a_server_whose_clock_is_put_back_over_midnight_opens_no_day_twice(caller: Caller) -> None:
    caller.now_ms = MIDNIGHT_MS - MINUTE_MS
    caller.reserve("r1", 5)
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r2", 5)
    caller.events()

    caller.now_ms = MIDNIGHT_MS - SECOND_MS  # A replica took over whose clock is behind.
    caller.reserve("r3", 1)
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r4", 1)

    assert [entry for entry in caller.entries() if entry.startswith("DAILY")] == []


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_an_account_that_moves_to_another_zone_gains_no_second_allowance(new_caller: NewCaller, zone: str) -> None:
    # It is the 20th in Jakarta, the 21st already in Kiritimati, and still the 19th in Pago Pago.
    caller = new_caller(EVERY_KIND, now_ms=at("2026-11-20 17:30+07:00"))
    caller.reserve("r1", 3)
    caller.events()

    caller.open(zone=zone, move=True)
    caller.reserve("r2", 1)
    caller.open(zone="Asia/Jakarta", move=True)
    caller.reserve("r3", 1)

    assert [entry for entry in caller.entries() if entry.startswith("DAILY")] == []


def test_a_new_zone_counts_from_the_next_reset_in_the_old_one(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND, now_ms=at("2026-11-20 17:30+07:00"))
    caller.reserve("r1", 3)
    caller.open(zone="Pacific/Kiritimati", move=True)
    caller.reserve("r2", 1)
    caller.events()

    caller.now_ms = at("2026-11-21 00:00+07:00")
    caller.reserve("r3", 1)

    days = [entry for entry in caller.entries() if " day:" in entry]
    assert days == ["DAILY_RESET day:2026-11-21 +3"]
    assert caller.hash(caller.period_key("day:2026-11-21"))["ends_at"] == str(at("2026-11-22 00:00+14:00"))


def test_no_local_date_is_given_twice_to_an_account_that_moves_west(new_caller: NewCaller) -> None:
    # When the 20th ends in Jakarta it is still the 20th in London, for seven more hours.
    caller = new_caller(EVERY_KIND, now_ms=at("2026-11-20 17:30+07:00"))
    caller.reserve("r1", 3)
    caller.open(zone="Europe/London", move=True)
    caller.events()

    caller.now_ms = at("2026-11-21 00:00+07:00")
    caller.reserve("r2", 1)
    caller.now_ms = at("2026-11-21 00:00+00:00")
    caller.reserve("r3", 1)

    assert [entry for entry in caller.entries() if entry.startswith("DAILY")] == ["DAILY_RESET day:2026-11-21 +3"]


def server_ms(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def expires_at_ms(client: redis.Redis, key: str) -> int:
    """When a key expires by the server's clock."""
    pipeline: Any = client.pipeline(transaction=True)
    pipeline.pttl(key).time()
    remaining_ms, (seconds, microseconds) = pipeline.execute()
    return int(remaining_ms) + int(seconds) * 1000 + int(microseconds) // 1000
