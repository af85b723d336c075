"""Units that were decided in SQL, on their way into Redis: each exactly once, whatever dies in between.

Whoever decides that an account is to have something (a paid order, a redeemed code, a check-in) writes a row with `owe`
in the transaction that decides it. `pay` then makes the grant of the same id, which credits once however often it is
asked for, and notes that it did. Should the process die between the two, the worker pays what is left (`pay_due`).
Should Redis lose what it was granted before the ledger heard of it, that is found by `lost`, and paid again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select, update

from gateway.accounts import balances
from gateway.accounts.system import System
from gateway.domain.errors import QuotagateError, StoreUnavailable
from gateway.ledger.sales import credits_due
from gateway.ledger.tables import grants

log = logging.getLogger("quotagate")

#: How many the worker takes at a time.
BATCH = 500

#: What the ids of these grants begin with. Nobody else makes one of such an id: it would stand in for what is owed.
OWED = ("order:", "refund:", "subscription:", "code:", "referral:", "check_in:", "streak:", "once:")


@dataclass(frozen=True, slots=True)
class Due:
    """Units that an account is to have."""

    account: str
    #: The grant's: unique within the account for good.
    id: str
    #: A kind of ledger entry that grants: TOP_UP, SUBSCRIPTION, REWARD, REFERRAL …
    kind: str
    amount: int
    #: For the ledger.
    reason: str
    #: What it is for, such as "order:ord_…".
    cause: str
    priority: int = 0
    expires_at: datetime | None = None


def owe(connection: Connection, due: Sequence[Due], now: datetime) -> None:
    """Writes down what accounts are to have, in the caller's transaction. Raises IntegrityError for what is owed
    already: the caller decided twice."""
    if due:
        connection.execute(
            insert(credits_due),
            [
                {
                    "account": each.account, "id": each.id, "kind": each.kind, "amount": each.amount,
                    "reason": each.reason, "priority": each.priority, "expires_at": each.expires_at,
                    "cause": each.cause, "created_at": now, "granted_at": None, "last_error": "",
                }
                for each in due
            ],
        )  # fmt: skip


def expiry(now: datetime, valid_days: int) -> datetime | None:
    """When what is given now lapses, in whole seconds, as grants have it; 0 days: never."""
    return None if valid_days == 0 else (now + timedelta(days=valid_days)).replace(microsecond=0)


def pay(system: System, cause: str, account: str | None = None) -> int:
    """Makes the grants of one cause that are not made yet, of one account where it is named. Returns how many.

    Raises StoreUnavailable: the worker goes on from there.
    """
    which = _WAITING & (credits_due.c.cause == cause)
    return _pay(system, which if account is None else which & (credits_due.c.account == account))


def pay_due(system: System) -> int:
    """The same for whatever is left, of any cause, the oldest first. What is refused is logged and set aside: nothing
    waits behind it."""
    return _pay(system, _WAITING & (credits_due.c.last_error == ""))


def pay_refused(system: System) -> int:
    """The same for what was refused before, as the reason may be gone; in any order, so that none waits for good."""
    return _pay(system, _WAITING & (credits_due.c.last_error != ""), func.random())


def pay_now(system: System, cause: str, account: str | None = None) -> bool:
    """Pays at once, where Redis can be asked. Returns whether it could: else the worker does it later."""
    try:
        pay(system, cause, account)
    except UNPAID_FOR_NOW as error:
        log.warning("what %s gives is granted later: %s", cause, error)
        return False
    return True


@dataclass(frozen=True, slots=True)
class Lost:
    """A grant that was made, and that the ledger never heard of."""

    account: str
    id: str
    amount: int
    cause: str


def lost(
    connection: Connection, before: datetime, *, since: datetime | None = None, accounts: Sequence[str] | None = None
) -> list[Lost]:
    """Grants that were made before an instant and have no row in the ledger: Redis lost them, or the worker has not
    recorded them yet. `accounts`: only of these."""
    due = credits_due.c
    is_known = exists().where(grants.c.account == due.account, grants.c.id == due.id)
    query = select(due.account, due.id, due.amount, due.cause).where(due.granted_at < before, ~is_known)
    if since is not None:
        query = query.where(due.granted_at >= since)
    if accounts is not None:
        query = query.where(due.account.in_(accounts))
    return [Lost(*row) for row in connection.execute(query)]


def owe_again(system: System, found: Sequence[Lost]) -> None:
    """Marks these as unpaid. Whatever Redis does know of is granted no second time."""
    with system.ledger.begin() as connection:
        for each in found:
            is_it = (credits_due.c.account == each.account) & (credits_due.c.id == each.id)
            connection.execute(update(credits_due).where(is_it).values(granted_at=None))


def pay_again(system: System, found: Sequence[Lost]) -> None:
    """The same, and pays them at once where it can."""
    owe_again(system, found)
    for cause, account in dict.fromkeys((each.cause, each.account) for each in found):
        pay_now(system, cause, account)


#: What keeps a grant from being made now, and not for good.
UNPAID_FOR_NOW = (StoreUnavailable, redis.RedisError)

#: In these words, so that their index is used.
_WAITING = credits_due.c.granted_at.is_(None)


def _pay(system: System, which: ColumnElement[bool], order: ColumnElement[Any] = credits_due.c.created_at) -> int:
    query = select(credits_due).where(which).order_by(order).limit(BATCH)
    with system.ledger.connect() as connection:
        rows = connection.execute(query).all()
    return sum(_grant(system, row) for row in rows)


def _grant(system: System, row: Row[Any]) -> bool:
    """Makes one grant, and notes that it was made, or why it cannot be. Raises StoreUnavailable."""
    expires_s = 0 if row.expires_at is None else int(row.expires_at.timestamp())
    try:
        balances.grant(
            system, row.account, row.amount, row.id, row.reason, row.kind, priority=row.priority, expires_s=expires_s
        )
    except StoreUnavailable:
        raise
    except QuotagateError as error:
        log.error("account %s cannot be given %s: %s", row.account, row.id, error)
        noted: dict[str, object] = {"last_error": str(error)[:500]}
    else:
        noted = {"granted_at": system.now(), "last_error": ""}
    is_it = (credits_due.c.account == row.account) & (credits_due.c.id == row.id)
    with system.ledger.begin() as connection:
        connection.execute(update(credits_due).where(is_it, _WAITING).values(noted))
    return "granted_at" in noted
