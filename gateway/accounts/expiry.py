"""When a grant, a key or an override ends, as people write it."""

from __future__ import annotations

import re
from datetime import datetime

from gateway.domain.errors import RefusedInput

_SPAN = re.compile(r"(\d{1,6})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
#: The burn order keeps expiries of ten digits: until the year 2286.
_LAST_S = 9_999_999_998


def expiry_s(text: str, now_s: int) -> int:
    """Seconds since 1970 of "30d", "12h", "4w" from now on, or of an instant such as "2026-12-31T23:59:59+07:00".

    Raises RefusedInput for anything else, an instant without an offset included, and for what is in the past.
    """
    span = _SPAN.fullmatch(text)
    expires_s = now_s + int(span[1]) * _SECONDS[span[2]] if span else _instant_s(text)
    if not now_s < expires_s <= _LAST_S:
        raise RefusedInput(f"{text} is in the past, or too far ahead")
    return expires_s


def _instant_s(text: str) -> int:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise RefusedInput(f'{text!r} is no expiry: "30d", "12h", "4w", or an instant as in 2026-12-31T23:59:59+07:00')
    return int(instant.timestamp())
