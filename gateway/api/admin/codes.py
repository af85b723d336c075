"""Redemption codes, made and looked at by operators; and rewards that they give to one account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import Field, StrictInt, StringConstraints

from gateway.api.admin.common import Account, by
from gateway.api.callers import Actor, needs
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Input, Instant, Limit, Page, Reason, SomeUnits, Words
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.rewards import batches, one_offs, words
from gateway.rewards.batches import MAX_CODES, MAX_DAYS, MAX_USES, Batch, BatchTerms

router = APIRouter(prefix="/api/admin", tags=["admin: rewards"], route_class=RepeatableRoute)

Reader = Annotated[Actor, needs("rewards:read")]
Writer = Annotated[Actor, needs("rewards:write")]
BatchId = Annotated[str, Path(max_length=64, examples=["batch_0f3c5d9a7b21e4c68f90aa13"])]
Uses = Annotated[StrictInt, Field(ge=1, le=MAX_USES)]


class NewBatch(Input):
    name: Annotated[Words, StringConstraints(min_length=1, max_length=100)] = Field(description="For people.")
    amount: SomeUnits
    count: Annotated[StrictInt, Field(ge=1, le=MAX_CODES)] = Field(1, description="How many codes are made up.")
    code: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="The one code, in place of those.", examples=["WELCOME2026"]
    )
    max_uses: Uses = Field(1, description="How often each code can be redeemed.")
    per_account: Uses = Field(1, description="How often by one account.")
    valid_days: Annotated[StrictInt, Field(ge=0, le=MAX_DAYS)] = Field(
        0, description="What was redeemed lapses so many days later; 0: never."
    )
    expires_at: Instant | None = Field(None, description="Until when the codes are taken; null: for ever.")
    reason: Reason | None = None


class WhyInput(Input):
    reason: Reason | None = None


class BatchAnswer(Answer):
    id: str
    name: str
    amount: int
    codes: int = Field(description="How many there are.")
    uses: int = Field(description="How often they were redeemed, all together.")
    max_uses: int
    per_account: int
    valid_days: int
    expires_at: datetime | None
    created_at: datetime
    actor: str = Field(description="Who made them.", examples=["admin:alice"])
    voided_at: datetime | None


class CodeAnswer(Answer):
    code: str = Field(examples=["7H3K-9M2P-X4QD-0RTW"])
    uses: int


class RedemptionAnswer(Answer):
    account: str
    number: int = Field(description="Of this account's, from 1 on.")
    grant_id: str
    at: datetime


class FoundCodeAnswer(CodeAnswer):
    batch: BatchAnswer
    redemptions: Page[RedemptionAnswer] = Field(description="Newest first.")


class RewardAnswer(Answer):
    account: str
    reward: str
    amount: int


@router.post(
    "/codes/batches", response_model=BatchAnswer, status_code=201, responses=problems(409), summary="Make codes"
)
def create_batch(new: NewBatch, admin: Writer, id: WriteId, system: SystemOf) -> dict[str, Any]:
    """Up to 100,000 codes that nobody can guess, or one that you choose."""
    terms = BatchTerms(
        new.name, new.amount, new.count, new.code or "", new.max_uses, new.per_account, new.valid_days, new.expires_at
    )
    return _batch(batches.create(system, by(admin, id, new.reason), terms))


@router.get("/codes/batches", response_model=Page[BatchAnswer], responses=problems(), summary="List batches of codes")
def list_batches(admin: Reader, system: SystemOf, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Newest first."""
    found = batches.listed(system, cursor, limit)
    return {"items": [_batch(batch) for batch in found.items], "next_cursor": found.next_cursor}


@router.get("/codes/batches/{batch}", response_model=BatchAnswer, responses=problems(), summary="One batch of codes")
def read_batch(batch: BatchId, admin: Reader, system: SystemOf) -> dict[str, Any]:
    """With how often its codes were redeemed, all together."""
    return _batch(batches.find(system, batch))


@router.get(
    "/codes/batches/{batch}/codes",
    response_model=Page[CodeAnswer],
    responses=problems(),
    summary="Codes of a batch",
)
def list_codes(
    batch: BatchId, admin: Reader, system: SystemOf, cursor: Cursor = None, limit: Limit = 100
) -> dict[str, Any]:
    """In their own order, each with how often it was redeemed."""
    found = batches.codes_of(system, batch, cursor, limit)
    items = [{"code": words.grouped(code), "uses": uses} for code, uses in found.items]
    return {"items": items, "next_cursor": found.next_cursor}


@router.get(
    "/codes/batches/{batch}/export",
    response_class=StreamingResponse,
    responses=problems() | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    summary="Export a batch as CSV",
)
def export_batch(batch: BatchId, admin: Reader, system: SystemOf) -> StreamingResponse:
    """A header, then a line a code, with how often it was redeemed and can be."""
    headers = {"content-disposition": f'attachment; filename="{batches.find(system, batch).id}.csv"'}
    return StreamingResponse(batches.as_csv(system, batch), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(
    "/codes/batches/{batch}/void", response_model=BatchAnswer, responses=problems(409), summary="Void a batch of codes"
)
def void_batch(
    batch: BatchId,
    admin: Writer,
    id: WriteId,
    system: SystemOf,
    why: WhyInput | None = None,
) -> dict[str, Any]:
    """Its codes are taken no more, for good. What was redeemed stays with whoever has it."""
    return _batch(batches.void(system, by(admin, id, why.reason if why else None), batch))


@router.get("/codes/{code}", response_model=FoundCodeAnswer, responses=problems(), summary="One code")
def read_code(
    code: Annotated[str, Path(max_length=100, examples=["WELCOME2026"])],
    admin: Reader,
    system: SystemOf,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """However it is written; with its batch, and who has redeemed it when."""
    found = batches.look_up(system, code, cursor, limit)
    redeemed = [
        {
            "account": row["account"], "number": row["number"], "at": row["at"],
            "grant_id": f"code:{found.code}:{row['number']}",
        }
        for row in found.redemptions.items
    ]  # fmt: skip
    return {
        "code": words.grouped(found.code), "uses": found.uses, "batch": _batch(found.batch),
        "redemptions": {"items": redeemed, "next_cursor": found.redemptions.next_cursor},
    }  # fmt: skip


@router.post(
    "/account/rewards", response_model=RewardAnswer, status_code=201, responses=problems(409), summary="Give a reward"
)
def give_reward(
    account: Account,
    reward: Annotated[Words, Query(description="By its name in the config.")],
    admin: Writer,
    id: WriteId,
    system: SystemOf,
    why: WhyInput | None = None,
) -> RewardAnswer:
    """Gives what `[rewards.once]` has under this name, once however often it is asked for. An unknown account is
    opened."""
    amount = one_offs.give(system, by(admin, id, why.reason if why else None), account, reward)
    return RewardAnswer(account=account, reward=reward, amount=amount)


def _batch(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id, "name": batch.name, "amount": batch.amount, "codes": batch.codes, "uses": batch.uses,
        "max_uses": batch.max_uses, "per_account": batch.per_account, "valid_days": batch.valid_days,
        "expires_at": batch.expires_at, "created_at": batch.created_at, "actor": batch.actor,
        "voided_at": batch.voided_at,
    }  # fmt: skip
