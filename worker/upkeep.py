"""The ledger's upkeep, once a day: months of usage are made ahead, and what is too old is dropped."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from gateway.ledger import partitions
from gateway.payments import events
from worker import runtime

log = logging.getLogger("quotagate.worker")


def upkeep() -> int:
    """RQ job. Returns how many months were dropped. Raises what the database raises: the next day tries again."""
    system = runtime.system()
    now = datetime.now(UTC)
    made = partitions.prepare(system.ledger, now)
    if made:
        log.info("usage has a place for %s", ", ".join(made))
    keep_months = system.config.keep_usage_months
    dropped = partitions.retire(system.ledger, keep_months, now) if keep_months else []
    if dropped:
        log.info("usage of %s was dropped: ledger.keep_usage_months = %d", ", ".join(dropped), keep_months)
    forgotten = events.forget(system.ledger, now)
    if forgotten:
        log.info("%d webhook(s) of payments from more than %d days ago were dropped", forgotten, events.KEPT.days)
    return len(dropped)
