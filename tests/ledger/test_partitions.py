"""Months of usage: each row is in its own, whenever that was made, and old ones go as a whole."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError

from gateway.domain.errors import RefusedInput
from gateway.ledger import partitions
from gateway.ledger.partitions import prepare, retire
from gateway.ledger.record import record
from gateway.ledger.tables import account_buckets, accounts, ledger_entries, usage_daily, usage_events
from tests.ledger.events import usage
from tests.ledger.tables import rows

#: Long after these tests: nothing of it is there yet.
LATER = datetime(2031, 11, 20, tzinfo=UTC)


def at_ms(*instant: int) -> int:
    return int(datetime(*instant, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def months(ledger: Engine) -> dict[str, int]:
    """Rows of each partition."""
    with ledger.connect() as connection:
        found = connection.execute(
            text("SELECT tableoid::regclass::text AS name, count(*) FROM usage_events GROUP BY 1 ORDER BY 1")
        ).all()
    return {name.removeprefix("usage_events_"): count for name, count in found}


@pytest.fixture
def partitioned(ledger: Engine) -> Engine:
    if ledger.dialect.name == "sqlite":
        pytest.skip("SQLite has no partitions")
    return ledger


def test_the_months_ahead_are_made_once(partitioned: Engine) -> None:
    assert prepare(partitioned, LATER) == ["2031-11", "2031-12", "2032-01", "2032-02"]
    assert prepare(partitioned, LATER) == []
    assert prepare(partitioned, datetime(2031, 12, 31, 23, 59, tzinfo=UTC)) == ["2032-03"]


def test_a_month_of_sqlite_needs_no_place(ledger: Engine) -> None:
    if ledger.dialect.name == "sqlite":
        assert prepare(ledger, LATER) == []


def test_rows_stand_in_the_month_of_utc_that_they_happened_in(partitioned: Engine) -> None:
    prepare(partitioned, LATER)
    edges = [(2031, 11, 1), (2031, 11, 30, 23, 59, 59, 999000), (2031, 12, 1), (2031, 10, 31, 23, 59, 59, 999000)]

    record(partitioned, [usage(f"r{number}", at_ms=at_ms(*edge)) for number, edge in enumerate(edges)])

    assert months(partitioned) == {"2031_11": 2, "2031_12": 1, "other": 1}


def test_rows_that_came_before_their_month_was_made_move_to_it(partitioned: Engine) -> None:
    record(partitioned, [usage("r1", at_ms=at_ms(2031, 11, 5)), usage("r2", at_ms=at_ms(2033, 1, 1))])
    before = rows(partitioned, usage_events)

    prepare(partitioned, LATER)

    assert months(partitioned) == {"2031_11": 1, "other": 1}
    assert rows(partitioned, usage_events) == before
    for table in ("usage_events", "usage_events_2031_11", "usage_events_other"):
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET cost = 0", f"TRUNCATE {table}"):
            with pytest.raises(IntegrityError, match="never changed"), partitioned.begin() as connection:
                connection.exec_driver_sql(change)


def test_an_event_that_comes_again_meets_its_row_wherever_that_stands(ledger: Engine) -> None:
    """Also in another month than the one before it, and after its partition was made behind it."""
    events = [usage("r1", at_ms=at_ms(2031, 11, 30)), usage("r2", at_ms=at_ms(2031, 12, 1))]
    record(ledger, events)
    before = [rows(ledger, table) for table in (usage_events, usage_daily, accounts, account_buckets)]

    assert record(ledger, events) == 0
    prepare(ledger, LATER)
    assert record(ledger, [events[1], events[0]]) == 0

    assert [rows(ledger, table) for table in (usage_events, usage_daily, accounts, account_buckets)] == before


def test_a_call_that_ends_a_second_time_in_another_month_is_counted_once(ledger: Engine) -> None:
    """As when Redis was put back to a copy of before it ended: its hold is swept, and the event has another instant."""
    prepare(ledger, LATER)
    began = at_ms(2031, 11, 30, 23, 59)
    record(ledger, [usage("r1", at_ms=at_ms(2031, 11, 30, 23, 59, 30), started_at_ms=began)])
    before = [rows(ledger, table) for table in (usage_events, usage_daily)]

    record(ledger, [usage("r1", at_ms=at_ms(2031, 12, 1), started_at_ms=began)])

    assert [rows(ledger, table) for table in (usage_events, usage_daily)] == before


# ── months that are over ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def years(ledger: Engine) -> Engine:
    """A call at the beginning of each month of 2031 and of January 2032, some months with partitions and some
    without."""
    prepare(ledger, datetime(2031, 5, 1, tzinfo=UTC))
    record(ledger, [usage(f"r{month:02}", at_ms=at_ms(2031, month, 1)) for month in range(1, 13)])
    record(ledger, [usage("r13", at_ms=at_ms(2032, 1, 1))])
    return ledger


def ids(ledger: Engine) -> list[str]:
    return [row["id"] for row in rows(ledger, usage_events)]


def test_whole_months_are_dropped_and_the_last_ones_stay(years: Engine) -> None:
    kept = [rows(years, table) for table in (ledger_entries, usage_daily, accounts, account_buckets)]

    dropped = retire(years, 3, datetime(2031, 12, 31, 23, 59, tzinfo=UTC))

    # On PostgreSQL also empty ones, of the time when this test runs.
    assert [month for month in dropped if month > "2031"] == [f"2031-{month:02}" for month in range(1, 9)]
    assert ids(years) == ["r09", "r10", "r11", "r12", "r13"]
    assert [rows(years, table) for table in (ledger_entries, usage_daily, accounts, account_buckets)] == kept
    assert len(kept[0]) == 13


def test_a_month_of_sqlite_is_deleted_little_by_little(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else can write while rows are deleted, and waits for 15 s at the most."""
    if ledger.dialect.name != "sqlite":
        pytest.skip("PostgreSQL drops a table")
    monkeypatch.setattr(partitions, "_AT_ONCE", 10)
    record(ledger, [usage(f"r{number}", at_ms=at_ms(2031, 1, 1)) for number in range(45)])
    record(ledger, [usage("r99", at_ms=at_ms(2031, 2, 1))])
    left: list[int] = []
    event.listen(ledger, "commit", lambda connection: left.append(len(ids(ledger))))

    assert retire(ledger, 1, datetime(2031, 3, 1, tzinfo=UTC)) == ["2031-01"]

    assert ids(ledger) == ["r99"]
    assert max(abs(one - other) for one, other in itertools.pairwise([46, *left, len(ids(ledger))])) <= 10


def test_dropping_again_drops_nothing(years: Engine) -> None:
    retire(years, 3, LATER)

    assert retire(years, 3, LATER) == []


def test_what_is_left_is_guarded_as_before(years: Engine) -> None:
    retire(years, 3, LATER)

    for change in ("DELETE FROM usage_events", "UPDATE usage_events SET cost = 0"):
        with pytest.raises(IntegrityError, match="never changed"), years.begin() as connection:
            connection.exec_driver_sql(change)
    assert record(years, [usage("new", at_ms=at_ms(2031, 11, 2))]) == 2


@pytest.mark.parametrize("keep_months", [0, -1])
def test_a_month_is_kept_at_least(years: Engine, keep_months: int) -> None:
    with pytest.raises(RefusedInput, match="keep_months"):
        retire(years, keep_months, LATER)

    assert len(ids(years)) == 13


def test_an_empty_ledger_has_nothing_to_drop(ledger: Engine) -> None:
    assert retire(ledger, 1, datetime.now(UTC)) == []
