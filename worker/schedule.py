"""The schedule: asks for a drain and a sweep of every partition, and for deliveries of notices, every few seconds,
whoever else may have asked, and for the ledger's upkeep once a day.

It is what makes a lost nudge cost seconds. A job's id names its time slot, so several workers ask for each job once,
and one that a dead worker left behind blocks nothing beyond its slot.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import redis
from rq.exceptions import DuplicateJobError

from gateway.store.nudge import nudge, queue
from worker.notify import DELIVER_EVERY_S, ask_to_deliver

log = logging.getLogger("quotagate.worker")

DRAIN_EVERY_S = 2
SWEEP_EVERY_S = 5
UPKEEP_EVERY_S = 86_400
#: After the start, and each day from then on: what a start itself needs is not kept waiting.
UPKEEP_AFTER_S = 100
#: RQ ends a job of its own accord after three minutes; deleting a month of rows may take longer.
UPKEEP_TIMEOUT_S = 3600


class Schedule(threading.Thread):
    """A thread that enqueues jobs until it is told to stop."""

    def __init__(self, client: redis.Redis, partitions: list[str], *, delivers: bool = False) -> None:
        """`delivers`: notices are sent, so deliveries are asked for too."""
        super().__init__(name="quotagate-schedule", daemon=True)
        self._delivers = delivers
        self._client = client
        self._partitions = partitions
        self._stopping = threading.Event()

    def run(self) -> None:
        beats = 0
        while not self._stopping.wait(1.0):
            beats += 1
            try:
                if beats % DRAIN_EVERY_S == 0:
                    nudge(self._client, self._partitions)
                if beats % SWEEP_EVERY_S == 0:
                    self._sweep()
                    self._ask("worker.reports.apply", SWEEP_EVERY_S)
                if self._delivers and beats % DELIVER_EVERY_S == 0:
                    ask_to_deliver(self._client)
                if beats % UPKEEP_EVERY_S == UPKEEP_AFTER_S:
                    self._upkeep()
            except redis.RedisError as error:
                log.warning("nothing could be scheduled: %s", error)

    def stop(self) -> None:
        self._stopping.set()

    def _ask(self, job: str, every_s: int) -> None:
        """Asks for a job of the whole system, once a time slot. The job looks itself whether there is something."""
        job_id = f"{job.replace('.', '-')}-{int(time.time()) // every_s}"
        with contextlib.suppress(DuplicateJobError):
            queue(self._client).enqueue(job, job_id=job_id, unique=True, result_ttl=0, failure_ttl=60)

    def _sweep(self) -> None:
        jobs = queue(self._client)
        for partition in self._partitions:
            job_id = f"sweep-{partition}-{int(time.time()) // SWEEP_EVERY_S}"
            with contextlib.suppress(DuplicateJobError):
                jobs.enqueue("worker.sweep.sweep", partition, job_id=job_id, unique=True, result_ttl=0, failure_ttl=60)

    def _upkeep(self) -> None:
        job_id = f"upkeep-{int(time.time()) // UPKEEP_EVERY_S}"
        with contextlib.suppress(DuplicateJobError):
            queue(self._client).enqueue(
                "worker.upkeep.upkeep", job_id=job_id, unique=True, result_ttl=0, failure_ttl=60,
                job_timeout=UPKEEP_TIMEOUT_S,
            )  # fmt: skip
