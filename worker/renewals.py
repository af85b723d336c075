"""Subscriptions by the clock: periods that begin and end, orders for the next ones, reminders."""

from __future__ import annotations

import contextlib

import redis

from gateway.payments import providers, renewals
from worker import runtime
from worker.jobs import DELIVER


def renew() -> int:
    """RQ job. Returns how many subscriptions something was done about. Raises what Redis and the database raise: the
    next one goes on from there."""
    system = runtime.system()
    known = providers.of(system.config)
    done = renewals.act_due(system, known.for_new_orders() if known.are_set_up else None)
    if done and system.config.notifications.channels:
        with contextlib.suppress(redis.RedisError):  # The schedule asks for it too.
            DELIVER.ask(system.redis)
    return done
