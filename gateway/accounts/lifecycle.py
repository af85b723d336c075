"""An account's course in the hands of operators: opened, moved, suspended, let call again. Each act is noted."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import select

from gateway.accounts import epoch, profile, terms
from gateway.accounts.noting import By, of_account, once
from gateway.accounts.system import System, look_up, never_opened
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.principal import is_account_id, is_license
from gateway.domain.reservation import Account, Opened, Unknown
from gateway.ledger.tables import accounts
from gateway.store import acts, calls

ACTIVE, SUSPENDED = "active", "suspended"


def create(
    system: System, by: By, account_id: str, *, tier: str | None = None, zone: str = "", email: str = ""
) -> None:
    """Opens an account, with its tier's sign-up grant. Raises RefusedInput; Conflicting when there is one."""
    if not is_account_id(account_id):
        raise RefusedInput(f"{account_id!r} is no account id: 1-200 printable characters without white space")
    _check_no_license(account_id)
    chosen = terms.tier_named(system, tier or system.config.default_tier)
    terms.check_zone(zone)
    check_email(email)

    def act() -> None:
        key, remember_ms = system.keys.account(account_id), system.config.remember_ms
        opened = system.runner.run(calls.open_account(key, chosen, zone=zone, id=by.id, remember_ms=remember_ms))
        if opened.how == "exists":
            raise Conflicting(f"there is an account {account_id} already, on tier {opened.tier}")
        if email:
            profile.set_email(system, account_id, email)
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
) -> Opened | None:
    """Puts an account on another tier, in another zone, or gives it another address; what is None stays.
    `zone`, `email`: "" for its tier's, and for none. Returns where it was put, if it was.

    Raises RefusedInput, NotFound.
    """
    _check_no_license(account_id)
    opened(system, account_id)
    if tier is not None:
        terms.tier_named(system, tier)
    terms.check_zone(zone or "")
    check_email(email or "")
    put: list[Opened] = []

    def act() -> None:
        if tier is not None or zone is not None:
            put.append(terms.move(system, account_id, tier=tier, zone=zone))
        if email is not None:
            profile.set_email(system, account_id, email)

    once(system, by, "account.change", of_account(account_id), partial(_terms, system, account_id), act)
    return put[0] if put else None


def suspend(system: System, by: By, account_id: str) -> None:
    """Refuses the account's calls from now on; those under way end as they would. Raises RefusedInput, NotFound."""
    _set_status(system, by, "account.suspend", account_id, SUSPENDED, needs_reason=True)


def resume(system: System, by: By, account_id: str) -> None:
    """Lets an account call again. Raises RefusedInput, NotFound."""
    _set_status(system, by, "account.resume", account_id, ACTIVE, needs_reason=False)


def opened(system: System, account_id: str) -> Account:
    """An account that is open, as it stands in Redis. Raises NotFound; StoreUnready when Redis must be restored."""
    account = system.runner.run(calls.peek(system.keys.account(look_up(account_id))))
    if account is None:
        epoch.check_known(system, account_id)
        raise never_opened(account_id)
    return account


def check_email(email: str) -> None:
    """Raises RefusedInput for what is neither an address nor empty."""
    if email and (fault := profile.email_fault(email)) is not None:
        raise RefusedInput(f"the e-mail address {fault}")


def email_of(system: System, account_id: str) -> str:
    with system.ledger.connect() as connection:
        found = connection.execute(select(accounts.c.email).where(accounts.c.id == account_id)).scalar_one_or_none()
    return found or ""


def _set_status(system: System, by: By, action: str, account_id: str, status: str, *, needs_reason: bool) -> None:
    _check_no_license(account_id)
    opened(system, account_id)

    def act() -> None:
        if isinstance(system.runner.run(acts.set_status(system.keys.account(account_id), status)), Unknown):
            raise never_opened(account_id)
        system.nudge(account_id)

    def look() -> dict[str, Any]:
        return {"status": opened(system, account_id).status}

    once(system, by, action, of_account(account_id), look, act, needs_reason=needs_reason)


def _check_no_license(account_id: str) -> None:
    """A license has a record beside its account, and acts of its own that keep the two alike."""
    if is_license(account_id):
        raise RefusedInput(f"{account_id} is a license's account: use what there is for licenses")


def _terms(system: System, account_id: str) -> dict[str, Any]:
    account = system.runner.run(calls.peek(system.keys.account(account_id)))
    if account is None:
        return {}
    # The address itself is personal, and rows of the log are for good.
    has_email = bool(email_of(system, account_id))
    return {"tier": account.tier, "zone": account.zone, "has_email": has_email}
