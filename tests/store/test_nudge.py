"""Nudges: jobs that name their time slot, so that nobody asks twice and a dead worker's job blocks nobody for long."""

from __future__ import annotations

import asyncio
import json
import threading
import zlib
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from gateway.store import nudge as module
from gateway.store.keys import Keys
from gateway.store.nudge import DRAIN, Nudger, nudge, queue
from gateway.store.runner import connect
from tests.support.servers import RedisServer, free_port


class Clock:
    """What `nudge` believes the time to be."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(time=clock.time))
    return clock


def jobs(client: redis.Redis) -> list[tuple[str | None, tuple[Any, ...]]]:
    """The jobs that wait, as (function, arguments)."""
    return [(job.func_name, tuple(job.args)) for job in queue(client).get_jobs()]


# ── one nudge ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_nudge_asks_for_a_drain_of_each_partition(redis_client: redis.Redis) -> None:
    nudge(redis_client, ["p00", "p01"])

    assert jobs(redis_client) == [(DRAIN, ("p00",)), (DRAIN, ("p01",))]


def test_the_job_is_a_function_of_the_worker() -> None:
    from worker import drain

    assert f"{drain.drain.__module__}.{drain.drain.__qualname__}" == DRAIN


def test_who_asks_again_is_no_second_job(redis_client: redis.Redis, clock: Clock) -> None:
    for seconds in (0, 1, 9.9):
        clock.now_s = 1_000_000 + seconds
        nudge(redis_client, ["p00"])

    assert jobs(redis_client) == [(DRAIN, ("p00",))]


def test_a_partition_that_was_asked_for_does_not_keep_back_the_others(redis_client: redis.Redis) -> None:
    nudge(redis_client, ["p00"])
    nudge(redis_client, ["p00", "p01"])

    assert jobs(redis_client) == [(DRAIN, ("p00",)), (DRAIN, ("p01",))]


def test_a_job_that_a_dead_worker_left_blocks_its_twins_for_one_slot(redis_client: redis.Redis, clock: Clock) -> None:
    nudge(redis_client, ["p00"])
    redis_client.delete(queue(redis_client).key)  # It was taken, and its worker died: its hash stays.
    nudge(redis_client, ["p00"])
    assert jobs(redis_client) == []

    clock.now_s += 10
    nudge(redis_client, ["p00"])

    assert jobs(redis_client) == [(DRAIN, ("p00",))]


def test_jobs_are_json_and_nothing_that_runs_when_it_is_read(redis_client: redis.Redis) -> None:
    nudge(redis_client, ["p00"])

    (job,) = queue(redis_client).get_jobs()
    stored: Any = redis_client.hget(job.key, "data")
    assert json.loads(zlib.decompress(stored)) == [DRAIN, None, ["p00"], {}]


def test_a_redis_that_is_away_is_told() -> None:
    client = connect(f"redis://127.0.0.1:{free_port()}/0")

    with pytest.raises(redis.ConnectionError):
        nudge(client, ["p00"])


# ── the nudger ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The partitions of every nudge that was sent, by nudgers in a hurry."""
    sent: list[list[str]] = []
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    monkeypatch.setattr(module, "nudge", lambda client, partitions: sent.append(partitions))
    return sent


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_nudger_nudges_every_partition_when_something_is_wanted(real_redis: RedisServer) -> None:
    async def scenario() -> None:
        nudger = Nudger(connect(real_redis.url), Keys(2))
        nudger.start()
        nudger.wanted = True
        await until(lambda: len(jobs(real_redis.client)) == 2)
        await nudger.close()

    run(scenario)
    assert jobs(real_redis.client) == [(DRAIN, ("p00",)), (DRAIN, ("p01",))]


def test_a_nudger_nudges_once_for_all_that_was_wanted_meanwhile(
    real_redis: RedisServer, nudged: list[list[str]]
) -> None:
    async def scenario() -> None:
        nudger = Nudger(connect(real_redis.url), Keys(1))
        nudger.start()
        for _ in range(100):
            nudger.wanted = True
        await until(lambda: nudged)
        assert not nudger.wanted
        await nudger.close()

    run(scenario)
    assert nudged == [["p00"]]


def test_a_nudger_of_whom_nothing_is_wanted_is_silent(
    real_redis: RedisServer, nudged: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = 0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal beats
        beats += 1
        await sleep(0)

    monkeypatch.setattr("gateway.store.nudge.asyncio.sleep", counted)

    async def scenario() -> None:
        nudger = Nudger(connect(real_redis.url), Keys(1))
        nudger.start()
        while beats < 20:
            await sleep(0)
        await nudger.close()

    run(scenario)
    assert nudged == []


def test_a_nudger_that_closes_passes_on_what_is_still_wanted(real_redis: RedisServer, nudged: list[list[str]]) -> None:
    async def scenario() -> None:
        nudger = Nudger(connect(real_redis.url), Keys(1))
        nudger.wanted = True
        await nudger.close()

    run(scenario)
    assert nudged == [["p00"]]


def test_a_redis_that_is_away_does_not_end_the_nudger(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[list[str]] = []

    def fails_once(client: redis.Redis, partitions: list[str]) -> None:
        tries.append(partitions)
        if len(tries) == 1:
            raise redis.ConnectionError("gone")

    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    monkeypatch.setattr(module, "nudge", fails_once)

    async def scenario() -> None:
        nudger = Nudger(connect(f"redis://127.0.0.1:{free_port()}/0"), Keys(1))
        nudger.start()
        nudger.wanted = True
        await until(lambda: len(tries) == 1)
        nudger.wanted = True
        await until(lambda: len(tries) == 2)
        await nudger.close()

    run(scenario)
    assert "the worker was not nudged" in caplog.text


def test_the_loop_goes_on_while_redis_lets_a_nudge_wait(
    real_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, let_go = threading.Event(), threading.Event()

    def slow(client: redis.Redis, partitions: list[str]) -> None:
        waiting.set()
        assert let_go.wait(20)

    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    monkeypatch.setattr(module, "nudge", slow)

    async def scenario() -> None:
        nudger = Nudger(connect(real_redis.url), Keys(1))
        nudger.start()
        nudger.wanted = True
        await until(waiting.is_set)  # This loop turns: a nudge within it would stop here for good.
        let_go.set()
        await nudger.close()

    run(scenario)
