"""Reads what the ledger knows of many accounts, and puts right the sums that it keeps of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, case, delete, func, insert, select, text, update

from gateway.domain.books import RESETS, Ending, Grant, Opening, Record
from gateway.domain.event import OVERDRAFT, SPENDING, Entry, Event
from gateway.ledger import bulk
from gateway.ledger.sales import credit_totals
from gateway.ledger.tables import account_buckets, accounts, grants, ledger_entries, usage_daily, usage_events

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of an account, as one table has them or the other adds up to them."""

    granted: int = 0
    spent: int = 0
    used_tokens: int = 0
    requests: int = 0
    buckets: tuple[tuple[str, int], ...] = ()
    #: Of its credits, by kind of entry. None of them is 0.
    credits: tuple[tuple[str, int], ...] = ()


@contextlib.contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection on which everything that is read stood at one instant."""
    if engine.dialect.name != "sqlite":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        try:
            yield connection
        finally:
            connection.rollback()


def ids(connection: Connection, after: str, limit: int) -> list[str]:
    """The next accounts, by id. Those whose personal data was deleted have nothing in Redis."""
    query = select(accounts.c.id).where(accounts.c.id > after, accounts.c.erased_at.is_(None))
    query = query.order_by(accounts.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(accounts)).scalar_one())


def records(connection: Connection, wanted: Sequence[str], openings_since_ms: int | None = None) -> dict[str, Record]:
    """What the ledger knows of these accounts; those that it does not know are left out. `openings_since_ms`: periods
    that were opened from then on are looked for."""
    found = {
        row.id: Record(
            row.id, row.tier, row.zone, row.status, row.granted, row.spent, row.used_tokens, row.requests,
            _ms(row.first_seen_at), _ms(row.last_seen_at), tier_set_at_ms=_ms(row.tier_set_at),
            status_set_at_ms=_ms(row.status_set_at),
        )
        for row in connection.execute(select(accounts).where(accounts.c.id.in_(wanted)))
    }  # fmt: skip
    for row in connection.execute(select(account_buckets).where(account_buckets.c.account.in_(wanted))):
        found[row.account].buckets[row.bucket] = row.amount
    voided = []
    for row in connection.execute(select(grants).where(grants.c.account.in_(wanted))):
        grant = Grant(
            row.amount, row.priority, _ms(row.expires_at) // 1000, _ms(row.granted_at),
            None if row.voided_at is None else 0, row.kind,
        )  # fmt: skip
        found[row.account].grants[row.id] = grant
        if grant.voided is not None:
            voided.append((row.account, row.id))
    _read_voided(connection, found, voided)
    if openings_since_ms is not None:
        _read_openings(connection, found, openings_since_ms)
    return found


def _read_voided(connection: Connection, found: dict[str, Record], voided: list[tuple[str, str]]) -> None:
    """What voided grants still had: the event of each tells."""
    by_id = {f"voided:{account} {grant}/1": (account, grant) for account, grant in voided}
    entry = ledger_entries.c
    for some in _some_of(list(by_id)):
        for id, amount in connection.execute(select(entry.id, entry.amount).where(entry.id.in_(some))):
            account, grant_id = by_id[id]
            known = found[account].grants[grant_id]
            found[account].grants[grant_id] = Grant(
                known.amount, known.priority, known.expires_s, known.granted_at_ms, -amount, known.kind
            )


def _read_openings(connection: Connection, found: dict[str, Record], since_ms: int) -> None:
    entry = ledger_entries.c
    query = (
        select(entry.account, entry.bucket, func.sum(entry.amount), func.min(entry.occurred_at))
        .where(entry.account.in_(list(found)), entry.occurred_at >= _instant(since_ms))
        .where(entry.kind.in_([*RESETS, "ROLLOVER"]))
        .group_by(entry.account, entry.bucket)
    )
    for record in found.values():
        record.openings = {}
    for account, bucket, amount, opened_at in connection.execute(query):
        openings = found[account].openings
        assert openings is not None
        openings[bucket] = Opening(int(amount), _ms(_utc(opened_at)))


def recorded(connection: Connection, events: Iterable[Event]) -> set[str]:
    """The ids of those events that have rows already."""
    wanted = [event.id for event in events if event.entries or event.usage is not None]
    calls, entries = usage_events.c.id, ledger_entries.c.id
    known: set[str] = set()
    for some in _some_of(wanted):
        known.update(connection.execute(select(calls).where(calls.in_(some))).scalars())
    for some in _some_of([f"{id}/1" for id in wanted if id not in known]):
        rows = connection.execute(select(entries).where(entries.in_(some))).scalars()
        known.update(id.removesuffix("/1") for id in rows)
    return known


def entries_after(connection: Connection, wanted: Sequence[str], since_ms: int) -> list[tuple[str, int, Entry]]:
    """The newest entries of these accounts: account, position, entry."""
    entry = ledger_entries.c
    query = select(entry.account, entry.position, entry.kind, entry.bucket, entry.amount).where(
        entry.account.in_(wanted), entry.occurred_at >= _instant(since_ms)
    )
    return [(account, position, Entry(*rest)) for account, position, *rest in connection.execute(query)]


def calls_since(connection: Connection, wanted: Sequence[str], since_ms: int) -> set[str]:
    """Those of these accounts that had calls from then on."""
    query = select(usage_events.c.account).where(
        usage_events.c.account.in_(wanted), usage_events.c.occurred_at >= _instant(since_ms)
    )
    return set(connection.execute(query.distinct()).scalars())


def endings(connection: Connection, reservations: Sequence[str]) -> dict[str, list[Ending]]:
    """How the ledger knows reservations to have ended, by their ids."""
    event = usage_events.c
    query = select(event.reservation_id, event.outcome, event.cost - event.written_off, event.occurred_at)
    found: dict[str, list[Ending]] = {}
    for some in _some_of(reservations):
        for id, outcome, charged, at in connection.execute(query.where(event.reservation_id.in_(some))):
            found.setdefault(id, []).append(Ending(outcome, charged, _ms(at)))
    return found


# ── the sums ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def kept_sums(connection: Connection, wanted: Sequence[str]) -> dict[str, Sums]:
    """The sums of these accounts, as they are kept."""
    buckets: dict[str, list[tuple[str, int]]] = {}
    for row in connection.execute(select(account_buckets).where(account_buckets.c.account.in_(wanted))):
        buckets.setdefault(row.account, []).append((row.bucket, row.amount))
    credits: dict[str, list[tuple[str, int]]] = {}
    for row in connection.execute(select(credit_totals).where(credit_totals.c.account.in_(wanted))):
        credits.setdefault(row.account, []).append((row.kind, row.amount))
    account = accounts.c
    query = select(account.id, account.granted, account.spent, account.used_tokens, account.requests)
    query = query.where(account.id.in_(wanted))
    return {
        id: Sums(granted, spent, tokens, requests, _nonzero(buckets.get(id, ())), _nonzero(credits.get(id, ())))
        for id, granted, spent, tokens, requests in connection.execute(query)
    }


def added_sums(connection: Connection, wanted: Sequence[str]) -> dict[str, Sums]:
    """The same, added up anew from every entry, and from what was used by day."""
    entry, day = ledger_entries.c, usage_daily.c
    buckets: dict[str, Counter[str]] = {id: Counter() for id in wanted}
    credits: dict[str, Counter[str]] = {id: Counter() for id in wanted}
    totals = {id: [0, 0] for id in wanted}
    is_spending = entry.kind.in_(SPENDING)
    credit_kind = case((entry.bucket.startswith("credits:"), entry.kind), else_="").label("credit_kind")
    by_bucket = (
        select(
            entry.account,
            entry.bucket,
            credit_kind,
            func.sum(case((is_spending, 0), else_=entry.amount)),
            func.sum(case((is_spending, -entry.amount), else_=0)),
        )
        .where(entry.account.in_(wanted), entry.bucket != OVERDRAFT)
        .group_by(entry.account, entry.bucket, credit_kind)
    )
    for account, bucket, kind, granted, spent in connection.execute(by_bucket):
        totals[account][0] += int(granted)
        totals[account][1] += int(spent)
        buckets[account][bucket] += int(granted) - int(spent)
        if kind:
            credits[account][kind] += int(granted) - int(spent)
    # By day, not by call: calls of months that were dropped are in these sums for good.
    tokens_of_it = day.input_tokens + day.output_tokens + day.reported_tokens
    by_account = (
        select(day.account, func.sum(tokens_of_it), func.sum(day.requests))
        .where(day.account.in_(wanted))
        .group_by(day.account)
    )
    calls = {account: (int(tokens), int(calls)) for account, tokens, calls in connection.execute(by_account)}
    return {
        id: Sums(granted, spent, *calls.get(id, (0, 0)), _nonzero(buckets[id].items()), _nonzero(credits[id].items()))
        for id, (granted, spent) in totals.items()
    }


def _nonzero(amounts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Those that are not 0, in their order."""
    return tuple(sorted(named for named in amounts if named[1]))


