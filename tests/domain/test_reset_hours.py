"""Reset hours, weeks, hours and anchored months, where clocks leave the hour out, show it twice, or skip a date."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo, available_timezones

import pytest

from gateway.domain.period import EPOCH, day_windows, first_instant_ms, hour_windows, month_windows, week_windows

MINUTE = timedelta(minutes=1)
FIRST, LAST = date(2024, 1, 1), date(2029, 12, 31)


def at(text: str) -> int:
    return round((datetime.fromisoformat(text) - EPOCH) / timedelta(milliseconds=1))


def said(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


# ── the reset hour ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "day", "hour", "first"),
    [
        ("Asia/Jakarta", "2026-11-20", 4, "2026-11-19 21:00Z"),
        # 02:00 is followed by 03:00: the day begins at the change.
        ("Europe/Berlin", "2026-03-29", 2, "2026-03-29 01:00Z"),
        # 02:00 comes twice: it begins with the first.
        ("Europe/Berlin", "2026-10-25", 2, "2026-10-25 00:00Z"),
        # 01:00 is followed by 03:00, so that no clock shows 02:00: it begins at the change, not an hour after it.
        ("Antarctica/Troll", "2026-03-29", 2, "2026-03-29 01:00Z"),
        # 23:00 is followed by 00:00 of the next date.
        ("America/Nuuk", "2026-03-28", 23, "2026-03-29 01:00Z"),
        # 30 December 2011 was not: it begins with the 31st.
        ("Pacific/Apia", "2011-12-30", 4, "2011-12-30 14:00Z"),
    ],
)
def test_a_day_begins_when_the_clock_first_shows_its_hour_or_a_later_one(
    zone: str, day: str, hour: int, first: str
) -> None:
    assert said(first_instant_ms(date.fromisoformat(day), ZoneInfo(zone), hour)) == first


def test_the_hours_before_the_reset_hour_are_the_day_befores() -> None:
    for now, id in (("2026-11-20 03:59:59+07:00", "2026-11-19"), ("2026-11-20 04:00+07:00", "2026-11-20")):
        assert day_windows(at(now), ZoneInfo("Asia/Jakarta"), 4).id == id


@cache
def segments(zone: str) -> list[tuple[datetime, timedelta]]:
    """Each offset of a zone around the years that are checked, from when on: found by looking at the clock."""
    clock = ZoneInfo(zone)
    hours = [datetime(2023, 12, 28, tzinfo=UTC) + n * timedelta(hours=1) for n in range(24 * 366 * 6 + 24 * 8)]
    found = [(hours[0], _offset(hours[0], clock))]
    for earlier, later in pairwise(hours):
        if _offset(later, clock) != found[-1][1]:
            minutes = (earlier + n * MINUTE for n in range(61))
            change = next(minute for minute in minutes if _offset(minute, clock) != found[-1][1])
            found.append((change, _offset(change, clock)))
    return found


def _offset(instant: datetime, clock: ZoneInfo) -> timedelta:
    offset = instant.astimezone(clock).utcoffset()
    assert offset is not None
    return offset


def first_shown(wall: datetime, zone: str) -> datetime:
    """The first instant at which a zone's clock shows `wall` or later, by walking over its offsets."""
    stretches = segments(zone)
    ends = [start for start, _ in stretches[1:]] + [datetime(2031, 1, 1, tzinfo=UTC)]
    for (start, offset), end in zip(stretches, ends, strict=True):
        if (end + offset).replace(tzinfo=None) > wall:
            return max(start, wall.replace(tzinfo=UTC) - offset)
    raise AssertionError(wall)


def check(zone: str, days: Iterator[date], hours: range) -> None:
    for day in days:
        for hour in hours:
            wall = datetime.combine(day, time(hour))
            expected = round((first_shown(wall, zone) - EPOCH) / timedelta(milliseconds=1))
            assert first_instant_ms(day, ZoneInfo(zone), hour) == expected, (zone, day, hour)


def all_days() -> Iterator[date]:
    return (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1))


