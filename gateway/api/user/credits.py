"""`/api/credits`: what the caller has beside the tier's allowances, and the grants behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.accounts.corrections import GrantShown, grant_shown
from gateway.accounts.credits import LiveGrant, credits_of
from gateway.accounts.system import System
from gateway.api import shown
from gateway.api.callers import Caller
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Limit, Page, Words
from gateway.api.problems import problems
from gateway.api.user.billing import TransactionAnswer, transaction
from gateway.domain.principal import Principal
from gateway.ledger import credits as rows

router = APIRouter(tags=["credits"])


class LifetimeCreditsAnswer(Answer):
    bought: int
    given: int = Field(description="At the sign-up, as rewards, for referrals.")
    subscription: int = Field(description="Allowances of plans.")
    adjusted: int = Field(description="By operators; negative when they took more than they gave.")
    used: int
    expired: int
    refunded: int = Field(description="Taken back because the money for them went back.")


class GrantOfCredits(Answer):
    id: str
    kind: str | None = Field(description="TOP_UP was bought; null: the ledger has not heard of it yet.")
    amount: int
    left: int
    priority: int = Field(description="The lowest is drawn on first; among equals, that which expires first.")
    expires_at: datetime | None
    cause: str | None = Field(description="Such as `order:ord_…`; null: an operator made it, or the sign-up.")


class CreditsAnswer(Answer):
    account: str
    unit: str
    decimals: int
    left: int
    held: int = Field(description="By calls under way; of a period that has ended since, too.")
    lifetime: LifetimeCreditsAnswer = Field(description="As far as the ledger has heard: it is seconds behind.")
    grants: list[GrantOfCredits] = Field(description="Those that have something left, as calls draw on them.")
    topup_url: str | None = Field(description="Where the account is topped up; null: nowhere.")


class PastGrantAnswer(GrantOfCredits):
    left: int = Field(description="Left and held together, as far as the ledger has heard.")
    reason: str
    granted_at: datetime
    voided_at: datetime | None


InPath = Annotated[str, Path(max_length=200, description="The grant's id.")]
InQuery = Annotated[Words, Query(description="The grant's id.")]


@router.get("/api/credits", response_model=CreditsAnswer, responses=problems(), summary="Credits, and where they went")
def read_credits(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """What the account has beside its tier's allowances, what it ever gained and lost, and each grant that has
    something left."""
    found = credits_of(system, caller)
    return {
        "account": caller.account, "unit": system.config.unit, "decimals": system.config.decimals,
        "left": found.left, "held": found.held, "lifetime": asdict(found.lifetime),
        "grants": [_live(grant) for grant in found.grants],
        "topup_url": system.config.payments.topup_url_of(caller.account) or None,
    }  # fmt: skip


@router.get(
    "/api/credits/grants", response_model=Page[PastGrantAnswer], responses=problems(), summary="Grants, newest first"
)
def list_grants(caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Every grant the account ever had, used up or not."""
    found = rows.some_grants(system.ledger, caller.account, cursor=cursor, limit=limit)
    return {"items": [_past(grant_shown(row)) for row in found.items], "next_cursor": found.next_cursor}


@router.get(
    "/api/credits/grants/{grant}/entries",
    response_model=Page[TransactionAnswer],
    responses=problems(),
    summary="What a grant paid for",
)
def list_entries(
    grant: InPath, caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """Line by line, newest first: what the grant was made with, each call that it paid for, and how it ended."""
    return _entries(system, caller, grant, cursor, limit)


@router.get(
    "/api/credits/entries",
    response_model=Page[TransactionAnswer],
    responses=problems(),
    summary="What a grant paid for, by query",
)
def list_entries_by_query(
    grant: InQuery, caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """The same, for a grant whose id no path may hold: one with a slash or a percent sign in it."""
    return _entries(system, caller, grant, cursor, limit)


def _entries(system: System, caller: Principal, grant: str, cursor: str | None, limit: int) -> dict[str, Any]:
    found = rows.entries(system.ledger, caller.account, grant, cursor=cursor, limit=limit)
    return {"items": [transaction(row) for row in found.items], "next_cursor": found.next_cursor}


def _live(grant: LiveGrant) -> dict[str, Any]:
    bucket = grant.bucket
    return {
        "id": bucket.id, "kind": grant.kind, "amount": bucket.amount, "left": bucket.left,
        "priority": bucket.priority, "expires_at": shown.instant(bucket.ends_at_ms), "cause": grant.cause,
    }  # fmt: skip


def _past(grant: GrantShown) -> Mapping[str, Any]:
    return asdict(grant)
