"""All that is known of one account, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from gateway.accounts import api_keys, balances, holds
from gateway.accounts.api_keys import ApiKey
from gateway.accounts.system import System
from gateway.domain.balance import Balance
from gateway.ledger.tables import accounts
from gateway.store.reservations import OpenHold

#: An account with more open holds has them listed elsewhere.
SOME_HOLDS = 100


@dataclass(frozen=True, slots=True)
class AccountView:
    #: As it stands in Redis.
    balance: Balance
    #: The oldest leases first, no more than SOME_HOLDS.
    holds: tuple[OpenHold, ...]
    #: Revoked ones too.
    keys: tuple[ApiKey, ...]
    email: str
    #: As far as the ledger has heard of the account; None: not yet.
    recorded: Recorded | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An account's totals in the ledger. What still waits in its inbox is not in them."""

    granted: int
    spent: int
    used_tokens: int
    requests: int
    first_seen_at: datetime
    last_seen_at: datetime


def view(system: System, account_id: str) -> AccountView:
    """Raises NotFound."""
    balance = balances.read(system, account_id)
    with system.ledger.connect() as connection:
        row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    recorded = None
    if row is not None:
        recorded = Recorded(
            row.granted, row.spent, row.used_tokens, row.requests, row.first_seen_at, row.last_seen_at
        )  # fmt: skip
    return AccountView(
        balance=balance,
        holds=tuple(holds.open_holds(system, account_id, SOME_HOLDS)) if balance.account.held else (),
        keys=tuple(api_keys.listed(system, account_id)),
        email="" if row is None else row.email,
        recorded=recorded,
    )
