"""An account's course in the hands of operators: opened, moved, suspended, let call again. Each act is noted."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.accounts import terms
from gateway.accounts.noting import By, of_account, once
from gateway.accounts.system import System, look_up, never_opened
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.principal import is_account_id
from gateway.domain.reservation import Account, Unknown
from gateway.ledger.tables import accounts
from gateway.store import acts, calls

ACTIVE, SUSPENDED = "active", "suspended"
MAX_EMAIL_LENGTH = 320
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def create(
    system: System, by: By, account_id: str, *, tier: str | None = None, zone: str = "", email: str = ""
) -> None:
    """Opens an account, with its tier's sign-up grant. Raises RefusedInput; Conflicting when there is one."""
    if not is_account_id(account_id):
        raise RefusedInput(f"{account_id!r} is no account id: 1-200 printable characters without white space")
    chosen = terms.tier_named(system, tier or system.config.default_tier)
    terms.check_zone(zone)
    check_email(email)

    def act() -> None:
        opened = system.runner.run(calls.open_account(system.keys.account(account_id), chosen, zone=zone))
        if opened.how == "exists":
            raise Conflicting(f"there is an account {account_id} already, on tier {opened.tier}")
        if email:
            set_email(system, account_id, email)
        system.nudge(account_id)

    once(system, by, "account.create", of_account(account_id), partial(_terms, system, account_id), act)


def change(
    system: System,
    by: By,
    account_id: str,
    *,
    tier: str | None = None,
    zone: str | None = None,
    email: str | None = None,
) -> None:
    """Puts an account on another tier, in another zone, or gives it another address; what is None stays.
    `zone`, `email`: "" for its tier's, and for none. Raises RefusedInput, NotFound."""
    opened(system, account_id)
    if tier is not None:
        terms.tier_named(system, tier)
    terms.check_zone(zone or "")
    check_email(email or "")

    def act() -> None:
        if tier is not None or zone is not None:
            terms.move(system, account_id, tier=tier, zone=zone)
        if email is not None:
            set_email(system, account_id, email)

    once(system, by, "account.change", of_account(account_id), partial(_terms, system, account_id), act)


def suspend(system: System, by: By, account_id: str) -> None:
    """Refuses the account's calls from now on; those under way end as they would. Raises RefusedInput, NotFound."""
    _set_status(system, by, "account.suspend", account_id, SUSPENDED, needs_reason=True)


def resume(system: System, by: By, account_id: str) -> None:
    """Lets an account call again. Raises RefusedInput, NotFound."""
    _set_status(system, by, "account.resume", account_id, ACTIVE, needs_reason=False)


def opened(system: System, account_id: str) -> Account:
    """An account that is open, as it stands in Redis. Raises NotFound."""
    account = system.runner.run(calls.peek(system.keys.account(look_up(account_id))))
    if account is None:
        raise never_opened(account_id)
    return account


def check_email(email: str) -> None:
    if email and (len(email) > MAX_EMAIL_LENGTH or not email.isprintable() or not _EMAIL.fullmatch(email)):
        raise RefusedInput(f"the e-mail address must be of the form name@host, {MAX_EMAIL_LENGTH} characters at most")


def set_email(system: System, account_id: str, email: str) -> None:
    """Where the account's owner is told things; "" for nowhere. The ledger may not have heard of the account yet."""
    is_it, now = accounts.c.id == account_id, datetime.now(UTC)
    for _ in range(2):
        with system.ledger.begin() as connection:
            if connection.execute(update(accounts).where(is_it).values(email=email)).rowcount:
                return
        try:
            with system.ledger.begin() as connection:
                row = {"id": account_id, "first_seen_at": now, "last_seen_at": now, "email": email}
                connection.execute(insert(accounts).values(row))
                return
        except IntegrityError:  # The worker was quicker.
            continue


def email_of(system: System, account_id: str) -> str:
    with system.ledger.connect() as connection:
        found = connection.execute(select(accounts.c.email).where(accounts.c.id == account_id)).scalar_one_or_none()
    return found or ""


def _set_status(system: System, by: By, action: str, account_id: str, status: str, *, needs_reason: bool) -> None:
    opened(system, account_id)

    def act() -> None:
        if isinstance(system.runner.run(acts.set_status(system.keys.account(account_id), status)), Unknown):
            raise never_opened(account_id)
        system.nudge(account_id)

    def look() -> dict[str, Any]:
        return {"status": opened(system, account_id).status}

    once(system, by, action, of_account(account_id), look, act, needs_reason=needs_reason)


def _terms(system: System, account_id: str) -> dict[str, Any]:
    account = system.runner.run(calls.peek(system.keys.account(account_id)))
    if account is None:
        return {}
    # The address itself is personal, and rows of the log are for good.
    has_email = bool(email_of(system, account_id))
    return {"tier": account.tier, "zone": account.zone, "has_email": has_email}
