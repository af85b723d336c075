"""What is known of the person behind an account: an e-mail address, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.ledger import bulk
from gateway.ledger.tables import accounts
from gateway.store import calls

MAX_EMAIL_LENGTH = 320


def set_email(system: System, account: str, email: str) -> None:
    """Where the account's owner is told things; "" for nowhere.

    Raises RefusedInput for what is no address, and an unknown account.
    """
    fault = email_fault(email) if email else None
    if fault:
        raise RefusedInput(f"the e-mail address {fault}")
    if system.runner.run(calls.peek(system.keys.account(look_up(account)))) is None:
        raise RefusedInput(f"there is no account {account}; its first call opens it, or a key, or a grant")
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        write_emails(connection, {account: email})


def email_fault(text: str) -> str | None:
    """What is wrong with an address; None: mail can be sent there, as far as its form tells."""
    local, at, domain = text.rpartition("@")
    if len(text) > MAX_EMAIL_LENGTH:
        return f"is longer than {MAX_EMAIL_LENGTH} characters"
    # Mail programs read "=?utf-8?q?x=40example.com=2C?=" as another address beside this one.
    if not text.isprintable() or any(c.isspace() or c in '<>,;:"()[]\\' for c in text) or "=?" in text:
        return "has a character that no address has"
    if not at or not local or "@" in local or not domain or "" in domain.split(".") or ".." in text:
        return "must be as in name@example.com"
    return None


def write_emails(connection: Connection, emails: Mapping[str, str]) -> None:
    """Writes many addresses. An account whose opening is still on its way to the ledger gets its row here."""
    now = datetime.now(UTC)
    bulk.add_up(connection, accounts, [_row(id, emails[id], now) for id in sorted(emails)], {"email": "excluded.email"})


def _row(id: str, email: str, now: datetime) -> bulk.Row:
    """A row of an account of which nothing else is known; it is what its events say that counts."""
    known: dict[str, Any] = {"id": id, "email": email, "status": "active", "first_seen_at": now, "last_seen_at": now}
    zero = {"used_tokens": 0, "requests": 0, "granted": 0, "spent": 0}
    return tuple((known | zero).get(column.name) for column in accounts.columns)
