"""`/api/billing`: the balance in full, and every entry behind it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from gateway.accounts.overview import overview
from gateway.api import shown
from gateway.api.callers import Caller
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Limit, Page, Since, Until, Words
from gateway.api.problems import problems
from gateway.api.shown import BucketAnswer
from gateway.domain.event import KINDS
from gateway.ledger import history

router = APIRouter(tags=["billing"])


class LifetimeAnswer(Answer):
    granted: int = Field(description="Units it was ever given, less what expired or was taken back.")
    spent: int
    used_tokens: int


class BillingBalanceAnswer(Answer):
    account: str
    tier: str
    unit: str
    decimals: int
    left: int = Field(description="Units that the next call can draw on, those of periods that are due included.")
    held: int = Field(description="Units that calls under way hold.")
    low: bool
    resets_at: datetime | None
    buckets: list[BucketAnswer]
    lifetime: LifetimeAnswer


class TransactionAnswer(Answer):
    id: str
    kind: str
    bucket: str
    amount: int = Field(description="Positive for what the account gained.")
    operation: str | None
    reason: str | None
    reservation: str | None
    at: datetime


Kind = Annotated[
    str | None, Query(description=f"Entries of this kind: {', '.join(KINDS)}.", pattern=f"^({'|'.join(KINDS)})$")
]
Operation = Annotated[Words | None, Query(description="Entries of calls of this operation.")]


@router.get(
    "/api/billing/balance", response_model=BillingBalanceAnswer, responses=problems(), summary="Balance by bucket"
)
def read_balance(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """The balance by bucket, and what the account was given and spent since it was opened."""
    found = overview(system, caller)
    account = found.account
    return {
        "account": account.id,
        "tier": found.tier.name,
        "unit": system.config.unit,
        "decimals": system.config.decimals,
        "left": found.left,
        "held": account.held,
        "low": found.is_low,
        "resets_at": shown.instant(found.resets_at_ms),
        "buckets": [shown.bucket(bucket) for bucket in found.buckets],
        "lifetime": {"granted": account.granted, "spent": account.spent, "used_tokens": account.used_tokens},
    }


@router.get(
    "/api/billing/transactions",
    response_model=Page[TransactionAnswer],
    responses=problems(),
    summary="Ledger entries, newest first",
)
def read_transactions(
    caller: Caller,
    system: SystemOf,
    kind: Kind = None,
    since: Since = None,
    until: Until = None,
    operation: Operation = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """What moved the balance. The ledger hears of a call within seconds of its end."""
    found = history.transactions(
        system.ledger, caller.account, kind=kind, since=shown.aware(since), until=shown.aware(until),
        operation=operation, cursor=cursor, limit=limit,
    )  # fmt: skip
    return {"items": [transaction(row) for row in found.items], "next_cursor": found.next_cursor}


def transaction(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `ledger_entries`, as it is shown to its account."""
    return {
        "id": row["id"], "kind": row["kind"], "bucket": row["bucket"], "amount": row["amount"],
        "operation": row["operation"] or None, "reason": row["reason"], "reservation": row["reservation_id"],
        "at": row["occurred_at"],
    }  # fmt: skip
