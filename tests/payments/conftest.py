"""A shop: a system that sells packages, with a provider that does as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.config import parse
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from tests.payments.club import Club
from tests.payments.shop import SOLD, Shop
from tests.support.config import config_text
from tests.support.sandbox import Clock


@pytest.fixture
def quick_ledger(tmp_path: Path) -> Iterator[Engine]:
    """SQLite, for what does not depend on the database."""
    engine = database.connect(database.sqlite_url(tmp_path))
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def shop(redis_client: redis.Redis, quick_ledger: Engine) -> Shop:
    return _shop(redis_client, quick_ledger)


@pytest.fixture
def any_shop(redis_client: redis.Redis, ledger: Engine) -> Shop:
    """The same on each kind of database."""
    return _shop(redis_client, ledger)


def _shop(client: redis.Redis, ledger: Engine) -> Shop:
    clock = Clock(datetime.now(UTC).replace(microsecond=0))
    system = System(parse(config_text() + SOLD, "config.toml", {}), client, ledger, clock)
    ensure_epoch(system, "a test")
    return Shop(system, clock)


@pytest.fixture
def club(redis_client: redis.Redis, quick_ledger: Engine) -> Club:
    """A shop that sells plans, on the morning of 31 January 2027 in Jakarta."""
    return Club(redis_client, quick_ledger)


@pytest.fixture
def any_club(redis_client: redis.Redis, ledger: Engine) -> Club:
    """The same on each kind of database."""
    return Club(redis_client, ledger)
