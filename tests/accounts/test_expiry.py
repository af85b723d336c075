"""When a grant lapses, as people write it."""

from __future__ import annotations

import pytest

from gateway.accounts.expiry import expiry_s
from gateway.domain.errors import RefusedInput

NOW_S = 1_800_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12h", 12 * 3600),
        ("30d", 30 * 86_400),
        ("4w", 28 * 86_400),
        ("2027-01-15T15:00:01+07:00", 1),
        ("2027-01-15T08:00:01Z", 1),
    ],
)
def test_an_expiry_is_a_span_or_an_instant(text: str, seconds: int) -> None:
    assert expiry_s(text, NOW_S) == NOW_S + seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "d", "1.5d", "-1d", "30 days", "2027-06-01", "2027-06-01T00:00:00", "0d", "2027-01-15T08:00:00Z",
     "9999-01-01T00:00:00Z", "999999w"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RefusedInput):
        expiry_s(text, NOW_S)
