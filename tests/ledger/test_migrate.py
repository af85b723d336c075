"""Migrations: every start may run them, whoever else starts at that moment."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select, text

from gateway.domain.errors import LedgerError
from gateway.ledger import database
from gateway.ledger.migrate import HEAD, current, migrate
from gateway.ledger.record import record
from gateway.ledger.sales import all_tables as metadata
from gateway.ledger.tables import api_keys
from tests.ledger.events import usage
from tests.support.processes import CHECKOUT

TABLES = set(metadata.tables) | {"alembic_version"}


def tables(engine: Engine) -> set[str]:
    """Those of a database, without the partitions of `usage_events`."""
    return {name for name in inspect(engine).get_table_names() if not name.startswith("usage_events_")}


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    """A database without a table."""
    engine = database.connect(ledger_url)
    yield engine
    engine.dispose()


def test_a_fresh_database_gets_every_table(engine: Engine) -> None:
    assert current(engine) is None

    migrate(engine)

    assert current(engine) == HEAD
    assert tables(engine) == TABLES


def test_migrating_twice_changes_nothing(ledger: Engine) -> None:
    record(ledger, [usage()])

    migrate(ledger)

    with ledger.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM usage_events")).scalar() == 1


_KEY = (
    "INSERT INTO api_keys (prefix, digest, account, created_at)"
    " VALUES ('qg_AbCdEfGh', 'd1', 'ada', '2026-11-20 10:00:00')"
)
_ENTRY = (
    "INSERT INTO ledger_entries (id, account, kind, bucket, amount, occurred_at)"
    " VALUES ('e1', 'ada', 'SIGNUP', 'credits:signup', 15, '2026-11-20 10:00:00')"
)


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_a_filled_database_of_an_older_version_keeps_what_it_holds(engine: Engine, revision: str) -> None:
    _migrate_to(engine, revision)
    with engine.begin() as connection:
        connection.execute(text(_KEY))
        connection.execute(text(_ENTRY))

    migrate(engine)

    assert current(engine) == HEAD
    with engine.connect() as connection:
        key = connection.execute(select(api_keys)).mappings().one()
        assert connection.execute(text("SELECT amount, position FROM ledger_entries")).all() == [(15, 0)]
    assert dict(key) == {
        "prefix": "qg_AbCdEfGh", "digest": "d1", "account": "ada", "created_at": datetime(2026, 11, 20, 10, tzinfo=UTC),
        "revoked_at": None, "name": "", "team": "", "organisation": "", "scopes": "", "limits": "", "expires_at": None,
    }  # fmt: skip


def _migrate_to(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT / "gateway" / "ledger" / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_the_newest_revision_is_the_one_this_version_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT / "gateway" / "ledger" / "migrations"))

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_the_migrations_make_the_tables_that_the_code_describes(ledger: Engine) -> None:
    with ledger.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True, "compare_server_default": True, "target_metadata": metadata,
                "include_name": lambda name, kind, _: kind != "table" or not str(name).startswith("usage_events_"),
            },
        )  # fmt: skip
        assert compare_metadata(context, metadata) == []


def test_a_database_of_a_newer_version_is_refused(ledger: Engine) -> None:
    with ledger.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(LedgerError, match=r"not one that this version knows.*9999"):
        migrate(ledger)

    assert current(ledger) == "9999"
    assert tables(ledger) == TABLES


def test_threads_that_start_at_once_migrate_once(ledger_url: str) -> None:
    barrier = threading.Barrier(4)
    faults: list[Exception] = []

    def start() -> None:
        engine = database.connect(ledger_url)
        barrier.wait()
        try:
            migrate(engine)
        except Exception as error:  # noqa: BLE001  what it is, the test tells
            faults.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert faults == []
    engine = database.connect(ledger_url)
    assert current(engine) == HEAD
    engine.dispose()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """A gateway and a worker start in the same moment, and SQLite switches a file to WAL for one of them at a time."""
    faults: list[Exception] = []

    def start(url: str, barrier: threading.Barrier) -> None:
        engine = database.connect(url)
        barrier.wait()
        try:
            current(engine)
        except Exception as error:  # noqa: BLE001  what it is, the test tells
            faults.append(error)
        finally:
            engine.dispose()

    for number in range(40):
        url, barrier = f"sqlite:///{tmp_path}/{number}.sqlite3", threading.Barrier(6)
        threads = [threading.Thread(target=start, args=(url, barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert faults == []


PROGRAM = """
import sys
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.ledger.record import record
import alembic.command
engine = database.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate(engine)
record(engine, [])
"""


def test_processes_that_start_at_once_migrate_once(ledger_url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, ledger_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=60)[1], process.returncode) for process in started]

    assert ended == [("", 0)] * 3
    engine = database.connect(ledger_url)
    assert current(engine) == HEAD
    engine.dispose()


# ── databases that cannot be used ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("url", ["", "no url", "://", "sqlite", "mysql://h/d", "mssql+pyodbc://h/d", "postgresql//h"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(LedgerError):
        database.connect(url)


def test_a_refused_url_shows_no_password() -> None:
    with pytest.raises(LedgerError) as caught:
        database.connect("mysql://user:hunter2@h/d")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_cannot_be_reached_is_told(scheme: str) -> None:
    engine = database.connect(f"{scheme}://user:hunter2@127.0.0.1:1/d")

    with pytest.raises(LedgerError, match="cannot be prepared") as caught:
        migrate(engine)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_text("this is no database, and long enough to be read as one" * 100)
    engine = database.connect(f"sqlite:///{path}")

    with pytest.raises(LedgerError, match="cannot be prepared"):
        migrate(engine)
    engine.dispose()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/nowhere/ledger.sqlite3")

    with pytest.raises(LedgerError):
        migrate(engine)
    engine.dispose()


def test_sqlite_keeps_what_was_committed(tmp_path: Path) -> None:
    """An event is deleted from Redis once its rows are committed."""
    engine = database.connect(database.sqlite_url(tmp_path))

    with engine.connect() as connection:
        pragmas = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
    engine.dispose()

    assert pragmas == ["wal", 2]


def test_postgresql_speaks_utc(postgres_url: str) -> None:
    engine = database.connect(postgres_url)

    with engine.connect() as connection:
        assert connection.execute(text("SHOW timezone")).scalar() == "UTC"
    engine.dispose()
