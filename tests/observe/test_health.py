"""Readiness: what is asked, how often, and what is told."""

from __future__ import annotations

import asyncio

from gateway.observe.health import FRESH_S, Readiness
from tests.proxy.pools import on_a_loop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@on_a_loop
async def test_a_process_whose_checks_find_nothing_is_ready() -> None:
    readiness = Readiness()
    readiness.required["store"] = lambda: None
    readiness.warnings["store_settings"] = lambda: None

    health = await readiness.health()

    assert (health.is_ready, health.status) == (True, "ok")
    assert health.checks == {"store": "ok", "store_settings": "ok"}


@on_a_loop
async def test_a_required_check_that_fails_is_told_and_no_call_can_be_served() -> None:
    readiness = Readiness()
    readiness.required["store"] = lambda: None
    readiness.required["jwks"] = lambda: "never fetched"

    health = await readiness.health()

    assert (health.is_ready, health.status) == (False, "degraded")
    assert health.checks == {"store": "ok", "jwks": "never fetched"}


@on_a_loop
async def test_a_warning_is_told_and_calls_go_on() -> None:
    readiness = Readiness()
    readiness.required["store"] = lambda: None
    readiness.warnings["store_settings"] = lambda: "Redis evicts keys"

    health = await readiness.health()

    assert (health.is_ready, health.status) == (True, "degraded")
    assert health.checks["store_settings"] == "Redis evicts keys"


@on_a_loop
async def test_a_process_that_is_stopping_says_so_at_once() -> None:
    readiness = Readiness()
    readiness.required["store"] = lambda: None
    assert (await readiness.health()).is_ready

    readiness.stop()

    health = await readiness.health()
    assert (health.is_ready, health.checks) == (False, {"process": "shutting down"})


@on_a_loop
async def test_however_often_it_is_read_the_checks_run_once_a_second() -> None:
    clock, asked = Clock(), []
    readiness = Readiness(clock)
    readiness.required["store"] = lambda: asked.append(1)

    await asyncio.gather(*(readiness.health() for _ in range(20)))
    assert len(asked) == 1
    clock.now += FRESH_S
    await readiness.health()

    assert len(asked) == 2
