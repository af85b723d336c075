"""Whole tables of a ledger, for tests that compare them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Table, select


def rows(ledger: Engine, table: Table) -> list[dict[str, Any]]:
    """Every row of a table, in the order of its key."""
    with ledger.connect() as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
