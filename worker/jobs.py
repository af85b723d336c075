"""The jobs of the worker that come again and again, and how one is asked for.

A job's id names its time slot, so several workers ask for each once, and one that a dead worker left behind blocks
nothing beyond its slot. The drain is asked for by `gateway.store.nudge`, as gateways do it too.
"""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import redis
from rq.exceptions import DuplicateJobError

from gateway.store.nudge import queue


class Job(NamedTuple):
    """A function that RQ calls by its name."""

    function: str
    every_s: int
    #: It is asked for once for each partition, whose name it is given.
    by_partition: bool = False
    #: The first time, so long after the worker's start; 0: after `every_s`.
    first_s: int = 0
    #: RQ ends it after this.
    timeout_s: int = 180

    def ask(self, client: redis.Redis, *arguments: str) -> None:
        """Enqueues it, unless it waits already. Raises redis.RedisError."""
        job_id = "-".join((self.function.rpartition(".")[2], *arguments, str(int(time.time()) // self.every_s)))
        with contextlib.suppress(DuplicateJobError):
            queue(client).enqueue(
                self.function, *arguments, job_id=job_id, unique=True, result_ttl=0, failure_ttl=60,
                job_timeout=self.timeout_s,
            )  # fmt: skip

    def is_due(self, beat: int) -> bool:
        """Whether it is to be asked for in this second since the worker's start."""
        return beat % self.every_s == self.first_s


SWEEP = Job("worker.sweep.sweep", 5, by_partition=True)
APPLY_REPORTS = Job("worker.reports.apply", 5)
PAY = Job("worker.payouts.pay", 5)
#: What was refused is looked at by people before it can be paid.
PAY_REFUSED = Job("worker.payouts.pay_refused", 3600)
REFERRALS = Job("worker.rewards.settle_referrals", 30)
DELIVER = Job("worker.deliver.deliver", 5)
RENEW = Job("worker.renewals.renew", 10)
#: What a start itself needs is not kept waiting; and deleting a month of rows may take long.
UPKEEP = Job("worker.upkeep.upkeep", 86_400, first_s=100, timeout_s=3600)
#: Of payments, where a provider is set up.
POLL_PAYMENTS = Job("worker.payments.poll", 5)
COMPARE_PAYMENTS = Job("worker.payments.compare", 86_400, first_s=200, timeout_s=3600)
