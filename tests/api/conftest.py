"""Gateways over a ledger that is migrated once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.ledger import database
from gateway.ledger.migrate import migrate
from tests.api.market import Market
from tests.api.user.door import Door


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with its tables, to be copied: making them takes seconds."""
    folder = tmp_path_factory.mktemp("ledger")
    engine = database.connect(database.sqlite_url(folder))
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return folder / "ledger.sqlite3"


@pytest.fixture
def door(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> Iterator[Door]:
    """A gateway, one a test."""
    shutil.copy(migrated, tmp_path / "ledger.sqlite3")
    opened = Door(redis_client, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def market(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> Iterator[Market]:
    """One that sells by the sandbox."""
    folder = tmp_path / "market"
    folder.mkdir()
    shutil.copy(migrated, folder / "ledger.sqlite3")
    opened = Market(redis_client, folder)
    yield opened
    opened.close()
