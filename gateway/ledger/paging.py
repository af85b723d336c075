"""Pages by key: each goes on after the last row of the one before, so that a deep one costs what the first does.

A cursor is that row's place in the order, opaque to whoever passes it back: base64 of a JSON list. It holds nothing
that the page itself did not show.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Engine, Select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from gateway.domain.errors import RefusedInput

#: Rows of a page at the most.
MAX_LIMIT = 1000
#: Longer than any that was given out.
_MAX_CURSOR_CHARACTERS = 2000
_MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and where the next ones begin."""

    #: By column. Instants are in UTC.
    items: tuple[Mapping[str, Any], ...]
    #: None: there are no more.
    next_cursor: str | None


def page(
    engine: Engine,
    rows: Select[Any],
    order: Sequence[Column[Any]],
    *,
    cursor: str | None,
    limit: int,
    descending: bool = True,
) -> Page:
    """One page of `rows`, in the order of columns that are among those selected, the last of them unique.

    Raises RefusedInput when the cursor is none of this order, or the limit is not from 1 to 1000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise RefusedInput(f"limit = {limit}: must be from 1 to {MAX_LIMIT}")
    if cursor is not None:
        rows = rows.where(*_after(order, decode(cursor, [column.type.python_type for column in order]), descending))
    rows = rows.order_by(*(column.desc() if descending else column.asc() for column in order)).limit(limit + 1)
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(rows).mappings()]
    items = tuple(found[:limit])
    more = len(found) > limit
    return Page(items, encode([items[-1][column.name] for column in order]) if more else None)


def _after(order: Sequence[Column[Any]], place: Sequence[Any], descending: bool) -> list[ColumnElement[bool]]:
    """What comes after a place. The first column alone says nothing new, but to PostgreSQL, which leaves out months by
    it."""
    first, columns, values = order[0], tuple_(*order), tuple_(*place)
    if descending:
        return [first <= place[0], columns < values]
    return [first >= place[0], columns > values]


def encode(values: Sequence[Any]) -> str:
    """A cursor of texts, integers and instants."""
    plain = [value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value for value in values]
    written = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(written).decode().rstrip("=")


def decode(cursor: str, kinds: Sequence[type]) -> list[Any]:
    """The values of a cursor, of these types: str, int or datetime. Raises RefusedInput."""
    try:
        if len(cursor) > _MAX_CURSOR_CHARACTERS:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if type(values) is not list:
            raise ValueError
        return [_value(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, RecursionError, binascii.Error):
        raise RefusedInput("the cursor is none that a page of this list gave") from None


def _value(value: Any, kind: type) -> Any:
    if kind is datetime:
        instant = datetime.fromisoformat(_value(value, str))
        if instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(UTC)
    if type(value) is not kind or (isinstance(value, int) and abs(value) > _MAX_NUMBER):
        raise ValueError
    if isinstance(value, str) and b"\0" in value.encode():  # Which half a surrogate pair does not survive.
        raise ValueError
    return value
