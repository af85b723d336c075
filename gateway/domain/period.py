"""Local hours, days, weeks and months: when they begin, end, and what they are called.

A local day begins when the wall clock first shows the reset hour of its date, or a later one. That is not "now + 86,400
s", and not always the hour itself: clocks change at midnight in some zones, and whole dates are skipped (FACTS section
6). Weeks and months begin as their first day does; hours are counted from the day's first instant.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Windows:
    """One kind of period, now and next: what a script needs to see midnight on its own clock."""

    #: Such as "2026-11-20", "2026-11", "2026-W47" or, in UTC, "2026-11-20T14:00Z". Of two of one kind and length, the
    #: later one sorts higher.
    id: str
    starts_ms: int
    ends_ms: int
    next_id: str
    next_ends_ms: int

    def contains(self, now_ms: int) -> bool:
        return self.starts_ms <= now_ms < self.ends_ms


def hour_windows(now_ms: int, zone: ZoneInfo, reset_hour: int = 0) -> Windows:
    """The hour that `now_ms` lies in, and the one after it. A day's last hour ends with the day.

    Named in UTC: the wall clock shows some hours twice.
    """
    day = day_windows(now_ms, zone, reset_hour)
    starts_ms = now_ms - (now_ms - day.starts_ms) % HOUR_MS
    ends_ms = min(starts_ms + HOUR_MS, day.ends_ms)
    next_day_ends_ms = day.ends_ms if ends_ms < day.ends_ms else day.next_ends_ms
    return Windows(
        _utc_hour(starts_ms), starts_ms, ends_ms, _utc_hour(ends_ms), min(ends_ms + HOUR_MS, next_day_ends_ms)
    )


def day_windows(now_ms: int, zone: ZoneInfo, reset_hour: int = 0) -> Windows:
    """The local day that `now_ms` lies in, and the one after it."""
    today = local_date(now_ms, zone, reset_hour)
    tomorrow = _next_date(today, zone)
    return _windows((today, tomorrow, _next_date(tomorrow, zone)), zone, reset_hour, "%Y-%m-%d")


def week_windows(now_ms: int, zone: ZoneInfo, reset_hour: int = 0, weekday: int = 0) -> Windows:
    """The week that begins on `weekday` (0 is Monday, as in ISO 8601), and the one after it."""
    today = local_date(now_ms, zone, reset_hour)
    first = today - DAY * ((today.weekday() - weekday) % 7)
    form = "%Y-%m-%d" if weekday else "%G-W%V"
    return _windows((first, first + 7 * DAY, first + 14 * DAY), zone, reset_hour, form)


def month_windows(now_ms: int, zone: ZoneInfo, reset_hour: int = 0, first_day: int = 1) -> Windows:
    """The month that begins on the `first_day`, and the one after it. A month that is too short for that day begins on
    its last one, and the next on the day itself again: 31 January, 28 February, 31 March."""
    today = local_date(now_ms, zone, reset_hour)
    month = today.year * 12 + today.month - 1
    if day_of_month(month, first_day) > today:
        month -= 1
    form = "%Y-%m" if first_day == 1 else "%Y-%m-%d"
    firsts = (day_of_month(month, first_day), day_of_month(month + 1, first_day))
    return _windows((*firsts, day_of_month(month + 2, first_day)), zone, reset_hour, form)


def local_date(now_ms: int, zone: ZoneInfo, reset_hour: int = 0) -> date:
    """The date whose day is running: the last one that has begun. A change of clocks may show an older date once more;
    the later one stays begun."""
    day = (EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date() + DAY
    while first_instant_ms(day, zone, reset_hour) > now_ms:
        day -= DAY
    return day


def first_instant_ms(day: date, zone: ZoneInfo, reset_hour: int = 0) -> int:
    """The first instant of a local day, in milliseconds since 1970. A date that the zone skipped begins with the next
    one."""
    while _is_skipped(day, zone):
        day += DAY
    return round((_first_shown(datetime.combine(day, time(reset_hour)), zone) - EPOCH) / timedelta(milliseconds=1))


def day_of_month(month: int, day: int) -> date:
    """That day of a month, or its last one where it is too short. `month`: counted from the year 0."""
    year, index = divmod(month, 12)
    return date(year, index + 1, min(day, monthrange(year, index + 1)[1]))


def _first_shown(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the wall clock of the zone shows `wall`, or a later time."""
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # No clock shows it: they go over it. With the offset from after that change it names an instant before the change.
    before, offset = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), found.astimezone(zone).utcoffset()
    while found - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(found - before) // timedelta(seconds=2))
        before, found = (before, middle) if middle.astimezone(zone).utcoffset() == offset else (middle, found)
    return found


def _is_skipped(day: date, zone: ZoneInfo) -> bool:
    """Whether a date has no instants: a zone that crosses the date line leaves one out."""
    midnight = datetime.combine(day, time())
    return _first_shown(midnight + DAY, zone) <= _first_shown(midnight, zone)


def _next_date(day: date, zone: ZoneInfo) -> date:
    """The date after `day` that has any instants."""
    day += DAY
    while _is_skipped(day, zone):
        day += DAY
    return day


def _windows(firsts: tuple[date, date, date], zone: ZoneInfo, reset_hour: int, form: str) -> Windows:
    """Of three periods that follow each other, given the first days."""
    starts_ms, ends_ms, next_ends_ms = (first_instant_ms(first, zone, reset_hour) for first in firsts)
    return Windows(firsts[0].strftime(form), starts_ms, ends_ms, firsts[1].strftime(form), next_ends_ms)


def _utc_hour(at_ms: int) -> str:
    return (EPOCH + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%dT%H:%MZ")
