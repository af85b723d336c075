"""What the endpoints of operators share.

An account is named in the query, `?account=ID`: an id may hold a slash, dots or a percent sign, which have no place in
a path that two readers must read alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from gateway.accounts.noting import By
from gateway.api.callers import Actor, needs
from gateway.api.models import AccountId

#: The account that a request is about.
Account = Annotated[AccountId, Query(alias="account", description="The account's id.", examples=["alice@example.com"])]
#: The account whose part of a list is wanted.
OfAccount = Annotated[AccountId | None, Query(alias="account", description="Only of this account.")]

ReadsAccounts = Annotated[Actor, needs("accounts:read")]
WritesAccounts = Annotated[Actor, needs("accounts:write")]
WritesCredits = Annotated[Actor, needs("credits:write")]
WritesKeys = Annotated[Actor, needs("keys:write")]
ReadsLedger = Annotated[Actor, needs("ledger:read")]
ReadsPayments = Annotated[Actor, needs("payments:read")]
WritesPayments = Annotated[Actor, needs("payments:write")]
ReadsSystem = Annotated[Actor, needs("system:read")]
WritesSystem = Annotated[Actor, needs("system:write")]


def by(actor: Actor, id: str, reason: str | None = None) -> By:
    return By(id, actor.name, reason or "")


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
