"""Which periods an account is in: its local day, and one for each allowance of its tier."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from gateway.domain.period import Windows, day_windows, hour_windows, local_date, month_windows, week_windows
from gateway.domain.tier import Allowance, Tier


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is running at one instant, and what comes next."""

    day: Windows
    #: One for each allowance of the tier, in its order.
    allowances: tuple[Windows, ...]
    #: The local date on which the account was opened, "2026-11-20"; "" when nothing is anchored to it.
    anchor: str
    #: The instants in which all of this is what is running.
    starts_ms: int
    ends_ms: int

    def contains(self, now_ms: int) -> bool:
        return self.starts_ms <= now_ms < self.ends_ms


def schedule(tier: Tier, now_ms: int, zone_name: str = "", anchor: str = "") -> Schedule:
    """The periods of an account of this tier. `zone_name`: its own zone, "" for the tier's. `anchor`: the date on which
    it was opened; "": today."""
    zone = zone_of(tier, zone_name)
    opened = date.fromisoformat(anchor) if anchor else local_date(now_ms, zone, tier.reset_hour)
    day = day_windows(now_ms, zone, tier.reset_hour)
    windows = tuple(_windows(allowance, now_ms, zone, tier.reset_hour, opened) for allowance in tier.allowances)
    return Schedule(
        day,
        windows,
        opened.isoformat() if tier.is_anchored else "",
        starts_ms=max(window.starts_ms for window in (day, *windows)),
        ends_ms=min(window.ends_ms for window in (day, *windows)),
    )


def anchor_of(tier: Tier, first_seen_ms: int, zone_name: str = "") -> str:
    """The anchor of an account that has none yet, because none of its tiers asked for one."""
    return local_date(first_seen_ms, zone_of(tier, zone_name), tier.reset_hour).isoformat()


def zone_of(tier: Tier, zone_name: str) -> ZoneInfo:
    """Where an account's periods turn."""
    return ZoneInfo(zone_name) if zone_name else tier.zone


def _windows(allowance: Allowance, now_ms: int, zone: ZoneInfo, reset_hour: int, opened: date) -> Windows:
    match allowance.every:
        case "hour":
            return hour_windows(now_ms, zone, reset_hour)
        case "day":
            return day_windows(now_ms, zone, reset_hour)
        case "week":
            return week_windows(
                now_ms, zone, reset_hour, opened.weekday() if allowance.is_anchored else allowance.first_day or 0
            )
        case _:
            return month_windows(
                now_ms, zone, reset_hour, opened.day if allowance.is_anchored else allowance.first_day or 1
            )
