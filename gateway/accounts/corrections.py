"""What operators give and take: corrections, grants, voided grants, overrides. Each act is noted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from gateway.accounts import balances, overrides
from gateway.accounts.expiry import expiry_s
from gateway.accounts.lifecycle import opened
from gateway.accounts.noting import By, of_account, once
from gateway.accounts.payouts import OWED
from gateway.accounts.system import System, never_opened
from gateway.domain.acts import Adjusted, Short, Voided
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.principal import is_grant_id
from gateway.domain.reservation import Conflict, Unknown
from gateway.domain.tier import MAX_UNITS
from gateway.ledger import credits as rows
from gateway.store import acts, calls

#: What operators may grant. The other kinds of entries have causes of their own.
GRANT_KINDS = ("TOP_UP", "ADJUSTMENT", "REWARD", "REFERRAL")


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """A grant that an operator makes."""

    #: Unique within the account for good.
    id: str
    amount: int
    kind: str = "TOP_UP"
    priority: int = 0
    #: None: never.
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class GrantShown:
    """A grant as the ledger has it."""

    id: str
    kind: str
    amount: int
    #: Left and held together.
    left: int
    reason: str
    priority: int
    expires_at: datetime | None
    granted_at: datetime
    voided_at: datetime | None
    #: What it was made for, such as "order:ord_…"; None: an operator made it, or the sign-up.
    cause: str | None


def adjust(system: System, by: By, account_id: str, amount: int) -> int:
    """Corrects a balance: what is positive is granted, what is negative is taken from what is free. Returns
    what is left.

    Raises RefusedInput, NotFound; Conflicting when less is free than is to be taken, and when another amount was asked
    for under this id.
    """
    if not 1 <= abs(amount) <= MAX_UNITS:
        raise RefusedInput(f"the amount is {amount}, and must be from 1 to {MAX_UNITS}, or from -{MAX_UNITS} to -1")
    opened(system, account_id)

    def act() -> dict[str, Any]:
        if amount > 0:
            balances.grant(system, account_id, amount, by.id, by.reason, "ADJUSTMENT")
        else:
            _take(system, by, account_id, -amount)
        return {"amount": amount}

    look = partial(_left, system, account_id)
    known = once(system, by, "account.adjust", of_account(account_id), look, act, needs_reason=True)
    if known is not None and known.after.get("amount", amount) != amount:
        raise Conflicting("this was asked for before with another amount")
    return opened(system, account_id).left


def grant(system: System, by: By, account_id: str, terms: GrantTerms) -> int:
    """Credits an account once by the grant's id. An unknown account is opened. Returns what is left.

    Raises RefusedInput; Conflicting when the id was granted with another amount.
    """
    if terms.kind not in GRANT_KINDS:
        raise RefusedInput(f"{terms.kind!r} is no kind of grant: {', '.join(GRANT_KINDS)}")
    if terms.id.startswith(OWED):
        raise RefusedInput(f"grant id {terms.id!r}: {', '.join(OWED)} begin those of orders and rewards")
    expires_s = 0 if terms.expires_at is None else expiry_s(terms.expires_at.isoformat(), int(time.time()))

    def act() -> dict[str, Any]:
        balances.grant(
            system, account_id, terms.amount, terms.id, by.reason, terms.kind,
            priority=terms.priority, expires_s=expires_s,
        )  # fmt: skip
        return {"grant": terms.id, "amount": terms.amount, "kind": terms.kind}

    # A grant credits once, whoever asks how often: so it has one note.
    by = replace(by, id="grant-" + hashlib.sha256(f"{account_id} {terms.id}".encode()).hexdigest()[:40])
    look = partial(_left, system, account_id)
    if once(system, by, "account.grant", of_account(account_id), look, act, needs_reason=True) is not None:
        act()  # It credits nothing more, and refuses another amount.
    return opened(system, account_id).left


def void(system: System, by: By, account_id: str, grant_id: str) -> int:
    """Takes back what a grant has left: it ends, and credits no second time. Returns how much that was.

    What open calls hold of it is theirs; what they give back lapses. Raises RefusedInput, NotFound.
    """
    opened(system, account_id)
    if not is_grant_id(grant_id):
        raise NotFound(f"account {account_id} has no grant {grant_id!r}")

    def act() -> dict[str, Any]:
        call = acts.void(system.keys.account(account_id), by.id, grant_id, by.reason)
        outcome = system.runner.run(call)
        if not isinstance(outcome, Voided):
            raise NotFound(f"account {account_id} has no grant {grant_id}")
        system.nudge(account_id)
        told.append(outcome.amount)
        return {"grant": grant_id, "amount": outcome.amount}

    told: list[int] = []
    look = partial(_left, system, account_id)
    known = once(system, by, "account.void_grant", of_account(account_id), look, act, needs_reason=True)
    return told[0] if known is None else int(known.after.get("amount", 0))


def granted(system: System, account_id: str) -> list[GrantShown]:
    """An account's grants, the newest first, as far as the ledger has heard of them. Raises NotFound."""
    opened(system, account_id)
    with system.ledger.connect() as connection:
        return [grant_shown(row) for row in rows.all_grants(connection, account_id)]


def grant_shown(row: Mapping[str, Any]) -> GrantShown:
    """A row of `gateway.ledger.credits`."""
    return GrantShown(
        row["id"], row["kind"], row["amount"], row["left"] or 0, row["reason"] or "", row["priority"],
        row["expires_at"], row["granted_at"], row["voided_at"], row["cause"],
    )  # fmt: skip


def override(system: System, by: By, account_id: str, factor: str, until: str) -> None:
    """Stretches or narrows an account's own limits, as `overrides.override`. Raises RefusedInput, NotFound."""
    opened(system, account_id)

    def act() -> None:
        overrides.override(system, account_id, factor, until)

    once(system, by, "account.override", of_account(account_id), partial(_override, system, account_id), act)


def end_override(system: System, by: By, account_id: str) -> None:
    """An account's limits are what its tier says again. Raises NotFound."""
    opened(system, account_id)

    def act() -> None:
        system.runner.run(calls.override(system.keys.account(account_id), 1, 1, 0))

    once(system, by, "account.end_override", of_account(account_id), partial(_override, system, account_id), act)


def _take(system: System, by: By, account_id: str, amount: int) -> None:
    call = acts.adjust(system.keys.account(account_id), by.id, amount, by.reason, remember_ms=system.config.remember_ms)
    outcome = system.runner.run(call)
    match outcome:
        case Adjusted():
            system.nudge(account_id)
        case Short():
            raise Conflicting(f"account {account_id} has {outcome.left} free, and {amount} cannot be taken from it")
        case Unknown():
            raise never_opened(account_id)
        case Conflict():
            raise Conflicting("this was asked for before with another amount")


def _left(system: System, account_id: str) -> dict[str, Any]:
    account = system.runner.run(calls.peek(system.keys.account(account_id)))
    return {} if account is None else {"left": account.left}


def _override(system: System, account_id: str) -> dict[str, Any]:
    found = opened(system, account_id).last_override
    if found is None:
        return {"limits_times": "1/1"}
    return {"limits_times": found.factor, "until": datetime.fromtimestamp(found.until_ms / 1000, UTC)}
