"""Open holds: what calls under way have set aside. Listed, and given back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from gateway.accounts import holds
from gateway.accounts.noting import noted
from gateway.api.admin.common import OfAccount, ReadsAccounts, WritesCredits, at
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Input, Limit, Page, Reason
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.errors import Conflicting, NotFound
from gateway.ledger.paging import decode, encode
from gateway.store import reservations
from gateway.store.reservations import OpenHold, Place

router = APIRouter(prefix="/api/admin", tags=["holds"], route_class=RepeatableRoute)

#: As gateways and acts make them.
Reservation = Annotated[str, Path(pattern="^[A-Za-z0-9._:-]{1,100}$", examples=["19a9e2c4f10-0b6b5e2b1c-3f"])]


class Part(Answer):
    bucket: str = Field(examples=["day:2026-11-20"])
    amount: int


class HoldAnswer(Answer):
    reservation: str
    account: str
    amount: int
    first_amount: int
    parts: list[Part]
    operation: str
    model: str
    route: str
    api_key: str = Field(description="The prefix of the key that the call came with.")
    price_version: str
    opened_at: datetime
    lease_until: datetime
    on_lost: str = Field(description="What its expiry charges: charge_counted, charge_hold or release.")
    counted: int = Field(description="Units that its gateway has counted so far.")


class Release(Input):
    reason: Reason


class Released(Answer):
    reservation: str
    account: str
    amount: int = Field(description="Units that went back.")


@router.get("/holds", response_model=Page[HoldAnswer], responses=problems(), summary="List open holds")
def list_holds(
    admin: ReadsAccounts, system: SystemOf, account: OfAccount = None, cursor: Cursor = None, limit: Limit = 100
) -> Page[HoldAnswer]:
    """Oldest lease first. One that is renewed meanwhile moves to the end, and may be seen twice."""
    after = None if cursor is None else Place(*decode(cursor, (int, str)))
    found = holds.open_holds(system, account, limit, after)
    following = encode(found[-1].place) if len(found) == limit else None
    return Page[HoldAnswer](items=[hold_answer(hold) for hold in found], next_cursor=following)


@router.post(
    "/holds/{reservation}/release", response_model=Released, responses=problems(409), summary="Give a hold back"
)
def release_hold(
    reservation: Reservation, why: Release, admin: WritesCredits, id: WriteId, system: SystemOf
) -> Released:
    """All of it goes back to the buckets it came from. A call that still runs ends without a charge."""
    known = noted(system, f"hold.release:{reservation}")
    if known is not None:
        return Released(reservation=reservation, account=known.before["account"], amount=known.before["amount"])
    hold, ended = reservations.find(system.redis, system.keys, reservation)
    if ended is not None:
        raise Conflicting(f"reservation {reservation} has ended: {ended.how}")
    if hold is None:
        raise NotFound(f"there is no open hold {reservation}")
    given_back = holds.release(system, reservation, admin.name, why.reason)
    return Released(reservation=reservation, account=given_back.account, amount=given_back.amount)


def hold_answer(hold: OpenHold) -> HoldAnswer:
    return HoldAnswer(
        reservation=hold.id,
        account=hold.account,
        amount=hold.amount,
        first_amount=hold.first_amount,
        parts=[Part(bucket=bucket, amount=amount) for bucket, amount in hold.parts],
        operation=hold.operation,
        model=hold.model,
        route=hold.route,
        api_key=hold.key,
        price_version=hold.price_version,
        opened_at=at(hold.opened_at_ms),
        lease_until=at(hold.lease_until_ms),
        on_lost=hold.on_lost,
        counted=hold.counted,
    )
