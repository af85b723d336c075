"""Ledger rows by the hundred thousand, made by the database itself."""

from __future__ import annotations

from sqlalchemy import Engine, Table

from gateway.ledger.record import record
from gateway.ledger.tables import ledger_entries, usage_events
from tests.ledger.events import usage


def fill(ledger: Engine, rows: int) -> None:
    """One call and its entry, and copies of both a second apart, until there are so many."""
    record(ledger, [usage("seed", model="a model whose name is as long as they come, version 2026-11-20")])
    with ledger.begin() as connection:
        for table, seed in ((usage_events, "seed"), (ledger_entries, "seed/1")):
            connection.exec_driver_sql(_copies(table, seed, ledger.dialect.name, rows - 1))


def _copies(table: Table, seed: str, dialect: str, copies: int) -> str:
    is_sqlite = dialect == "sqlite"
    later = (
        "strftime('%Y-%m-%d %H:%M:%S.000000', occurred_at, '+' || i || ' seconds')"
        if is_sqlite
        else "occurred_at + i * interval '1 second'"
    )
    changed = {"id": "'r-' || i", "occurred_at": later}
    names = [column.name for column in table.columns]
    values = ", ".join(changed.get(name, name) for name in names)
    numbers = (
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {})"
        if is_sqlite
        else ("WITH n(i) AS (SELECT generate_series(1, {}))")
    )
    source = f"SELECT {values} FROM {table.name}, n WHERE id = '{seed}'"
    return f"{numbers.format(copies)} INSERT INTO {table.name} ({', '.join(names)}) {source}"
