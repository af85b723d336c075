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

import redis
from sqlalchemy import Connection, exists, insert, select, update

from gateway.accounts import balances
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput, StoreUnavailable
from gateway.ledger.sales import credits_due
from gateway.ledger.tables import grants

log = logging.getLogger("quotagate")

#: How many the worker takes at a time.
BATCH = 500


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


def pay(system: System, cause: str) -> int:
    """Makes the grants of one cause that are not made yet. Returns how many accounts' grants that were.

    Raises StoreUnavailable: the worker goes on from there.
    """
    return _pay(system, (credits_due.c.cause == cause) & credits_due.c.granted_at.is_(None))


def pay_due(system: System) -> int:
    """The same for whatever is left, of any cause, the oldest first. What is refused is logged and stays."""
    return _pay(system, credits_due.c.granted_at.is_(None))


def _pay(system: System, which: object) -> int:
    query = select(credits_due).where(which).order_by(credits_due.c.created_at).limit(BATCH)  # type: ignore[arg-type]
    with system.ledger.connect() as connection:
        rows = connection.execute(query).all()
    paid = 0
    for row in rows:
        is_it = (credits_due.c.account == row.account) & (credits_due.c.id == row.id)
        expires_s = 0 if row.expires_at is None else int(row.expires_at.timestamp())
        try:
            balances.grant(
                system, row.account, row.amount, row.id, row.reason, row.kind,
                priority=row.priority, expires_s=expires_s,
            )  # fmt: skip
        except StoreUnavailable:
            raise
        except RefusedInput as error:
            log.error("account %s cannot be given %s: %s", row.account, row.id, error)
            values: dict[str, object] = {"last_error": str(error)[:500]}
        else:
            values = {"granted_at": system.now(), "last_error": ""}
            paid += 1
        with system.ledger.begin() as connection:
            connection.execute(update(credits_due).where(is_it).values(values))
    return paid


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
    for cause in dict.fromkeys(each.cause for each in found):
        pay_now(system, cause)


#: What keeps a grant from being made now, and not for good.
UNPAID_FOR_NOW = (StoreUnavailable, redis.RedisError)


def pay_now(system: System, cause: str) -> bool:
    """Pays at once, where Redis can be asked. Returns whether it could: else the worker does it later."""
    try:
        pay(system, cause)
    except UNPAID_FOR_NOW as error:
        log.warning("what %s gives is granted later: %s", cause, error)
        return False
    return True
