"""License keys and their uses as the ledger has them, newest first, paged by key."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Table, select, tuple_

from gateway.domain.errors import RefusedInput
from gateway.ledger.tables import license_keys, usage_events

#: Of a license whose key was not shown yet: the act that makes it was cut short, or runs. Nobody is told of it.
OPENING = "opening"

Row = dict[str, Any]


class Rows(NamedTuple):
    """A page of rows, and where the next one begins; None: there is none."""

    items: list[Row]
    next_cursor: str | None


def by_prefix(engine: Engine, prefix: str) -> Row | None:
    is_it = (license_keys.c.prefix == prefix) & (license_keys.c.status != OPENING)
    with engine.connect() as connection:
        found = connection.execute(select(license_keys).where(is_it)).mappings().one_or_none()
    return None if found is None else dict(found)


def licenses(engine: Engine, conditions: Sequence[ColumnElement[bool]], cursor: str | None, limit: int) -> Rows:
    """Those that meet all conditions. Raises RefusedInput for a cursor that is none."""
    return _page(
        engine, license_keys, [license_keys.c.status != OPENING, *conditions], ("created_at", "prefix"), cursor, limit
    )


def uses(engine: Engine, account: str, cursor: str | None, limit: int) -> Rows:
    """What a license was used for: all its calls that ended with a charge, or with none due. Raises RefusedInput for a
    cursor that is none."""
    conditions = [usage_events.c.account == account, usage_events.c.outcome != "released"]
    return _page(engine, usage_events, conditions, ("occurred_at", "id"), cursor, limit)


def _page(
    engine: Engine,
    table: Table,
    conditions: Sequence[ColumnElement[bool]],
    order: tuple[str, str],
    cursor: str | None,
    limit: int,
) -> Rows:
    columns = [table.c[name] for name in order]
    query = select(table).where(*conditions).order_by(*(column.desc() for column in columns)).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(*columns) < tuple_(*_place(cursor)))
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
    more = len(found) > limit
    found = found[:limit]
    return Rows(found, _cursor(found[-1][order[0]], found[-1][order[1]]) if more else None)


def _cursor(at: datetime, id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), id]).encode()).decode()


def _place(cursor: str) -> tuple[datetime, str]:
    try:
        at, id = json.loads(base64.b64decode(cursor.encode(), b"-_", validate=True))
        instant = datetime.fromisoformat(at)
        if instant.utcoffset() is None or not isinstance(id, str) or "\0" in id:
            raise ValueError
        id.encode()
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise RefusedInput("the cursor is none: take `next_cursor` of the page before") from None
    return instant, id
