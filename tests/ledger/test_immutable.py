"""What is recorded is never changed or deleted: the database itself refuses it, but for what deletes personal data."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, Table, insert
from sqlalchemy.exc import IntegrityError

from gateway.ledger.record import record
from gateway.ledger.tables import audit_log, ledger_entries, usage_events
from tests.ledger.events import grant, usage
from tests.ledger.tables import rows

GUARDED = (usage_events, ledger_entries, audit_log)


@pytest.fixture
def filled(ledger: Engine) -> Engine:
    """A call with all that its caller said, a grant, and an operator's act."""
    record(ledger, [usage("r1", session="s1", purpose="homework", metadata='{"a": 1}'), grant("g1")])
    with ledger.begin() as connection:
        connection.execute(
            insert(audit_log).values(
                id="email:alice:1", occurred_at=datetime(2026, 11, 20, tzinfo=UTC), actor="admin:bob",
                action="account.set_email", target="account:alice", reason="asked", before='{"email": "a@b.c"}',
                after="{}",
            )
        )  # fmt: skip
    return ledger


def attempt(ledger: Engine, statement: str) -> None:
    with ledger.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("table", [table.name for table in GUARDED])
def test_a_row_is_not_deleted(filled: Engine, table: str) -> None:
    with pytest.raises(IntegrityError, match=f"rows of {table} are never changed or deleted: a correction is a new"):
        attempt(filled, f"DELETE FROM {table}")


@pytest.mark.parametrize("table", GUARDED, ids=lambda table: table.name)
def test_no_column_is_changed(filled: Engine, table: Table) -> None:
    """Each to what it is not, alone and beside what erasing an account changes."""
    before = rows(filled, table)
    erased = "target = 'account:erased:1'" if table is audit_log else "account = 'erased:1'"
    for column in table.columns:
        changed = f"{column.name} = {OTHERS[column.type.python_type]}"
        for change in (changed, f"{erased}, {changed}") if column.name not in erased else (changed,):
            with pytest.raises(IntegrityError, match=f"rows of {table.name} are never"):
                attempt(filled, f"UPDATE {table.name} SET {change}")

    assert rows(filled, table) == before


#: Values that no row here has, by the type of their column.
OTHERS = {str: "'other'", int: "4711", bool: "true", datetime: "'2026-11-19 00:00:00'"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_events SET account = 'bob'",
        "UPDATE usage_events SET account = 'ERASED:1'",
        "UPDATE usage_events SET account = 'erased'",
        "UPDATE usage_events SET purpose = ''",
        "UPDATE usage_events SET account = 'erased:1', purpose = 'x'",
        "UPDATE usage_events SET account = 'erased:1', cost = 0",
        "UPDATE usage_events SET account = 'erased:1', id = 'r2'",
        "UPDATE ledger_entries SET account = 'erased:1', amount = 1",
        "UPDATE ledger_entries SET account = 'erased:1', id = 'x'",
        "UPDATE ledger_entries SET account = 'erased:1', id = replace(id, 'alice', 'erased:2')",
        "UPDATE ledger_entries SET reason = ''",
        "UPDATE audit_log SET target = 'erased:1'",
        "UPDATE audit_log SET target = 'account:bob'",
        "UPDATE audit_log SET before = ''",
        "UPDATE audit_log SET target = 'account:erased:1', actor = ''",
        "UPDATE audit_log SET target = 'account:erased:1', reason = ''",
    ],
)
def test_nothing_passes_for_the_deletion_of_personal_data(filled: Engine, change: str) -> None:
    before = [rows(filled, each) for each in GUARDED]

    with pytest.raises(IntegrityError, match="never changed"):
        attempt(filled, change)

    assert [rows(filled, each) for each in GUARDED] == before


def test_personal_data_is_deleted(filled: Engine) -> None:
    attempt(filled, "UPDATE usage_events SET account = 'erased:1', session = '', purpose = '', details = ''")
    attempt(filled, "UPDATE ledger_entries SET account = 'erased:1', id = replace(id, ':alice', ':erased:1')")
    named = "target = 'account:erased:1', id = replace(id, ':alice', ':erased:1')"
    attempt(filled, f"UPDATE audit_log SET {named}, before = '', after = ''")

    assert "alice" not in str([rows(filled, each) for each in GUARDED])


def test_an_act_on_something_else_does_not_become_an_erased_accounts(ledger: Engine) -> None:
    with ledger.begin() as connection:
        connection.execute(
            insert(audit_log).values(
                id="k1", occurred_at=datetime(2026, 11, 20, tzinfo=UTC), actor="cli:bob", action="api_key.revoke",
                target="api_key:qg_AbCdEfGh",
            )
        )  # fmt: skip

    with pytest.raises(IntegrityError, match="never changed"):
        attempt(ledger, "UPDATE audit_log SET target = 'account:erased:1'")


def test_rows_are_not_replaced(filled: Engine) -> None:
    if filled.dialect.name != "sqlite":
        pytest.skip("REPLACE is SQLite's alone")

    with pytest.raises(IntegrityError, match="never changed"):
        attempt(filled, "REPLACE INTO ledger_entries SELECT * FROM ledger_entries")


@pytest.mark.parametrize(
    "table", ["usage_events", "ledger_entries", "audit_log", "usage_events_other", "usage_events_2026_11"]
)
def test_tables_are_not_truncated(filled: Engine, table: str) -> None:
    if filled.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")

    with pytest.raises(IntegrityError, match="never changed"):
        attempt(filled, f"TRUNCATE {table}")


def test_a_partition_refuses_as_its_table_does(filled: Engine) -> None:
    if filled.dialect.name == "sqlite":
        pytest.skip("SQLite has no partitions")

    for change in ("DELETE FROM usage_events_2026_11", "UPDATE usage_events_2026_11 SET cost = 0"):
        with pytest.raises(IntegrityError, match="rows of usage_events are never"):
            attempt(filled, change)
