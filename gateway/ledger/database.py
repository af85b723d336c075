"""Connections to the ledger's database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.domain.errors import LedgerError


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
            # A plan is made for the values at hand: how much a search or a filter leaves decides what is the fast way.
            connect_args={"options": "-c timezone=UTC -c plan_cache_mode=force_custom_plan", "connect_timeout": 10},
        )
    elif parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": 15})
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        raise LedgerError(f"{parsed.get_backend_name()} is not a database for the ledger: use postgresql or sqlite")
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # FULL: an event is deleted from Redis once its rows are committed, so a commit must be on the disk.
    # Recursive triggers: a REPLACE is a DELETE that would else not be seen, and refused.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
