"""Local days and months: where they begin and end, in zones whose clocks change at midnight or skip whole dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.period import (
    HOUR_MS,
    Windows,
    day_windows,
    first_instant_ms,
    hour_windows,
    month_windows,
    week_windows,
)


def at(text: str) -> int:
    """Milliseconds since 1970 of an instant such as "2026-11-20 12:00+07:00"."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def said(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


#: Zone, an instant, the local day's id and its two ends.
DAYS = [
    ("UTC", "2026-11-20 12:00Z", "2026-11-20", "2026-11-20 00:00Z", "2026-11-21 00:00Z"),
    ("Asia/Jakarta", "2026-11-20 16:59:59.999Z", "2026-11-20", "2026-11-19 17:00Z", "2026-11-20 17:00Z"),
    ("Asia/Jakarta", "2026-11-20 17:00Z", "2026-11-21", "2026-11-20 17:00Z", "2026-11-21 17:00Z"),
    ("Asia/Kathmandu", "2026-11-20 12:00Z", "2026-11-20", "2026-11-19 18:15Z", "2026-11-20 18:15Z"),
    # Clocks change by day: the day has 23 or 25 hours.
    ("Europe/Berlin", "2026-03-29 12:00Z", "2026-03-29", "2026-03-28 23:00Z", "2026-03-29 22:00Z"),
    ("Europe/Berlin", "2026-10-25 12:00Z", "2026-10-25", "2026-10-24 22:00Z", "2026-10-25 23:00Z"),
    # Clocks go from 00:00 to 01:00: the day begins at 01:00, and there is no midnight.
    ("Africa/Cairo", "2026-04-23 21:59:59.999Z", "2026-04-23", "2026-04-22 22:00Z", "2026-04-23 22:00Z"),
    ("Africa/Cairo", "2026-04-23 22:00Z", "2026-04-24", "2026-04-23 22:00Z", "2026-04-24 21:00Z"),
    ("America/Havana", "2026-03-08 04:59:59.999Z", "2026-03-07", "2026-03-07 05:00Z", "2026-03-08 05:00Z"),
    ("America/Havana", "2026-03-08 05:00Z", "2026-03-08", "2026-03-08 05:00Z", "2026-03-09 04:00Z"),
    # Cairo goes back from 00:00 to 23:00: the older date has 25 hours.
    ("Africa/Cairo", "2026-10-29 21:30Z", "2026-10-29", "2026-10-28 21:00Z", "2026-10-29 22:00Z"),
    ("Africa/Cairo", "2026-10-29 22:00Z", "2026-10-30", "2026-10-29 22:00Z", "2026-10-30 22:00Z"),
    # Havana goes back from 01:00 to 00:00: midnight comes twice, and the day began with the first one.
    ("America/Havana", "2026-11-01 04:00Z", "2026-11-01", "2026-11-01 04:00Z", "2026-11-02 05:00Z"),
    ("America/Havana", "2026-11-01 05:30Z", "2026-11-01", "2026-11-01 04:00Z", "2026-11-02 05:00Z"),
    # St. John's went back from 00:01 to 23:01 of the day before: the later date had begun, and stays begun.
    ("America/St_Johns", "2010-11-07 02:30Z", "2010-11-07", "2010-11-07 02:30Z", "2010-11-08 03:30Z"),
    ("America/St_Johns", "2010-11-07 02:45Z", "2010-11-07", "2010-11-07 02:30Z", "2010-11-08 03:30Z"),
    # Apia crossed the date line: 30 December 2011 was not.
    ("Pacific/Apia", "2011-12-30 09:59Z", "2011-12-29", "2011-12-29 10:00Z", "2011-12-30 10:00Z"),
    ("Pacific/Apia", "2011-12-30 10:00Z", "2011-12-31", "2011-12-30 10:00Z", "2011-12-31 10:00Z"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "now", "id", "starts", "ends"), DAYS)
def test_a_day_lasts_from_its_first_local_instant_to_the_next_dates(
    zone: str, now: str, id: str, starts: str, ends: str
) -> None:
    found = day_windows(at(now), ZoneInfo(zone))

    assert (found.id, said(found.starts_ms), said(found.ends_ms)) == (id, said(at(starts)), said(at(ends)))


@pytest.mark.parametrize(
    ("zone", "day", "instant"),
    [
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-24 01:00+03:00"),
        ("America/Havana", date(2026, 3, 8), "2026-03-08 01:00-04:00"),
        ("America/Havana", date(2026, 11, 1), "2026-11-01 00:00-04:00"),
        ("Asia/Jakarta", date(2026, 11, 21), "2026-11-21 00:00+07:00"),
    ],
)
def test_the_first_instant_of_a_date_is_named_in_every_zone(zone: str, day: date, instant: str) -> None:
    assert first_instant_ms(day, ZoneInfo(zone)) == at(instant)


def test_the_day_after_a_skipped_date_is_the_one_that_comes() -> None:
    found = day_windows(at("2011-12-29 12:00-10:00"), ZoneInfo("Pacific/Apia"))

    assert (found.id, found.next_id) == ("2011-12-29", "2011-12-31")
    assert found.next_ends_ms == at("2012-01-01 00:00+14:00")


