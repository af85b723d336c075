"""What one account did and has: its entries and calls page by page, its sums by day, model and operation.

Each is one round trip, and of one account served by an index, however much the ledger holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Engine, Select, func, literal, select, text, union_all
from sqlalchemy.sql.elements import ColumnElement

from gateway.ledger.paging import Page, page
from gateway.ledger.tables import ledger_entries, usage_daily, usage_events

#: What `Sums` adds up.
SUMMED = tuple(
    column.name for column in usage_daily.columns if column.name not in {key.name for key in usage_daily.primary_key}
)
_entry, _call, _day = ledger_entries.c, usage_events.c, usage_daily.c


# ── page by page ─────────────────────────────────────────────────────────────────────────────────────────────────────


def transactions(
    engine: Engine,
    account: str,
    *,
    kind: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    operation: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Ledger entries of an account, newest first, from `since` on and before `until`. Raises RefusedInput."""
    rows = _within(select(ledger_entries).where(_entry.account == account), _entry.occurred_at, since, until)
    if kind is not None:
        rows = rows.where(_entry.kind == kind)
        if kind != "USAGE":
            rows = rows.where(text("kind <> 'USAGE'"))  # As the index of them says it.
    if operation is not None:
        rows = rows.where(_entry.operation == operation)
    return page(engine, rows, (_entry.occurred_at, _entry.position, _entry.id), cursor=cursor, limit=limit)


def calls(
    engine: Engine,
    account: str | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    operation: str | None = None,
    model: str | None = None,
    session: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Usage events of an account, or of all (None), newest first, from `since` on and before `until`. Raises
    RefusedInput.

    Of all, a rare operation or model is looked for through all that time: name a short one."""
    rows = _within(_calls_of(account, session), _call.occurred_at, since, until)
    for column, wanted in ((_call.operation, operation), (_call.model, model)):
        if wanted is not None:
            rows = rows.where(column == wanted)
    return page(engine, rows, (_call.occurred_at, _call.id), cursor=cursor, limit=limit)


def _calls_of(account: str | None, session: str | None) -> Select[Any]:
    rows = select(usage_events)
    if account is not None:
        rows = rows.where(_call.account == account)
    if session:
        rows = rows.where(_call.session == session, text("session <> ''"))  # As the index of sessions says it.
    return rows


def _within(rows: Select[Any], occurred_at: Column[Any], since: datetime | None, until: datetime | None) -> Select[Any]:
    if since is not None:
        rows = rows.where(occurred_at >= since)
    if until is not None:
        rows = rows.where(occurred_at < until)
    return rows


# ── sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sums:
    """What the calls of one group used and cost."""

    #: A local day, a model or an operation; "" for the whole.
    name: str
    requests: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int
    written_off: int
    audio_ms: int
    images: int
    #: Tokens that were reported from outside without saying of which kind.
    reported_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens + self.reported_tokens


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The same calls, summed up in each way."""

    total: Sums
    #: In the order of days; one without a call is not among them.
    by_day: tuple[Sums, ...]
    #: Dearest first, then by name.
    by_model: tuple[Sums, ...]
    by_operation: tuple[Sums, ...]


def breakdown(engine: Engine, account: str, first_day: str, last_day: str) -> Breakdown:
    """Sums of an account's calls from one local day to another, both included: "2026-11-01", "2026-11-30"."""
    groups: dict[str, list[Sums]] = {"day": [], "model": [], "operation": []}
    ways = [
        _sums(way, column, account, first_day, last_day)
        for way, column in (("day", _day.local_day), ("model", _day.model), ("operation", _day.operation))
    ]
    with engine.connect() as connection:
        for way, *row in connection.execute(union_all(*ways)):
            groups[way].append(_read(row))
    return Breakdown(
        total=_total(groups["day"]),
        by_day=tuple(sorted(groups["day"], key=lambda sums: sums.name)),
        by_model=_dearest_first(groups["model"]),
        by_operation=_dearest_first(groups["operation"]),
    )


def by_day(engine: Engine, account: str, first_day: str, last_day: str) -> tuple[Sums, ...]:
    """Sums by local day, in their order; one without a call is not among them."""
    return tuple(sorted(_grouped(engine, _day.local_day, account, first_day, last_day), key=lambda sums: sums.name))


def by_model(engine: Engine, account: str, first_day: str, last_day: str) -> tuple[Sums, ...]:
    """Sums by model, dearest first."""
    return _dearest_first(_grouped(engine, _day.model, account, first_day, last_day))


def by_operation(engine: Engine, account: str, first_day: str, last_day: str) -> tuple[Sums, ...]:
    """Sums by operation, dearest first."""
    return _dearest_first(_grouped(engine, _day.operation, account, first_day, last_day))


def _grouped(engine: Engine, column: Column[str], account: str, first_day: str, last_day: str) -> list[Sums]:
    with engine.connect() as connection:
        return [_read(row) for _, *row in connection.execute(_sums("", column, account, first_day, last_day))]


def _sums(way: str, column: Column[str], account: str, first_day: str, last_day: str) -> Select[Any]:
    sums: list[Any] = [func.sum(_day[name]) for name in SUMMED]
    rows: Select[Any] = select(literal(way), column, *sums)
    return rows.where(_day.account == account, _day.local_day >= first_day, _day.local_day <= last_day).group_by(column)


def _read(row: Sequence[Any]) -> Sums:
    """PostgreSQL's sums are Decimals."""
    return Sums(str(row[0]), *(int(value) for value in row[1:]))


def _total(groups: Sequence[Sums]) -> Sums:
    return Sums("", *(sum(getattr(group, name) for group in groups) for name in SUMMED))


def _dearest_first(groups: Sequence[Sums]) -> tuple[Sums, ...]:
    return tuple(sorted(groups, key=lambda sums: (-sums.cost, sums.name)))


# ── a session ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Session:
    """What a conversation, or whatever callers mean by a session, has used so far."""

    #: Of all its calls; named by the session.
    total: Sums
    #: None: it has no call.
    first_at: datetime | None
    last_at: datetime | None
    #: The newest of them.
    calls: Page


def session(engine: Engine, account: str, session: str, *, cursor: str | None = None, limit: int = 50) -> Session:
    """A session's totals, and a page of its calls. Raises RefusedInput."""
    found = _calls_of(account, session).where(_call.session == session).subquery()
    is_a_call: ColumnElement[int] = func.count().filter(found.c.outcome.not_in(("corrected", "reported")))
    sums = [func.coalesce(func.sum(found.c[name]), 0) for name in SUMMED[1:]]
    with engine.connect() as connection:
        requests, first_at, last_at, *values = connection.execute(
            select(is_a_call, func.min(found.c.occurred_at), func.max(found.c.occurred_at), *sums)
        ).one()
    return Session(
        total=_read([session, requests, *values]),
        first_at=first_at,
        last_at=last_at,
        calls=calls(engine, account, session=session, cursor=cursor, limit=limit),
    )
