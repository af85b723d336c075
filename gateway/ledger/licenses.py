"""License keys and their uses as the ledger has them, newest first, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Engine, select

from gateway.ledger.paging import Page, page
from gateway.ledger.tables import license_keys, usage_events

#: Of a license whose key was not shown yet: the act that makes it was cut short, or runs. Nobody is told of it.
OPENING = "opening"

Row = dict[str, Any]

_key, _call = license_keys.c, usage_events.c


def by_prefix(engine: Engine, prefix: str) -> Row | None:
    query = select(license_keys).where(_key.prefix == prefix, _key.status != OPENING)
    with engine.connect() as connection:
        found = connection.execute(query).mappings().one_or_none()
    return None if found is None else dict(found)


def licenses(engine: Engine, conditions: Sequence[ColumnElement[bool]], *, cursor: str | None, limit: int) -> Page:
    """Those that meet all conditions. Raises RefusedInput."""
    rows = select(license_keys).where(_key.status != OPENING, *conditions)
    return page(engine, rows, (_key.created_at, _key.prefix), cursor=cursor, limit=limit)


def uses(engine: Engine, account: str, *, cursor: str | None, limit: int) -> Page:
    """All calls of a license, but for those that were given back. Raises RefusedInput."""
    rows = select(usage_events).where(_call.account == account, _call.outcome != "released")
    return page(engine, rows, (_call.occurred_at, _call.id), cursor=cursor, limit=limit)
