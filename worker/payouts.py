"""Pays what was decided in SQL, and did not reach Redis at once."""

from __future__ import annotations

import logging

from gateway.accounts import payouts
from worker import runtime

log = logging.getLogger("quotagate.worker")


def pay() -> int:
    """RQ job: makes the grants that are owed. Returns how many. Raises StoreUnavailable: the next one goes on."""
    paid = payouts.pay_due(runtime.system())
    if paid:
        log.info("%d grant(s) that had waited were made", paid)
    return paid


def pay_refused() -> int:
    """RQ job: tries again what was refused. Returns how many could be made."""
    return payouts.pay_refused(runtime.system())
