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

#: What one account's balance is to blame for, and holds up no other.
_ONES_FAULT = (ScriptFault, DataError, IntegrityError, ValueError, OverflowError, KeyError)


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
        new = _tell(system, touched)
    except _ONES_FAULT:
        new = sum(_tell_alone(system, account) for account in touched)
    if new and told.channels:
        with contextlib.suppress(redis.RedisError):  # The schedule asks for it too.
            DELIVER.ask(system.redis)
    return new


def _tell_alone(system: System, account: str) -> int:
    """One account of those that failed together: which of them was it?"""
    try:
        return _tell(system, [account])
    except _ONES_FAULT as error:
        log.warning("of account %s no notices could be made: %s", account, type(error).__name__)
        return 0


def _tell(system: System, accounts: Sequence[str]) -> int:
    found = _due(system, accounts)
    return notices.insert(system.ledger, found, system.config.notifications.channels, datetime.now(UTC))


def _due(system: System, ids: Sequence[str]) -> list[Notice]:
    told = system.config.notifications
    found: list[Notice] = []
    for account in system.runner.run_many([calls.peek(system.keys.account(id)) for id in ids]):
        if account is not None:
            tier = system.tier(account.tier)
            found += notices_of(balance_of(account, tier), tier, told.kinds, told.thresholds)
    return found
