"""What a ledger says that Redis should hold: the end of a period is that of the clock by which it was opened."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.accounts.truth import last_periods
from gateway.domain.books import Opening, Record
from gateway.domain.tier import Allowance, Tier

JAKARTA = ZoneInfo("Asia/Jakarta")
FREE = Tier("free", allowances=(Allowance("day", 5),), zone=JAKARTA)
PRO = Tier("pro", zone=JAKARTA)


def ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).timestamp() * 1000)


@pytest.mark.parametrize("tier", [FREE, PRO])
@pytest.mark.parametrize(
    ("moved_at", "ends_at"),
    [
        ("2026-11-20 05:00", ms("2026-11-21 00:00", "Europe/Berlin")),  # It was in Berlin already.
        ("2026-11-20 12:00", ms("2026-11-21 00:00", "Asia/Jakarta")),
    ],
)
def test_a_day_ends_by_the_clock_that_it_was_opened_by(tier: Tier, moved_at: str, ends_at: int) -> None:
    """At that time both zones have the same date."""
    record = Record("bob", tier.name, "Europe/Berlin", tier_set_at_ms=ms(moved_at))
    record.buckets, record.openings = {"day:2026-11-20": 2}, {"day:2026-11-20": Opening(5, ms("2026-11-20 11:00"))}

    periods = last_periods(record, tier, [FREE, PRO], ms("2026-11-20 13:00"))

    assert periods["day"].ends_ms == ends_at