@pytest.mark.parametrize(
    ("zone", "now", "id", "next_id", "starts", "ends", "next_ends"),
    [
        ("UTC", "2026-11-20 12:00Z", "2026-11", "2026-12", "2026-11-01 00:00Z", "2026-12-01 00:00Z",
         "2027-01-01 00:00Z"),
        ("UTC", "2028-02-29 23:59Z", "2028-02", "2028-03", "2028-02-01 00:00Z", "2028-03-01 00:00Z",
         "2028-04-01 00:00Z"),
        ("Asia/Jakarta", "2026-11-30 17:00Z", "2026-12", "2027-01", "2026-11-30 17:00Z", "2026-12-31 17:00Z",
         "2027-01-31 17:00Z"),
        ("America/Havana", "2026-11-01 05:30Z", "2026-11", "2026-12", "2026-11-01 04:00Z", "2026-12-01 05:00Z",
         "2027-01-01 05:00Z"),
        # 1 October 2017 began at 01:00 in Asuncion.
        ("America/Asuncion", "2017-10-01 04:00Z", "2017-10", "2017-11", "2017-10-01 04:00Z", "2017-11-01 03:00Z",
         "2017-12-01 03:00Z"),
    ],
)  # fmt: skip
def test_a_month_is_a_calendar_month_of_the_zone(
    zone: str, now: str, id: str, next_id: str, starts: str, ends: str, next_ends: str
) -> None:
    found = month_windows(at(now), ZoneInfo(zone))

    assert found == Windows(id, at(starts), at(ends), next_id, at(next_ends))


def test_a_window_has_its_beginning_and_not_its_end() -> None:
    window = day_windows(at("2026-11-20 12:00Z"), ZoneInfo("UTC"))

    edges = [window.starts_ms - 1, window.starts_ms, window.ends_ms - 1, window.ends_ms]
    assert [window.contains(edge) for edge in edges] == [False, True, True, False]


#: Zones that have changed their clocks at midnight, by half hours, over the date line, or never.
ZONES = (
    "UTC", "Asia/Jakarta", "Africa/Cairo", "America/Havana", "America/St_Johns", "America/Sao_Paulo", "Asia/Amman",
    "America/Asuncion", "Asia/Tehran", "Pacific/Apia", "Pacific/Kwajalein", "Pacific/Kiritimati", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Antarctica/Troll", "Africa/Casablanca", "America/Nuuk", "Asia/Beirut",
)  # fmt: skip
INSTANTS = st.integers(at("1972-01-01 00:00Z"), at("2037-12-31 00:00Z"))
NEAR_A_CHANGE = st.sampled_from(
    [at("2026-04-23 22:00Z"), at("2026-10-29 21:00Z"), at("2026-03-08 05:00Z"), at("2026-11-01 05:00Z"),
     at("2010-11-07 02:31Z"), at("2011-12-30 10:00Z"), at("2018-02-18 02:00Z")]
).flatmap(lambda change: st.integers(change - 2 * HOUR_MS, change + 2 * HOUR_MS))  # fmt: skip


EVERY_KIND = (
    hour_windows,
    day_windows,
    week_windows,
    partial(week_windows, weekday=3),
    month_windows,
    partial(month_windows, first_day=17),
    partial(month_windows, first_day=31),
)


@given(now_ms=INSTANTS | NEAR_A_CHANGE, zone=st.sampled_from(ZONES), hour=st.integers(0, 23))
def test_windows_follow_each_other_without_gap_or_overlap(now_ms: int, zone: str, hour: int) -> None:
    for windows in EVERY_KIND:
        now = windows(now_ms, ZoneInfo(zone), hour)
        after = windows(now.ends_ms, ZoneInfo(zone), hour)

        assert now.contains(now_ms)
        assert now.id < now.next_id
        assert windows(now.starts_ms, ZoneInfo(zone), hour) == windows(now.ends_ms - 1, ZoneInfo(zone), hour) == now
        assert (after.id, after.starts_ms, after.ends_ms) == (now.next_id, now.ends_ms, now.next_ends_ms)


@given(now_ms=INSTANTS | NEAR_A_CHANGE, zone=st.sampled_from(ZONES))
def test_a_day_belongs_to_the_month_it_is_named_after(now_ms: int, zone: str) -> None:
    day, month = day_windows(now_ms, ZoneInfo(zone)), month_windows(now_ms, ZoneInfo(zone))

    assert day.id.startswith(month.id)
    assert month.starts_ms <= day.starts_ms < day.ends_ms <= month.ends_ms


@given(now_ms=INSTANTS, zone=st.sampled_from(ZONES))
def test_a_day_is_never_longer_than_two_of_the_clock(now_ms: int, zone: str) -> None:
    day = day_windows(now_ms, ZoneInfo(zone))

    length = timedelta(milliseconds=day.ends_ms - day.starts_ms)
    assert timedelta(hours=20) <= length <= timedelta(hours=28)
