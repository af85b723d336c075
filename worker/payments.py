"""Asks the payment providers: about every order and refund that is due, and once a day about all that was paid."""

from __future__ import annotations

import logging
from datetime import timedelta

from gateway.payments import comparison, polling, providers, refunds
from worker import runtime

log = logging.getLogger("quotagate.worker")

#: A comparison looks back so far, over the days of some that failed, and leaves out what has only just happened.
LOOKS_BACK, JUST_NOW = timedelta(days=3), timedelta(minutes=10)


def poll() -> int:
    """RQ job: goes on with the orders and refunds that are due. Returns how many those were."""
    system = runtime.system()
    known = providers.of(system.config)
    return polling.poll_due(system, known) + refunds.poll_due(system, known)


def compare() -> int:
    """RQ job. Returns how many differences are new. Raises ProviderUnavailable: the next day looks back far enough."""
    system = runtime.system()
    now = system.now()
    found = comparison.compare(system, providers.of(system.config), now - LOOKS_BACK, now - JUST_NOW)
    if found:
        log.warning("%d difference(s) between the providers' payments and ours: see /api/admin/payments", found)
    return found
