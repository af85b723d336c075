"""The ledger's upkeep, once a day: months of usage are made ahead, and what is too old is dropped; credits that Redis
lost before the ledger had heard of them are owed again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from gateway.accounts import payouts
from gateway.accounts.system import System
from gateway.ledger import partitions
from gateway.payments import events
from worker import runtime

log = logging.getLogger("quotagate.worker")

#: The ledger has heard of grants by then; and how far back those are looked for that it has not.
_HEARD, _LOOKED_BACK = timedelta(hours=1), timedelta(days=7)


def upkeep() -> int:
    """RQ job. Returns how many months were dropped. Raises what the database raises: the next day tries again."""
    system = runtime.system()
    now = datetime.now(UTC)
    made = partitions.prepare(system.ledger, now)
    if made:
        log.info("usage has a place for %s", ", ".join(made))
    _owe_again(system, now)
    keep_months = system.config.keep_usage_months
    dropped = partitions.retire(system.ledger, keep_months, now) if keep_months else []
    if dropped:
        log.info("usage of %s was dropped: ledger.keep_usage_months = %d", ", ".join(dropped), keep_months)
    forgotten = events.forget(system.ledger, now)
    if forgotten:
        log.info("%d webhook(s) of payments from more than %d days ago were dropped", forgotten, events.KEPT.days)
    return len(dropped)


def _owe_again(system: System, now: datetime) -> None:
    with system.ledger.connect() as connection:
        lost = payouts.lost(connection, now - _HEARD, since=now - _HEARD - _LOOKED_BACK)
    payouts.owe_again(system, lost)
    for each in lost:
        log.warning("account %s is owed %s again: the ledger never heard of it", each.account, each.id)
