"""Months of `usage_events`: made ahead on PostgreSQL, where each is a partition, and dropped when they are too old.

A partition is named `usage_events_2026_11` and holds one month of UTC. Rows of a month that has none stand in
`usage_events_other`; they move when theirs is made. SQLite has one table: there old months are deleted, row by row.

What else the ledger holds is kept for ever: entries, daily sums and totals still say what the dropped calls cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, func, select, text

from gateway.domain.errors import RefusedInput
from gateway.ledger import bulk
from gateway.ledger.tables import usage_events

#: Beside the running month: with a worker that was away for weeks there is still a place for every row.
MONTHS_AHEAD = 3

#: A year and its month, 1 to 12.
Month = tuple[int, int]

_OTHER = "usage_events_other"
_IN_MONTH = "occurred_at >= :first AND occurred_at < :after"
#: Any number: processes that make or drop partitions wait for each other on it.
_ADVISORY_LOCK = 7_153_002
#: Rows that one transaction deletes on SQLite, where nobody else writes meanwhile: well under a second of it.
_AT_ONCE = 20_000
#: Whoever waits for a lock makes others wait behind it. After this it fails, and the next day's run tries again.
_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"


def prepare(engine: Engine, now: datetime) -> list[str]:
    """Makes the partitions of the running month and of those ahead. Returns the months that were made: ["2026-11"].

    On SQLite there is nothing to make. Raises what SQLAlchemy raises; months made before that stay.
    """
    if engine.dialect.name != "postgresql":
        return []
    return [_name(month) for month in _months(_month_of(now), MONTHS_AHEAD + 1) if _made(engine, month)]


def retire(engine: Engine, keep_months: int, now: datetime) -> list[str]:
    """Drops the usage rows of all months but the running one and `keep_months` before it, whole months of UTC.

    Returns the months that are gone, oldest first: ["2026-08", "2026-09"]. Repeatable. Raises RefusedInput, and what
    SQLAlchemy raises; months dropped before that stay dropped.
    """
    if keep_months < 1:
        raise RefusedInput(f"keep_months = {keep_months}: at least one month of usage is kept")
    first_kept = _later(_month_of(now), -keep_months)
    if engine.dialect.name == "postgresql":
        partitions = _partitions(engine)
        for month in partitions:
            if month < first_kept:
                _drop(engine, month)
        dropped = {month for month in partitions if month < first_kept}
        dropped.update(_delete_before(engine, first_kept))
    else:
        dropped = set(_delete_before(engine, first_kept))
    return [_name(month) for month in sorted(dropped)]


# ── partitions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _partitions(engine: Engine) -> list[Month]:
    with engine.connect() as connection:
        return _partitions_of(connection)


def _partitions_of(connection: Connection) -> list[Month]:
    found = connection.execute(
        text("SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = to_regclass(:table)"),
        {"table": usage_events.name},
    ).scalars()
    matches = [re.fullmatch(r"usage_events_(\d{4})_(\d\d)", name) for name in found]
    return sorted((int(match[1]), int(match[2])) for match in matches if match)


def _made(engine: Engine, month: Month) -> bool:
    """Makes a month's partition. False: it was there."""
    table = _table(month)
    with engine.begin() as connection:
        _alone(connection)
        if month in _partitions_of(connection):
            return False
        bounds = {"first": _first_instant(month), "after": _first_instant(_later(month, 1))}
        connection.execute(text(f"CREATE TABLE {table} (LIKE {usage_events.name} INCLUDING ALL)"))
        # Whatever came for it before it was there. Deleting is what the trigger is for to refuse, so it rests: nobody
        # else can touch the table until this transaction ends.
        connection.execute(text(f"ALTER TABLE {_OTHER} DISABLE TRIGGER USER"))
        connection.execute(
            text(
                f"WITH moved AS (DELETE FROM {_OTHER} WHERE {_IN_MONTH} RETURNING *) "  # noqa: S608  our tables
                f"INSERT INTO {table} SELECT * FROM moved"
            ),
            bounds,
        )
        connection.execute(text(f"ALTER TABLE {_OTHER} ENABLE TRIGGER USER"))
        first, after = (f"'{instant.isoformat()}'" for instant in bounds.values())
        connection.exec_driver_sql(
            f"ALTER TABLE {usage_events.name} ATTACH PARTITION {table} FOR VALUES FROM ({first}) TO ({after})"
        )
        connection.execute(
            text(
                f"CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION quotagate_no_truncate()"
            )
        )
    return True


def _drop(engine: Engine, month: Month) -> None:
    with engine.begin() as connection:
        _alone(connection)
        connection.execute(text(f"DROP TABLE IF EXISTS {_table(month)}"))


def _alone(connection: Connection) -> None:
    connection.execute(text(_LOCK_TIMEOUT))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _delete_before(engine: Engine, first_kept: Month) -> Iterator[Month]:
    """Deletes rows that no partition of their own could be dropped with, a month a transaction; on SQLite it may take
    several for a month."""
    while True:
        with engine.begin() as connection:
            bulk.begin(connection)
            month = _oldest(connection)
            if month is None or month >= first_kept:
                return
            _delete(connection, month)
        yield month


def _oldest(connection: Connection) -> Month | None:
    """The month of the oldest row there is; on PostgreSQL, of those without a partition."""
    if connection.dialect.name == "postgresql":
        found = connection.execute(text(f"SELECT min(occurred_at) FROM {_OTHER}")).scalar()  # noqa: S608  our table
    else:
        found = connection.execute(select(func.min(usage_events.c.occurred_at))).scalar()
    return None if found is None else _month_of(found)


def _delete(connection: Connection, month: Month) -> None:
    """Deletes a month's rows, on SQLite some of them. A trigger refuses that: it rests meanwhile, in this transaction
    that nobody sees."""
    first, after = _first_instant(month), _first_instant(_later(month, 1))
    if connection.dialect.name == "postgresql":
        _alone(connection)
        connection.execute(text(f"ALTER TABLE {_OTHER} DISABLE TRIGGER USER"))
        connection.execute(
            text(f"DELETE FROM {_OTHER} WHERE {_IN_MONTH}"),  # noqa: S608  our table
            {"first": first, "after": after},
        )
        connection.execute(text(f"ALTER TABLE {_OTHER} ENABLE TRIGGER USER"))
        return
    trigger = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'usage_events_no_delete'"
    ).scalar_one()
    connection.exec_driver_sql("DROP TRIGGER usage_events_no_delete")
    rows = usage_events.c
    some = select(rows.id).where(rows.occurred_at >= first, rows.occurred_at < after).limit(_AT_ONCE)
    connection.execute(delete(usage_events).where(rows.id.in_(some)))
    connection.exec_driver_sql(trigger)


# ── months ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _months(first: Month, count: int) -> list[Month]:
    return [_later(first, number) for number in range(count)]


def _later(month: Month, by: int) -> Month:
    years, number = divmod(month[0] * 12 + month[1] - 1 + by, 12)
    return years, number + 1


def _month_of(instant: datetime) -> Month:
    instant = instant.astimezone(UTC)
    return instant.year, instant.month


def _first_instant(month: Month) -> datetime:
    return datetime(*month, 1, tzinfo=UTC)


def _table(month: Month) -> str:
    return f"usage_events_{month[0]:04}_{month[1]:02}"


def _name(month: Month) -> str:
    return f"{month[0]:04}-{month[1]:02}"
