"""Reads whole tables of the ledger, row after row, in bounded memory: for exports of millions of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Engine, Row, Select, Table, func, select

from gateway.ledger.tables import ledger_entries, usage_events

#: Rows that are in memory at a time.
BATCH = 5000


@dataclass(frozen=True, slots=True)
class Slice:
    """What is read: rows of a table that happened from `begin` on and before `end`, of one account or of all."""

    #: "usage" or "ledger".
    what: str
    begin: datetime
    end: datetime
    account: str | None = None

    @property
    def table(self) -> Table:
        return {"usage": usage_events, "ledger": ledger_entries}[self.what]

    @property
    def columns(self) -> Sequence[Column[Any]]:
        return list(self.table.columns)

    def query(self) -> Select[Any]:
        """In the order of an index, so that no database has to sort what it has not to: calls by time, entries by
        account and time."""
        of = self.table.c
        by_time = [of.occurred_at, of.id] if self.what == "usage" else [of.account, of.occurred_at, of.position, of.id]
        return self._within(select(self.table)).order_by(*by_time)

    def count_query(self) -> Select[Any]:
        return self._within(select(func.count()).select_from(self.table))

    def _within(self, query: Select[Any]) -> Select[Any]:
        of = self.table.c
        query = query.where(of.occurred_at >= self.begin, of.occurred_at < self.end)
        return query if self.account is None else query.where(of.account == self.account)


def count(engine: Engine, part: Slice) -> int:
    """How many rows a slice has."""
    with engine.connect() as connection:
        return int(connection.execute(part.count_query()).scalar_one())


def batches(engine: Engine, part: Slice, size: int = BATCH) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a slice as they stand when the first is read, `size` at a time, through a cursor of the server's."""
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True, yield_per=size).execute(part.query())
        yield from result.partitions(size)
