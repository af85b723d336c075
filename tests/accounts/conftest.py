"""A system of a real Redis and a SQLite of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from gateway.accounts.system import System
from gateway.config import parse
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from tests.accounts.world import World
from tests.support.config import config_text


@pytest.fixture
def system(redis_client: redis.Redis, tmp_path: Path) -> Iterator[System]:
    engine = database.connect(database.sqlite_url(tmp_path))
    migrate(engine)
    yield System(parse(config_text(), "config.toml", {}), redis_client, engine)
    engine.dispose()


@pytest.fixture
def world(redis_client: redis.Redis, ledger: Engine) -> World:
    """A system of a real Redis and each kind of ledger, in two partitions."""
    return World(System(parse(config_text(store="partitions = 2"), "config.toml", {}), redis_client, ledger))
