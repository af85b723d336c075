"""The worker's own metrics: what its jobs add to, and how they are served."""

from __future__ import annotations

import dataclasses

import httpx2
import pytest

from gateway.accounts.system import System
from gateway.config.observability import Observability
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Reserved
from gateway.domain.tier import Tier
from tests.ledger.events import usage
from tests.lua.caller import Caller
from tests.observe.samples import value
from tests.worker.stream import Stream
from worker import drain as drain_module
from worker import metrics
from worker import sweep as sweep_module
from worker.drain import MAX_TRIES, drain
from worker.metrics import WorkerCounts
from worker.sweep import sweep

TOKEN = "a token for those who scrape"


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> WorkerCounts:
    fresh = WorkerCounts()
    for module in (metrics, drain_module, sweep_module):
        monkeypatch.setattr(module, "COUNTS", fresh)
    return fresh


def test_a_drain_counts_its_batches_and_events(system: System, counts: WorkerCounts) -> None:
    stream = Stream(system.redis, "p00")
    for number in range(3):
        stream.add(usage(f"r{number}"))

    drain("p00")

    assert (counts.batches, counts.events, counts.poisoned) == (1, 3, 0)


def test_an_event_that_is_set_aside_is_counted(system: System, counts: WorkerCounts) -> None:
    stream = Stream(system.redis, "p00")
    stream.add_fields({"id": "e1"})

    for _ in range(MAX_TRIES):
        drain("p00")
        stream.age()

    assert (counts.events, counts.poisoned) == (0, 1)


def test_a_sweep_counts_the_holds_that_it_ends(system: System, counts: WorkerCounts) -> None:
    seconds, _ = system.redis.time()
    holder = Caller(system.runner, Tier("free", signup=1000), "ada", now_ms=(int(seconds) - 3600) * 1000)
    for id in ("r1", "r2"):
        assert isinstance(holder.reserve(id, 5, on_lost="charge_hold"), Reserved)

    sweep("p00")

    assert (counts.swept_holds, counts.swept_units) == (2, 10)


def test_they_are_served_beside_what_redis_says(system: System, counts: WorkerCounts) -> None:
    Stream(system.redis, "p01").add(usage("r1"))
    counts.events, counts.swept_holds = 12, 2

    port = metrics.serve(system, "127.0.0.1", 0)
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text

    assert value(text, "quotagate_worker_drained_events_total") == 12
    assert value(text, "quotagate_worker_swept_holds_total") == 2
    assert value(text, "quotagate_ledger_backlog_events", partition="p01") == 1


def test_they_are_guarded_by_the_token_of_the_config(system: System, counts: WorkerCounts) -> None:
    observability = Observability(metrics_token=TOKEN)
    guarded = dataclasses.replace(system, config=dataclasses.replace(system.config, observability=observability))
    url = f"http://127.0.0.1:{metrics.serve(guarded, '127.0.0.1', 0)}/metrics"

    assert httpx2.get(url).status_code == 401
    assert httpx2.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx2.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_port_that_is_taken_is_named(system: System) -> None:
    port = metrics.serve(system, "127.0.0.1", 0)

    with pytest.raises(RefusedInput, match=f"metrics cannot be served on 127.0.0.1:{port}"):
        metrics.serve(system, "127.0.0.1", port)