def days_of_changes(zone: str) -> Iterator[date]:
    for start, offset in segments(zone)[1:]:
        if FIRST <= start.date() < LAST:
            yield from ((start + offset).date() + timedelta(days=n) for n in (-1, 0, 1))


#: Those with the oddest changes, and some of all.
SAMPLE = sorted(
    {"Africa/Cairo", "America/Havana", "America/Nuuk", "Antarctica/Troll", "Asia/Beirut", "Australia/Lord_Howe"}
    | set(Random(2026).sample(sorted(available_timezones()), 10))
)


@pytest.mark.parametrize("zone", SAMPLE)
def test_every_hour_around_every_change_of_clocks_is_found(zone: str) -> None:
    check(zone, days_of_changes(zone), range(24))
    check(zone, (day for day in all_days() if day.day == 1), range(0, 24, 7))


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_hour_of_every_day_of_six_years_is_found_in_every_zone() -> None:
    for zone in sorted(available_timezones()):
        check(zone, all_days(), range(24))


# ── weeks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "weekday", "id", "starts", "ends"),
    [
        ("2026-11-20 12:00+07:00", 0, "2026-W47", "2026-11-15 17:00Z", "2026-11-22 17:00Z"),
        ("2026-11-20 12:00+07:00", 4, "2026-11-20", "2026-11-19 17:00Z", "2026-11-26 17:00Z"),
        ("2026-11-20 12:00+07:00", 5, "2026-11-14", "2026-11-13 17:00Z", "2026-11-20 17:00Z"),
        # The week of New Year belongs to the year that has more of it.
        ("2027-01-02 12:00+07:00", 0, "2026-W53", "2026-12-27 17:00Z", "2027-01-03 17:00Z"),
    ],
)
def test_a_week_begins_on_its_weekday(now: str, weekday: int, id: str, starts: str, ends: str) -> None:
    found = week_windows(at(now), ZoneInfo("Asia/Jakarta"), weekday=weekday)

    assert (found.id, said(found.starts_ms), said(found.ends_ms)) == (id, starts, ends)


def test_a_week_has_seven_local_days_however_long_they_are() -> None:
    found = week_windows(at("2026-10-25 12:00+01:00"), ZoneInfo("Europe/Berlin"), 4)

    assert (said(found.starts_ms), said(found.ends_ms)) == ("2026-10-19 02:00Z", "2026-10-26 03:00Z")


# ── months ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_month_that_begins_on_the_31st_clamps_from_the_31st_each_time() -> None:
    ids, now_ms = [], at("2027-01-31 12:00+00:00")
    for _ in range(6):
        found = month_windows(now_ms, ZoneInfo("UTC"), first_day=31)
        ids.append(found.id)
        now_ms = found.ends_ms

    assert ids == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30"]


def test_a_month_from_the_first_is_the_calendars() -> None:
    assert month_windows(at("2026-11-20 12:00Z"), ZoneInfo("UTC"), first_day=1).id == "2026-11"


# ── hours ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("zone", "now", "id", "ends"),
    [
        ("Asia/Jakarta", "2026-11-20 12:34Z", "2026-11-20T12:00Z", "2026-11-20 13:00Z"),
        # Where the clock is half an hour off, so are its hours.
        ("Asia/Kolkata", "2026-11-20 12:34Z", "2026-11-20T12:30Z", "2026-11-20 13:30Z"),
        # 01:30 comes twice in Havana: they are two hours.
        ("America/Havana", "2026-11-01 04:30Z", "2026-11-01T04:00Z", "2026-11-01 05:00Z"),
        ("America/Havana", "2026-11-01 05:30Z", "2026-11-01T05:00Z", "2026-11-01 06:00Z"),
        # The clock goes forward by half an hour at 02:00: the last hour of that day is a half one.
        ("Australia/Lord_Howe", "2026-10-04 12:45Z", "2026-10-04T12:30Z", "2026-10-04 13:00Z"),
    ],
)
def test_an_hour_is_counted_from_the_first_instant_of_its_day(zone: str, now: str, id: str, ends: str) -> None:
    found = hour_windows(at(now), ZoneInfo(zone))

    assert (found.id, said(found.ends_ms)) == (id, ends)