def mend_sums(engine: Engine, account: str) -> None:
    """Adds an account's sums up anew. Whoever records meanwhile waits, and adds to what is right."""
    with engine.begin() as connection:
        bulk.begin(connection)
        if connection.dialect.name != "sqlite":
            connection.execute(text("LOCK TABLE account_buckets, credit_totals, accounts IN SHARE ROW EXCLUSIVE MODE"))
        right = added_sums(connection, [account])[account]
        connection.execute(delete(account_buckets).where(account_buckets.c.account == account))
        connection.execute(delete(credit_totals).where(credit_totals.c.account == account))
        rows = [{"account": account, "bucket": bucket, "amount": amount} for bucket, amount in right.buckets]
        if rows:
            connection.execute(insert(account_buckets), rows)
        rows = [{"account": account, "kind": kind, "amount": amount} for kind, amount in right.credits]
        if rows:
            connection.execute(insert(credit_totals), rows)
        values: dict[str, Any] = {
            "granted": right.granted,
            "spent": right.spent,
            "used_tokens": right.used_tokens,
            "requests": right.requests,
        }
        connection.execute(update(accounts).where(accounts.c.id == account).values(values))


def mend_grant(connection: Connection, account: str, grant_id: str, grant: Grant) -> None:
    """Copies what only Redis knew of a grant."""
    is_it = (grants.c.account == account) & (grants.c.id == grant_id)
    expires_at = _instant(grant.expires_s * 1000) if grant.expires_s else None
    connection.execute(update(grants).where(is_it).values(priority=grant.priority, expires_at=expires_at))


def _some_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many at a time as one statement takes: PostgreSQL has 65,535 parameters, SQLite may have 32,766."""
    return (ids[start : start + 5000] for start in range(0, len(ids), 5000))


def _ms(instant: datetime | None) -> int:
    return 0 if instant is None else (instant - _EPOCH) // timedelta(milliseconds=1)


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=max(at_ms, 0))


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
