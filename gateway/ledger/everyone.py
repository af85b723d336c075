"""Calls of all accounts, for operators: newest first, paged by key."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, select

from gateway.ledger.paging import Page, page
from gateway.ledger.tables import usage_events

_call = usage_events.c


def calls(
    engine: Engine,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    operation: str | None = None,
    model: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """From `since` on and before `until`. A rare operation or model is looked for through all that time: name a short
    one. Raises RefusedInput."""
    rows = select(usage_events)
    if since is not None:
        rows = rows.where(_call.occurred_at >= since)
    if until is not None:
        rows = rows.where(_call.occurred_at < until)
    for column, wanted in ((_call.operation, operation), (_call.model, model)):
        if wanted is not None:
            rows = rows.where(column == wanted)
    return page(engine, rows, (_call.occurred_at, _call.id), cursor=cursor, limit=limit)
