"""Brings the ledger's database to the newest revision. Safe to call from every process that starts."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.domain.errors import LedgerError

#: The newest revision in `migrations/versions`; a test holds it true. Known here so that a start need not import
#: Alembic.
HEAD = "0009"

_FOLDER = Path(__file__).parent / "migrations"
#: Any number: processes that migrate one PostgreSQL database wait for each other on it.
_ADVISORY_LOCK = 7_153_001


def migrate(engine: Engine) -> None:
    """Raises LedgerError when the database cannot be reached or is newer than this version."""
    try:
        if current(engine) != HEAD:
            with _alone(engine), engine.connect() as connection:
                _upgrade(connection)
    except SQLAlchemyError as error:
        raise LedgerError(f"the ledger's database cannot be prepared: {error.__cause__ or error}") from error


def current(engine: Engine) -> str | None:
    """The revision the database is at; None when it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(f"the ledger's database is not one that this version knows: {error}") from error


@contextlib.contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """One process migrates, the others wait and find it done."""
    if engine.dialect.name == "sqlite":
        database = engine.url.database
        if not database or database == ":memory:":
            yield
            return
        with open(f"{database}.migrating", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
