"""The sweep: ends holds whose lease is over, because their gateway fell silent."""

from __future__ import annotations

import logging

from gateway.domain.reservation import Expired
from gateway.store import calls
from gateway.store.inbox import Inbox
from gateway.store.keys import Keys
from worker import runtime
from worker.metrics import COUNTS

log = logging.getLogger("quotagate.worker")

#: Holds a script run: bounded, so that no other call waits long.
BATCH = 100


def sweep(partition: str) -> int:
    """RQ job: expires overdue holds of one partition. Returns how many."""
    system = runtime.system()
    holds = Keys.of_partition(partition, "holds")
    ended = charged = 0
    while True:
        outcome: Expired = system.runner.run(calls.expire(holds, limit=BATCH, remember_ms=system.config.remember_ms))
        ended += outcome.ended
        charged += outcome.charged
        if outcome.ended < BATCH:
            break
    COUNTS.swept_holds += ended
    COUNTS.swept_units += charged
    if ended:
        log.warning("%d hold(s) of %s were ended, their gateway fell silent; charged %d", ended, partition, charged)
    inbox = Inbox(system.redis, partition, runtime.consumer())
    inbox.open()
    inbox.forget_idle_consumers()
    return ended
