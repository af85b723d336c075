"""Connections to the ledger's database."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.domain.errors import LedgerError

#: How long SQLite waits for others that write.
_BUSY_S = 15


def sqlite_url(folder: Path) -> str:
    """The embedded ledger of a data folder."""
    return URL.create("sqlite", database=str(folder / "ledger.sqlite3")).render_as_string()


def connect(url: str) -> Engine:
    """An engine for "postgresql://…" or "sqlite:///…". Nothing is opened yet. Raises LedgerError."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError("the database URL cannot be read") from error
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={"options": "-c timezone=UTC", "connect_timeout": 10},
        )
    elif parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": _BUSY_S})
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        raise LedgerError(f"{parsed.get_backend_name()} is not a database for the ledger: use postgresql or sqlite")
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    _write_ahead(cursor)
    # FULL: an event is deleted from Redis once its rows are committed, so a commit must be on the disk.
    # Recursive triggers: a REPLACE is a DELETE that would else not be seen, and refused.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """A new file is switched by the first that opens it. Others that open it in that moment are told at once that it is
    locked, however long they would wait."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
