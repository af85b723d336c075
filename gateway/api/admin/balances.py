"""What accounts are given and what is taken from them: corrections, grants; and their limits for a while."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field, StrictInt, StringConstraints

from gateway.accounts import corrections
from gateway.accounts.balances import MAX_PRIORITY
from gateway.accounts.corrections import GrantTerms
from gateway.api.admin.accounts import AccountAnswer, account_answer
from gateway.api.admin.common import Account, ReadsAccounts, WritesAccounts, WritesCredits, by
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Input, Instant, Reason, SomeUnits
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.tier import MAX_UNITS

router = APIRouter(prefix="/api/admin/account", tags=["admin: credits"], route_class=RepeatableRoute)

GrantKind = Literal["TOP_UP", "ADJUSTMENT", "REWARD", "REFERRAL"]
GrantId = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Adjustment(Input):
    amount: Annotated[StrictInt, Field(ge=-MAX_UNITS, le=MAX_UNITS)] = Field(
        description="What is given, or taken when it is negative; not 0.", examples=[-250]
    )
    reason: Reason


class NewGrant(Input):
    grant_id: GrantId | None = Field(None, description="Unique within the account for good; made, when it is left out.")
    amount: SomeUnits
    reason: Reason
    kind: GrantKind = "TOP_UP"
    priority: Annotated[StrictInt, Field(ge=0, le=MAX_PRIORITY)] = Field(0, description="The lowest is drawn on first.")
    expires_at: Instant | None = None


class Void(Input):
    reason: Reason


class NewOverride(Input):
    factor: Annotated[str, StringConstraints(max_length=20)] = Field(examples=["2x", "1.5", "1/2"])
    until: Instant
    reason: Reason | None = None


class Credited(Answer):
    account: str
    amount: int
    left: int = Field(description="What calls can draw on now.")


class GrantedAnswer(Credited):
    grant_id: str


class Voided(Answer):
    account: str
    grant_id: str
    amount: int = Field(description="What the grant still had.")


class GrantAnswer(Answer):
    id: str
    kind: str
    amount: int
    left: int = Field(description="Left and held together, as far as the ledger has heard.")
    reason: str
    priority: int
    expires_at: datetime | None
    granted_at: datetime
    voided_at: datetime | None
    cause: str | None = Field(description="Such as `order:ord_…`; null: an operator made it, or the sign-up.")


class Grants(Answer):
    items: list[GrantAnswer]


@router.post("/adjust", response_model=Credited, responses=problems(409), summary="Correct a balance")
def adjust(account: Account, change: Adjustment, admin: WritesCredits, id: WriteId, system: SystemOf) -> Credited:
    """Gives units, as a grant of the kind ADJUSTMENT, or takes them from what is free, in the usual burn order. When
    less is free than is to be taken, nothing is."""
    left = corrections.adjust(system, by(admin, id, change.reason), account, change.amount)
    return Credited(account=account, amount=change.amount, left=left)


@router.post("/grants", status_code=201, response_model=GrantedAnswer, responses=problems(409), summary="Grant units")
def create_grant(account: Account, new: NewGrant, admin: WritesCredits, id: WriteId, system: SystemOf) -> GrantedAnswer:
    """Credits an account once by the grant's id. An unknown account is opened on the default tier first."""
    terms = GrantTerms(new.grant_id or id, new.amount, new.kind, new.priority, new.expires_at)
    left = corrections.grant(system, by(admin, id, new.reason), account, terms)
    return GrantedAnswer(account=account, grant_id=terms.id, amount=new.amount, left=left)


@router.get("/grants", response_model=Grants, responses=problems(), summary="List an account's grants")
def list_grants(account: Account, admin: ReadsAccounts, system: SystemOf) -> Grants:
    """From the ledger, newest first, with what each has left."""
    found = corrections.granted(system, account)
    return Grants(
        items=[
            GrantAnswer(
                id=grant.id, kind=grant.kind, amount=grant.amount, left=grant.left, reason=grant.reason,
                priority=grant.priority, expires_at=grant.expires_at, granted_at=grant.granted_at,
                voided_at=grant.voided_at, cause=grant.cause,
            )
            for grant in found
        ]
    )  # fmt: skip


@router.post("/grants/void", response_model=Voided, responses=problems(409), summary="Take a grant back")
def void_grant(
    account: Account,
    grant: Annotated[GrantId, Query(description="The grant's id.")],
    why: Void,
    admin: WritesCredits,
    id: WriteId,
    system: SystemOf,
) -> Voided:
    """What it has left is gone; what open calls hold of it is theirs, and lapses when they give it back."""
    amount = corrections.void(system, by(admin, id, why.reason), account, grant)
    return Voided(account=account, grant_id=grant, amount=amount)


@router.put("/override", response_model=AccountAnswer, responses=problems(409), summary="Stretch or narrow limits")
def set_override(
    account: Account, new: NewOverride, admin: WritesAccounts, id: WriteId, system: SystemOf
) -> AccountAnswer:
    """Multiplies the account's own rate and concurrency limits until then. Its balance stays as it is."""
    corrections.override(system, by(admin, id, new.reason), account, new.factor, new.until.isoformat())
    return account_answer(system, account)


@router.delete("/override", response_model=AccountAnswer, responses=problems(409), summary="End an override")
def end_override(account: Account, admin: WritesAccounts, id: WriteId, system: SystemOf) -> AccountAnswer:
    """Its limits are what its tier says again."""
    corrections.end_override(system, by(admin, id), account)
    return account_answer(system, account)
