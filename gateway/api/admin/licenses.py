"""`/api/admin/licenses`: licenses made, looked at and changed by operators. Each change is a row of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, StrictBool, StringConstraints

from gateway.accounts import license_uses, licenses, new_licenses
from gateway.api.callers import Actor, needs
from gateway.api.control import SystemOf
from gateway.api.models import AccountId, Cursor, GrantId, Input, Instant, Limit, Page, Reason, SomeUnits, Units, Words
from gateway.api.problems import problems
from gateway.api.user.licenses import Key, LicenseAnswer, PastUseAnswer, Status, answer_of, past_use_of
from gateway.api.writes import RepeatableRoute, WriteId

router = APIRouter(prefix="/api/admin/licenses", tags=["admin: licenses"], route_class=RepeatableRoute)

Reader = Annotated[Actor, needs("accounts:read")]
Writer = Annotated[Actor, needs("licenses:write")]
Expiry = Annotated[Instant | None, Field(description="An instant with its zone; null: never.")]


class CreateInput(Input):
    owner: AccountId
    amount: Units
    name: Annotated[Words, StringConstraints(max_length=new_licenses.MAX_NAME_LENGTH)] = ""
    trial: StrictBool = False
    expires_at: Expiry = None
    reason: Reason | None = None


class ReasonInput(Input):
    reason: Reason | None = None


class TransferInput(ReasonInput):
    owner: AccountId


class ExpiryInput(ReasonInput):
    expires_at: Expiry


class TopUpInput(Input):
    amount: SomeUnits
    reason: Reason
    grant_id: GrantId | None = Field(None, description="It credits once by this; left out: once by request.")


class CreatedAnswer(LicenseAnswer):
    key: str = Field(description="The whole key. It is shown once, and kept nowhere.")


@router.post("", response_model=CreatedAnswer, status_code=201, responses=problems(409), summary="Make a license")
def create(body: CreateInput, admin: Writer, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """The key is shown once. A repeat with the same `Idempotency-Key` shows its public prefix for as long as answers
    are kept, and is a conflict afterwards."""
    made = new_licenses.create(
        system,
        body.owner,
        amount=body.amount,
        id=id,
        actor=admin.name,
        name=body.name,
        trial=body.trial,
        expires_at=body.expires_at,
        reason=body.reason or "",
    )
    return answer_of(made.license) | {"key": made.key}


@router.get("", response_model=Page[LicenseAnswer], responses=problems(), summary="Licenses")
def list_licenses(
    admin: Reader,
    system: SystemOf,
    owner: Annotated[AccountId | None, Query()] = None,
    status: Annotated[Status | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Newest first. By status a page may be short, or empty, and still have a next one."""
    page = licenses.listed(system, owner=owner, status=status, cursor=cursor, limit=limit)
    return {"items": [answer_of(license) for license in page.items], "next_cursor": page.next_cursor}


@router.get("/{key}", response_model=LicenseAnswer, responses=problems(), summary="One license")
def read(key: Key, admin: Reader, system: SystemOf) -> dict[str, Any]:
    """By its prefix, with what it has left and why it may not be used, if so."""
    return answer_of(licenses.find(system, key))


@router.get("/{key}/usage", response_model=Page[PastUseAnswer], responses=problems(), summary="Its uses")
def read_usage(key: Key, admin: Reader, system: SystemOf, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Newest first, each with what the caller said of it."""
    page = license_uses.history(system, key, cursor=cursor, limit=limit)
    return {"items": [past_use_of(use) for use in page.items], "next_cursor": page.next_cursor}


@router.post("/{key}/top-up", response_model=LicenseAnswer, responses=problems(409), summary="Put more on it")
def top_up(key: Key, body: TopUpInput, admin: Writer, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Credits once by the grant's id, or by the request's `Idempotency-Key`."""
    grant_id = body.grant_id or id
    topped = licenses.top_up(system, key, body.amount, grant_id=grant_id, reason=body.reason, actor=admin.name)
    return answer_of(topped)


@router.post("/{key}/transfer", response_model=LicenseAnswer, responses=problems(409), summary="Give it to another")
def transfer(key: Key, body: TransferInput, admin: Writer, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Its key stays the same: whoever was shown it can still call governed routes with it."""
    reason = body.reason or ""
    return answer_of(licenses.transfer(system, key, body.owner, id=id, actor=admin.name, reason=reason))


@router.post("/{key}/suspend", response_model=LicenseAnswer, responses=problems(409), summary="Suspend it")
def suspend(key: Key, admin: Writer, system: SystemOf, id: WriteId, body: ReasonInput | None = None) -> dict[str, Any]:
    """It cannot be used until the suspension is ended; what it has stays on it."""
    return answer_of(licenses.suspend(system, key, id=id, actor=admin.name, reason=_reason(body)))


@router.post("/{key}/resume", response_model=LicenseAnswer, responses=problems(409), summary="End a suspension")
def resume(key: Key, admin: Writer, system: SystemOf, id: WriteId, body: ReasonInput | None = None) -> dict[str, Any]:
    """It can be used again, unless it has expired, is empty or is revoked."""
    return answer_of(licenses.resume(system, key, id=id, actor=admin.name, reason=_reason(body)))


@router.post("/{key}/revoke", response_model=LicenseAnswer, responses=problems(), summary="Revoke it for good")
def revoke(key: Key, admin: Writer, system: SystemOf, id: WriteId, body: ReasonInput | None = None) -> dict[str, Any]:
    """It can never be used again. This cannot be undone."""
    return answer_of(licenses.revoke(system, key, id=id, actor=admin.name, reason=_reason(body)))


@router.put("/{key}/expiry", response_model=LicenseAnswer, responses=problems(409), summary="Set when it expires")
def set_expiry(key: Key, body: ExpiryInput, admin: Writer, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Another instant, or none: it never expires."""
    expires_at: datetime | None = body.expires_at
    return answer_of(licenses.set_expiry(system, key, expires_at, id=id, actor=admin.name, reason=body.reason or ""))


def _reason(body: ReasonInput | None) -> str:
    return (body.reason if body is not None else None) or ""
