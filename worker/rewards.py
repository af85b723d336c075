"""Rewards both sides of referrals, once what they wait for has happened."""

from __future__ import annotations

import logging

from gateway.rewards import referrals
from worker import runtime

log = logging.getLogger("quotagate.worker")


def settle_referrals() -> int:
    """RQ job: decides the referrals whose time has come. Returns how many."""
    decided = referrals.settle_due(runtime.system())
    if decided:
        log.info("%d referral(s) were decided", decided)
    return decided
