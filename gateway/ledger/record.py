"""Writes events into the ledger: each at most once, whatever is delivered again.

One transaction a batch: usage rows and entries that are not there yet, then the roll-ups and totals of those calls that
were new. Rows are sorted before every insert, so that two workers cannot deadlock (FACTS section 5).

An account's tier is that of its newest event by the store's clock, whatever the order of arrival: openings and moves
may leave no rows that would tell a repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from gateway.domain.event import Event, UsageFacts
from gateway.ledger import bulk
from gateway.ledger.tables import accounts, ledger_entries, usage_daily, usage_events

#: What the daily roll-up adds up, in the order of its columns.
_SUMMED = (
    "requests", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost",
    "written_off", "audio_ms", "images",
)  # fmt: skip
_ADD_DAILY = ", ".join(f"{name} = usage_daily.{name} + excluded.{name}" for name in _SUMMED)
#: Not true of a row without a tier: its instant is NULL.
_NEWER_TIER = "excluded.tier_set_at >= coalesce(accounts.tier_set_at, excluded.tier_set_at)"
_ADD_ACCOUNT = (
    f"tier = CASE WHEN {_NEWER_TIER} THEN excluded.tier ELSE accounts.tier END, "
    f"zone = CASE WHEN {_NEWER_TIER} THEN excluded.zone ELSE accounts.zone END, "
    f"tier_set_at = CASE WHEN {_NEWER_TIER} THEN excluded.tier_set_at ELSE accounts.tier_set_at END, "
    "used_tokens = accounts.used_tokens + excluded.used_tokens, requests = accounts.requests + excluded.requests, "
    "first_seen_at = CASE WHEN excluded.first_seen_at < accounts.first_seen_at THEN excluded.first_seen_at "
    "ELSE accounts.first_seen_at END, "
    "last_seen_at = CASE WHEN excluded.last_seen_at > accounts.last_seen_at THEN excluded.last_seen_at "
    "ELSE accounts.last_seen_at END"
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
        new_calls = bulk.insert_new(connection, usage_events, calls)
        new_entries = bulk.insert_new(
            connection, ledger_entries, [row for event in unique for row in _entry_rows(event)]
        )
        bulk.add_up(connection, usage_daily, _daily_rows(e for e in unique if e.id in new_calls), _ADD_DAILY)
        bulk.add_up(connection, accounts, _account_rows(arrived, new_calls), _ADD_ACCOUNT)
    return len(new_calls) + len(new_entries)


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
    )


def _entry_rows(event: Event) -> list[bulk.Row]:
    reservation = event.usage.reservation_id if event.usage is not None else None
    when = (_instant(event.at_ms), event.position)
    return [
        (f"{event.id}/{number}", event.account, e.kind, e.bucket, e.amount, reservation, event.reason, *when)
        for number, e in enumerate(event.entries, 1)
    ]


def _daily_rows(events: Iterable[Event]) -> list[bulk.Row]:
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    for event in events:
        usage = event.usage
        assert usage is not None
        row = sums.setdefault((event.account, usage.local_day, usage.model, usage.operation), [0] * len(_SUMMED))
        row[0] += usage.outcome != "corrected"
        for column, name in enumerate(_SUMMED[1:], 1):
            row[column] += getattr(usage, name)
    return [(*key, *sums[key]) for key in sorted(sums)]


def _account_rows(arrived: Iterable[Event], new_calls: set[str]) -> list[bulk.Row]:
    rows: dict[str, dict[str, Any]] = {}
    # Of moves at the same instant the one that arrived last stands.
    for event in sorted(arrived, key=lambda event: event.at_ms):
        seen = _instant(event.at_ms)
        fresh = {
            "tier": None,
            "zone": None,
            "tier_set_at": None,
            "status": "active",
            "tokens": 0,
            "requests": 0,
            "first": seen,
            "last": seen,
        }
        row = rows.setdefault(event.account, fresh)
        row["first"], row["last"] = min(row["first"], seen), max(row["last"], seen)
        if event.tier is not None:
            row["tier"], row["zone"], row["tier_set_at"] = event.tier, event.zone, seen
        if event.usage is not None and event.id in new_calls:
            row["tokens"] += event.usage.total_tokens
            row["requests"] += event.usage.outcome != "corrected"
    return [(account, *rows[account].values()) for account in sorted(rows)]


def _instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)
