"""The schedule: a lost nudge costs seconds, and several workers ask for each job once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from gateway.accounts.system import System
from gateway.ledger.queries import usage_of
from gateway.store import nudge as nudges
from gateway.store.nudge import nudge, queue
from gateway.store.runner import connect
from tests.ledger.events import usage
from tests.support.servers import free_port
from tests.support.waiting import until
from tests.worker.stream import Stream
from worker import jobs as job_module
from worker import schedule as module
from worker.jobs import APPLY_REPORTS, DELIVER, SWEEP
from worker.schedule import ALWAYS, Schedule

SLOT_S = 1_000_000.0
#: A job for each partition, and one for all.
JOBS = (SWEEP, APPLY_REPORTS)


class Clock:
    """What the schedule and its nudges believe the time to be."""

    def __init__(self) -> None:
        self.now_s = SLOT_S

    def time(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for each in (job_module, nudges):
        monkeypatch.setattr(each, "time", SimpleNamespace(time=clock.time))
    return clock


class Beats:
    """Stands for the schedule's pause of a second: time passes at once, and after so many it is told to stop."""

    def __init__(self, clock: Clock, count: int, each: Callable[[int], None] = lambda beat: None) -> None:
        self._clock = clock
        self._count = count
        self._each = each
        self.beat = 0

    def wait(self, seconds: float) -> bool:
        self._each(self.beat)
        self.beat += 1
        self._clock.now_s += seconds
        return self.beat > self._count


def run(schedule: Schedule, beats: Beats) -> None:
    schedule._stopping = beats  # type: ignore[assignment]
    schedule.run()


def waiting(client: redis.Redis) -> list[str]:
    """The jobs that wait: ["drain p00", "apply", …]."""
    return [" ".join([str(job.func_name).rpartition(".")[2], *job.args]) for job in queue(client).get_jobs()]


def test_a_drain_is_asked_for_after_two_seconds_and_a_sweep_after_five(redis_client: redis.Redis, clock: Clock) -> None:
    seen: list[list[str]] = []

    run(Schedule(redis_client, ["p00"], JOBS), Beats(clock, 5, lambda beat: seen.append(waiting(redis_client))))

    assert seen == [[], [], ["drain p00"], ["drain p00"], ["drain p00"], ["drain p00", "sweep p00", "apply"]]


def test_every_partition_is_asked_for(redis_client: redis.Redis, clock: Clock) -> None:
    run(Schedule(redis_client, ["p00", "p01"], JOBS), Beats(clock, 5))

    assert sorted(waiting(redis_client)) == ["apply", "drain p00", "drain p01", "sweep p00", "sweep p01"]


def test_several_workers_ask_for_each_job_once(redis_client: redis.Redis, clock: Clock) -> None:
    for _ in range(3):
        clock.now_s = SLOT_S
        run(Schedule(redis_client, ["p00"], JOBS), Beats(clock, 5))

    assert waiting(redis_client) == ["drain p00", "sweep p00", "apply"]


def test_jobs_that_nobody_takes_do_not_pile_up_beyond_one_a_slot(redis_client: redis.Redis, clock: Clock) -> None:
    run(Schedule(redis_client, ["p00"], JOBS), Beats(clock, 60))

    assert sorted(set(waiting(redis_client))) == ["apply", "drain p00", "sweep p00"]
    assert waiting(redis_client).count("drain p00") <= 60 // 10 + 1
    assert waiting(redis_client).count("sweep p00") <= 60 // 5 + 1
    assert waiting(redis_client).count("apply") <= 60 // 5 + 1


def test_what_a_dead_worker_left_blocks_nothing_beyond_its_slot(redis_client: redis.Redis, clock: Clock) -> None:
    run(Schedule(redis_client, ["p00"], JOBS), Beats(clock, 5))
    redis_client.delete(queue(redis_client).key)  # It had taken both jobs when it died.
    clock.now_s = SLOT_S + 10

    run(Schedule(redis_client, ["p00"], JOBS), Beats(clock, 5))

    assert waiting(redis_client) == ["drain p00", "sweep p00", "apply"]


def test_deliveries_are_asked_for_every_five_seconds_where_notices_are_sent(
    redis_client: redis.Redis, clock: Clock
) -> None:
    run(Schedule(redis_client, [], (DELIVER,)), Beats(clock, 5))
    asked = [str(job.func_name) for job in queue(redis_client).get_jobs()]

    assert asked == ["worker.deliver.deliver"]
    assert DELIVER not in ALWAYS


def test_a_redis_that_is_away_for_a_while_does_not_end_the_schedule(
    redis_client: redis.Redis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    gone = connect(f"redis://127.0.0.1:{free_port()}/0")
    schedule = Schedule(gone, ["p00"], JOBS)

    def comes_back(beat: int) -> None:
        if beat == 5:
            schedule._client = redis_client

    run(schedule, Beats(clock, 10, comes_back))

    assert set(waiting(redis_client)) == {"drain p00", "sweep p00", "apply"}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 3  # Two drains and a sweep.
    assert "nothing could be scheduled" in warnings[0].getMessage()


def test_a_schedule_that_is_told_to_stop_ends(redis_client: redis.Redis) -> None:
    schedule = Schedule(redis_client, ["p00"], JOBS)
    schedule.start()

    schedule.stop()
    schedule.join(20)

    assert not schedule.is_alive()


# ── the jobs, run by RQ ──────────────────────────────────────────────────────────────────────────────────────────────


def work(client: redis.Redis) -> None:
    """RQ runs what waits, and no more."""
    worker = SimpleWorker([queue(client)], connection=client, serializer=JSONSerializer)
    worker.work(burst=True, logging_level="CRITICAL")


def test_the_jobs_that_are_asked_for_can_be_run(system: System, clock: Clock) -> None:
    Stream(system.redis).add(usage("r1"))
    run(Schedule(system.redis, ["p00"]), Beats(clock, 5))

    work(system.redis)

    assert [row["id"] for row in usage_of(system.ledger, "alice")] == ["r1"]
    assert queue(system.redis).failed_job_registry.count == 0
    assert waiting(system.redis) == []


def test_a_job_that_ended_well_leaves_its_slot_to_the_next_nudge(system: System, clock: Clock) -> None:
    nudge(system.redis, ["p00"])
    work(system.redis)

    Stream(system.redis).add(usage("r1"))
    nudge(system.redis, ["p00"])
    work(system.redis)

    assert [row["id"] for row in usage_of(system.ledger, "alice")] == ["r1"]


def test_a_job_that_failed_is_tried_again_within_seconds(
    system: System, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `worker/README.md` says of a database that is away: "the schedule tries again in two seconds"."""
    stream = Stream(system.redis)
    stream.add(usage("r1"))
    with monkeypatch.context() as away:
        away.setattr("worker.drain.record", _gone)
        nudge(system.redis, ["p00"])
        work(system.redis)
    assert stream.ids() == ["r1"]
    assert waiting(system.redis) == []

    run(Schedule(system.redis, ["p00"]), Beats(clock, 2))

    assert waiting(system.redis) == ["drain p00"]


def _gone(*_: Any) -> int:
    from sqlalchemy.exc import OperationalError

    raise OperationalError("INSERT", None, ValueError("gone"))


def test_the_thread_beats_by_itself(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_EVERY_S", 1)
    schedule = Schedule(redis_client, ["p00"], JOBS)
    schedule.start()
    try:
        until(lambda: waiting(redis_client) == ["drain p00"], what="the first drain")
    finally:
        schedule.stop()
        schedule.join(20)
