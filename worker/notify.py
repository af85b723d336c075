"""Notices: after a batch of events is in the ledger, the accounts it touched are looked at, and what their owners are
to be told is written down, once. `worker.deliver` sends it.

The balance is looked at as it stands, not as the events changed it: a batch that is delivered again writes no notice
twice, and a look that is missed is made up for by the account's next event.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import redis
from sqlalchemy.exc import DataError, IntegrityError

from gateway.accounts.system import System
from gateway.domain.balance import balance_of
from gateway.domain.errors import ScriptFault
from gateway.domain.event import Event
from gateway.domain.notice import Notice, notices_of
from gateway.ledger import notices
from gateway.store import calls
from worker.jobs import DELIVER

log = logging.getLogger("quotagate.worker")


def look(system: System, events: Sequence[Event]) -> int:
    """Writes what the owners of the accounts behind these events are to be told. Returns how many notices were new.

    What is wrong with one account's balance is logged and holds up nothing. Raises what Redis and the database raise
    when they cannot be used: the events are then delivered again.
    """
    told = system.config.notifications
    touched = sorted({event.account for event in events if any(entry.amount < 0 for entry in event.entries)})
    if not told.kinds or not touched:
        return 0
    try:
        found = _due(system, touched)
        new = notices.insert(system.ledger, found, told.channels, datetime.now(UTC))
    except (ScriptFault, DataError, IntegrityError, ValueError, OverflowError, KeyError) as error:
        log.warning("of %d account(s) no notices could be made: %s", len(touched), type(error).__name__)
        return 0
    if new and told.channels:
        with contextlib.suppress(redis.RedisError):  # The schedule asks for it too.
            DELIVER.ask(system.redis)
    return new


def _due(system: System, ids: Sequence[str]) -> list[Notice]:
    told = system.config.notifications
    found: list[Notice] = []
    for account in system.runner.run_many([calls.peek(system.keys.account(id)) for id in ids]):
        if account is not None:
            tier = system.tier(account.tier)
            found += notices_of(balance_of(account, tier), tier, told.kinds, told.thresholds)
    return found
