"""A JSON object of the caller's own, as it is kept with a ledger row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.domain.errors import RefusedInput

MAX_CHARACTERS = 1000
#: Objects and lists within each other.
MAX_DEPTH = 16


def written(metadata: Mapping[str, Any] | None) -> str:
    """As compact JSON text; "" for nothing. Raises RefusedInput for what is too long, too deep, or cannot be kept."""
    if not metadata:
        return ""
    if _depth(metadata) > MAX_DEPTH:
        raise RefusedInput(f"metadata: its objects and lists stand more than {MAX_DEPTH} within each other")
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError:  # NaN, an infinity, or half a character; a number of too many digits.
        raise RefusedInput("metadata: not a number, or not a text, that JSON can carry") from None
    if len(text) > MAX_CHARACTERS:
        raise RefusedInput(f"metadata: {len(text)} characters as compact JSON; up to {MAX_CHARACTERS} are kept")
    return text


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, Mapping | list):
            deepest = max(deepest, depth)
            if depth > MAX_DEPTH:
                return depth
            inner = item.values() if isinstance(item, Mapping) else item
            waiting += [(one, depth + 1) for one in inner]
    return deepest
