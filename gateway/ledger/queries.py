"""Reads the ledger: newest first or oldest first, paged by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, Table, func, select, tuple_

from gateway.ledger.tables import ledger_entries, usage_events

PAGE = 1000


def usage_of(engine: Engine, account: str) -> Iterator[dict[str, Any]]:
    """Every usage event of an account, oldest first."""
    return _of(engine, usage_events, account, ("occurred_at", "id"))


def entries_of(engine: Engine, account: str) -> Iterator[dict[str, Any]]:
    """Every ledger entry of an account, oldest first."""
    return _of(engine, ledger_entries, account, ("occurred_at", "position", "id"))


def balance_of(engine: Engine, account: str) -> int:
    """The sum of an account's entries: what it has left and held, as far as the ledger has heard."""
    with engine.connect() as connection:
        total = connection.execute(
            select(func.coalesce(func.sum(ledger_entries.c.amount), 0)).where(ledger_entries.c.account == account)
        ).scalar_one()
    return int(total)


def _of(engine: Engine, table: Table, account: str, order: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    columns = [table.c[name] for name in order]
    first = page = select(table).where(table.c.account == account).order_by(*columns).limit(PAGE)
    with engine.connect() as connection:
        while rows := connection.execute(page).mappings().all():
            yield from (dict(row) for row in rows)
            last = [rows[-1][column] for column in columns]
            page = first.where(tuple_(*columns) > tuple_(*last))
