"""Writes events into the ledger: each at most once, whatever is delivered again.

One transaction a batch: usage rows and entries that are not there yet, then the roll-ups and totals of those that were
new. Rows are sorted before every insert, so that two workers cannot deadlock (FACTS section 5).

An account's tier and status are those of its newest event by the store's clock, whatever the order of arrival: openings
and moves may leave no rows that would tell a repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import add, attrgetter
from typing import Any

from sqlalchemy import Connection, Engine, delete, update

from gateway.domain.event import OVERDRAFT, SPENDING, Entry, Event, UsageFacts
from gateway.ledger import bulk
from gateway.ledger.sales import credit_totals
from gateway.ledger.tables import account_buckets, accounts, grants, ledger_entries, usage_daily, usage_events

#: What the daily roll-up adds up, in the order of its columns.
_SUMMED = (
    "requests", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost",
    "written_off", "audio_ms", "images", "reported_tokens",
)  # fmt: skip
_ADDED = attrgetter(*_SUMMED[1:])
#: What becomes of a row of the sums when more of it comes.
ADD_DAILY: bulk.Changes = {name: f"usage_daily.{name} + excluded.{name}" for name in _SUMMED}
ADD_BUCKET: bulk.Changes = {"amount": "account_buckets.amount + excluded.amount"}
ADD_CREDITS: bulk.Changes = {"amount": "credit_totals.amount + excluded.amount"}
#: A grant is known once, and for good.
KEEP_GRANT: bulk.Changes = {"amount": "grants.amount"}


def _newest(column: str, dated_by: str) -> str:
    """Takes a column from the newer of two events; one that does not tell it has NULL for its instant."""
    is_newer = f"excluded.{dated_by} >= coalesce(accounts.{dated_by}, excluded.{dated_by})"
    return f"CASE WHEN {is_newer} THEN excluded.{column} ELSE accounts.{column} END"


ADD_ACCOUNT: bulk.Changes = {
    **{column: _newest(column, "tier_set_at") for column in ("tier", "zone", "tier_set_at")},
    **{column: _newest(column, "status_set_at") for column in ("status", "status_set_at")},
    **{name: f"accounts.{name} + excluded.{name}" for name in ("used_tokens", "requests", "granted", "spent")},
    "first_seen_at": (
        "CASE WHEN excluded.first_seen_at < accounts.first_seen_at THEN excluded.first_seen_at "
        "ELSE accounts.first_seen_at END"
    ),
    "last_seen_at": (
        "CASE WHEN excluded.last_seen_at > accounts.last_seen_at THEN excluded.last_seen_at "
        "ELSE accounts.last_seen_at END"
    ),
}
#: A call's row of before, should it end a second time at another instant, as when Redis was put back to a copy from
#: before and its hold is swept. It ended after it began, but for what clocks differ by: older months are left out.
_ENDED_BEFORE = (
    "EXISTS (SELECT FROM usage_events AS known WHERE known.id = new.id"
    " AND known.occurred_at >= new.started_at - interval '1 day')"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record(engine: Engine, events: Sequence[Event]) -> int:
    """Commits events. Returns how many of their rows were new.

    Raises what SQLAlchemy raises; nothing is then written.
    """
    arrived = list({event.id: event for event in events}.values())
    unique = sorted(arrived, key=lambda event: event.id)
    with engine.begin() as connection:
        bulk.begin(connection)
        calls = [_usage_row(event, event.usage) for event in unique if event.usage is not None]
        new_calls = bulk.insert_new(connection, usage_events, calls, _ENDED_BEFORE)
        new_entries = _insert_entries(connection, unique, new_calls)
        sums = _Sums(unique, new_entries)
        bulk.add_up(connection, usage_daily, _daily_rows(e for e in unique if e.id in new_calls), ADD_DAILY)
        bulk.add_up(connection, grants, sums.grant_rows(), KEEP_GRANT)
        bulk.add_up(connection, account_buckets, sums.bucket_rows(), ADD_BUCKET)
        bulk.add_up(connection, credit_totals, sums.credit_rows(), ADD_CREDITS)
        bulk.add_up(connection, accounts, _account_rows(arrived, new_calls, sums), ADD_ACCOUNT)
        _tidy(connection, unique, sums)
    return len(new_calls) + len(new_entries)


def _insert_entries(connection: Connection, events: Sequence[Event], new_calls: set[str]) -> set[str]:
    """Inserts the entries of events that are new; returns their ids. An event that is known is known with all its
    entries: of one that happened once more, after Redis came back from an older copy, none is added to them."""
    firsts = [_entry_rows(event)[0] for event in events if event.usage is None and event.entries]
    new_firsts = bulk.insert_new(connection, ledger_entries, firsts)
    others = [
        row
        for event in events
        for number, row in enumerate(_entry_rows(event))
        if (event.id in new_calls if event.usage is not None else number > 0 and f"{event.id}/1" in new_firsts)
    ]
    return new_firsts | bulk.insert_new(connection, ledger_entries, others)


def _tidy(connection: Connection, events: Sequence[Event], sums: _Sums) -> None:
    """Drops the rows of buckets that are empty, and marks the grants that were voided."""
    touched = sorted({account for account, _ in sums.buckets})
    if touched:
        is_empty = (account_buckets.c.amount == 0) & account_buckets.c.account.in_(touched)
        connection.execute(delete(account_buckets).where(is_empty))
    for event in events:
        if event.kind == "voided" and event.grant:
            is_it = (grants.c.account == event.account) & (grants.c.id == event.grant) & grants.c.voided_at.is_(None)
            connection.execute(update(grants).where(is_it).values(voided_at=_instant(event.at_ms)))


class _Sums:
    """What the new entries of a batch add to their accounts and buckets, and the grants among them."""

    def __init__(self, events: Iterable[Event], new_entries: set[str]) -> None:
        self.buckets: dict[tuple[str, str], int] = {}
        #: Granted and spent.
        self.accounts: dict[str, list[int]] = {}
        #: By account and kind, of credits alone.
        self._credits: dict[tuple[str, str], int] = {}
        self._grants: dict[tuple[str, str], bulk.Row] = {}
        for event in events:
            for number, entry in enumerate(event.entries, 1):
                if f"{event.id}/{number}" in new_entries and entry.bucket != OVERDRAFT:
                    self._add(event, entry)

    def _add(self, event: Event, entry: Entry) -> None:
        bucket = (event.account, entry.bucket)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + entry.amount
        totals = self.accounts.setdefault(event.account, [0, 0])
        if entry.kind in SPENDING:
            totals[1] -= entry.amount
        else:
            totals[0] += entry.amount
        if not entry.bucket.startswith("credits:"):
            return
        named = (event.account, entry.kind)
        self._credits[named] = self._credits.get(named, 0) + entry.amount
        if event.kind in ("grant", "opening") and entry.amount > 0:
            grant_id = entry.bucket.removeprefix("credits:")
            expires_at = _instant(event.expires_s * 1000) if event.expires_s else None
            self._grants[event.account, grant_id] = (
                event.account, grant_id, entry.kind, entry.amount, event.reason, event.priority, expires_at,
                _instant(event.at_ms), None,
            )  # fmt: skip

    def bucket_rows(self) -> list[bulk.Row]:
        return [(*bucket, self.buckets[bucket]) for bucket in sorted(self.buckets)]

    def credit_rows(self) -> list[bulk.Row]:
        return [(*named, self._credits[named]) for named in sorted(self._credits)]

    def grant_rows(self) -> list[bulk.Row]:
        return [self._grants[name] for name in sorted(self._grants)]


def _usage_row(event: Event, usage: UsageFacts) -> bulk.Row:
    return (
        event.id,
        usage.reservation_id,
        event.account,
        usage.outcome,
        usage.operation,
        usage.model,
        usage.route,
        usage.key,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.total_tokens,
        usage.cost,
        usage.written_off,
        usage.estimated,
        usage.status,
        usage.price_version,
        usage.local_day,
        event.at_ms - usage.started_at_ms,
        _instant(usage.started_at_ms),
        _instant(event.at_ms),
        usage.audio_ms,
        usage.images,
        usage.held,
        usage.first_held,
        usage.shadow[:1000],
        usage.session,
        usage.purpose,
        usage.metadata,
        usage.reported_tokens,
    )


def _entry_rows(event: Event) -> list[bulk.Row]:
    usage = event.usage
    reservation, operation = (None, "") if usage is None else (usage.reservation_id, usage.operation)
    about = (reservation, event.reason, _instant(event.at_ms), event.position, operation)
    return [
        (f"{event.id}/{number}", event.account, e.kind, e.bucket, e.amount, *about)
        for number, e in enumerate(event.entries, 1)
    ]


def _daily_rows(events: Iterable[Event]) -> list[bulk.Row]:
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for event in events:
        usage = event.usage
        assert usage is not None
        key = (event.account, usage.local_day, usage.model, usage.operation)
        values = [int(usage.is_a_call), *_ADDED(usage)]
        sums[key] = list(map(add, sums[key], values)) if key in sums else values
    return [(*key, *sums[key]) for key in sorted(sums)]


def _account_rows(arrived: Iterable[Event], new_calls: set[str], sums: _Sums) -> list[bulk.Row]:
    rows: dict[str, dict[str, Any]] = {}
    # Of moves at the same instant the one that arrived last stands.
    for event in sorted(arrived, key=lambda event: event.at_ms):
        seen = _instant(event.at_ms)
        granted, spent = sums.accounts.get(event.account, (0, 0))
        fresh = {
            "tier": None,
            "zone": None,
            "tier_set_at": None,
            "status": "active",
            "status_set_at": None,
            "tokens": 0,
            "requests": 0,
            "first": seen,
            "last": seen,
            "granted": granted,
            "spent": spent,
            "email": "",
            "erased_at": None,
        }
        row = rows.setdefault(event.account, fresh)
        row["first"], row["last"] = min(row["first"], seen), max(row["last"], seen)
        if event.tier is not None:
            row["tier"], row["zone"], row["tier_set_at"] = event.tier, event.zone, seen
        if event.status is not None:
            row["status"], row["status_set_at"] = event.status, seen
        if event.usage is not None and event.id in new_calls:
            row["tokens"] += event.usage.total_tokens
            row["requests"] += event.usage.is_a_call
    return [(account, *rows[account].values()) for account in sorted(rows)]


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)
