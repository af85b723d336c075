"""The end of a key, as people write it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.accounts.key_terms import read_expiry
from gateway.domain.errors import RefusedInput

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ends_at"),
    [
        ("30d", "2026-12-20T10:00:00+00:00"),
        ("1d", "2026-11-21T10:00:00+00:00"),
        ("36h", "2026-11-21T22:00:00+00:00"),
        ("2027-01-31T00:00:00Z", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T00:00:00+07:00", "2027-01-30T17:00:00+00:00"),
    ],
)
def test_a_key_ends_after_a_time_or_at_an_instant(text: str, ends_at: str) -> None:
    assert read_expiry(text, NOW) == datetime.fromisoformat(ends_at)


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30m", "99999999d", "tomorrow", "2027-01-31", "2027-01-31T00:00:00",
     "2027-13-01T00:00:00Z", "0001-01-01T00:00:00+23:00", "\u0663d"],
)  # fmt: skip
def test_what_names_no_instant_is_refused(text: str) -> None:
    """One without a zone names several."""
    with pytest.raises(RefusedInput, match="is no end of a key"):
        read_expiry(text, NOW)
