"""Local days and months: when they begin, end, and what they are called.

The first instant of a local date is not "now + 86,400 s", and not always 00:00: clocks change at midnight in some zones
(FACTS section 6). `datetime(y, m, d, tzinfo=zone, fold=0)` names it in every zone: in a gap, fold 0 reads the wall
clock with the offset from before the change, which is the instant of the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Windows:
    """One kind of period, now and next: what a script needs to see midnight on its own clock."""

    #: Such as "2026-11-20" or "2026-11".
    id: str
    starts_ms: int
    ends_ms: int
    next_id: str
    next_ends_ms: int

    def contains(self, now_ms: int) -> bool:
        return self.starts_ms <= now_ms < self.ends_ms


def first_instant_ms(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local date, in milliseconds since 1970."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone, fold=0)
    return round((local.astimezone(UTC) - EPOCH) / timedelta(milliseconds=1))


def day_windows(now_ms: int, zone: ZoneInfo) -> Windows:
    """The local day that `now_ms` lies in, and the one after it."""
    today = _local_date(now_ms, zone)
    # A change at midnight may put the wall clock back over the line: the later date has begun, and stays begun.
    if first_instant_ms(today + timedelta(days=1), zone) <= now_ms:
        today += timedelta(days=1)
    tomorrow = _next_date(today, zone)
    return _windows(today, tomorrow, _next_date(tomorrow, zone), zone, "%Y-%m-%d")


def month_windows(now_ms: int, zone: ZoneInfo) -> Windows:
    """The local calendar month that `now_ms` lies in, and the one after it."""
    day = _local_date(now_ms, zone)
    if first_instant_ms(day + timedelta(days=1), zone) <= now_ms:
        day += timedelta(days=1)
    first = day.replace(day=1)
    second = _next_month(first)
    return _windows(first, second, _next_month(second), zone, "%Y-%m")


def _local_date(now_ms: int, zone: ZoneInfo) -> date:
    return (EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date()


def _next_date(day: date, zone: ZoneInfo) -> date:
    """The date after `day` that has any instants: a zone that crosses the date line skips one."""
    following = day + timedelta(days=1)
    while first_instant_ms(following + timedelta(days=1), zone) <= first_instant_ms(following, zone):
        following += timedelta(days=1)
    return following


def _next_month(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _windows(now: date, following: date, after: date, zone: ZoneInfo, form: str) -> Windows:
    ends_ms = first_instant_ms(following, zone)
    return Windows(
        id=now.strftime(form),
        starts_ms=first_instant_ms(now, zone),
        ends_ms=ends_ms,
        next_id=following.strftime(form),
        next_ends_ms=first_instant_ms(after, zone),
    )
