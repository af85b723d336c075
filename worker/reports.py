"""Counts the usage that was reported while Redis was away."""

from __future__ import annotations

import logging

from gateway.accounts import reporting
from worker import runtime

log = logging.getLogger("quotagate.worker")


def apply() -> int:
    """RQ job: counts all reports that are kept. Returns how many."""
    counted = reporting.apply_kept(runtime.system())
    if counted:
        log.info("%d report(s) of usage that had waited for Redis were counted", counted)
    return counted
