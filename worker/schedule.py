"""The schedule: asks for drains and for all other jobs when they are due, whoever else may have asked.

It is what makes a lost nudge cost seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import redis

from gateway.config import Config
from gateway.store.nudge import nudge
from worker.jobs import (
    APPLY_REPORTS,
    COMPARE_PAYMENTS,
    DELIVER,
    PAY,
    PAY_REFUSED,
    POLL_PAYMENTS,
    REFERRALS,
    RENEW,
    SWEEP,
    UPKEEP,
    Job,
)

log = logging.getLogger("quotagate.worker")

DRAIN_EVERY_S = 2
#: What every worker does.
ALWAYS = (SWEEP, APPLY_REPORTS, PAY, PAY_REFUSED, REFERRALS, RENEW, UPKEEP)


def jobs_of(config: Config) -> tuple[Job, ...]:
    """What a worker of this config does: notices are delivered where there is something to send them by, and payments
    asked about where a provider is set up."""
    sends = (DELIVER,) if config.notifications.channels else ()
    sells = (POLL_PAYMENTS, COMPARE_PAYMENTS) if config.payments.names else ()
    return (*ALWAYS, *sends, *sells)


class Schedule(threading.Thread):
    """A thread that enqueues jobs until it is told to stop."""

    def __init__(self, client: redis.Redis, partitions: list[str], jobs: Sequence[Job] = ALWAYS) -> None:
        super().__init__(name="quotagate-schedule", daemon=True)
        self._client = client
        self._partitions = partitions
        self._jobs = jobs
        self._stopping = threading.Event()

    def run(self) -> None:
        beat = 0
        while not self._stopping.wait(1.0):
            beat += 1
            try:
                if beat % DRAIN_EVERY_S == 0:
                    nudge(self._client, self._partitions)
                for job in self._jobs:
                    if job.is_due(beat):
                        self._ask(job)
            except redis.RedisError as error:
                log.warning("nothing could be scheduled: %s", error)

    def stop(self) -> None:
        self._stopping.set()

    def _ask(self, job: Job) -> None:
        if not job.by_partition:
            job.ask(self._client)
            return
        for partition in self._partitions:
            job.ask(self._client, partition)
