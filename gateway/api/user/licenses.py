"""`/api/user/license-keys`: one's own licenses: what they have left, one use, what they were used for.

A license is named in the path by its whole key or by its public prefix: who may use it is whoever owns it, not whoever
knows it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import Field

from gateway.accounts import license_uses, licenses
from gateway.accounts.license_uses import NotUsable, PastUse
from gateway.accounts.licenses import License
from gateway.api.callers import Caller
from gateway.api.control import ControlOf, SystemOf
from gateway.api.models import Answer, Cursor, Input, Limit, Metadata, Page, Words, metadata_text
from gateway.api.problems import problems
from gateway.api.user.sessions import Session
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.operation import LICENSE_USE
from gateway.proxy.client_ip import client_ip
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused, Refusal

router = APIRouter(tags=["licenses"], route_class=RepeatableRoute)

Status = Literal["active", "trial", "inactive", "expired", "suspended", "revoked"]
Key = Annotated[str, Path(min_length=1, max_length=100, description="The license's key, or its public prefix.")]


class UseInput(Input):
    purpose: Words = ""
    metadata: Metadata = None


class UseData(Answer):
    license_key: str = Field(description="As the request named it.")
    previous_balance: int
    new_balance: int
    tokens_used: int


class LicenseUseAnswer(Answer):
    success: bool
    message: str
    data: UseData


class LicenseAnswer(Answer):
    prefix: str = Field(description="The public beginning of its key.")
    owner: str
    name: str
    trial: bool
    status: Status = Field(description="`inactive`: nothing is left; a top-up makes it active again.")
    left: int
    held: int = Field(description="By calls under way.")
    used: int
    created_at: datetime
    expires_at: datetime | None


class PastUseAnswer(Answer):
    id: str
    at: datetime
    operation: str = Field(description="`license_use`, or that of a governed call which showed the key.")
    purpose: str
    metadata: dict[str, Any] | None
    session: str
    tokens_used: int


@router.post(
    "/api/user/license-keys/{key}/use-token",
    response_model=LicenseUseAnswer,
    responses=problems(402, 409),
    summary="Use one unit of a license",
)
def use_token(
    key: Key,
    caller: Caller,
    control: ControlOf,
    request: Request,
    id: WriteId,
    session: Session,
    body: UseInput | None = None,
) -> dict[str, Any]:
    """Exactly one unit a request, of a license that the caller owns. One that cannot be used is refused: 403
    `license_expired`, `license_suspended` or `license_revoked`; at 0 `license_inactive`, with the status of an
    exhausted balance. Another's license is not found, as one that does not exist. A credential with scopes needs
    `license_use` among them."""
    if not caller.may(LICENSE_USE):
        raise CallRefused(INSUFFICIENT_SCOPE)
    said = body or UseInput()
    try:
        used = license_uses.use(
            control.system,
            key,
            caller.account,
            id=id,
            purpose=said.purpose,
            metadata=metadata_text(said.metadata),
            session=session,
            ip=client_ip(request.scope, control.config.trusted_proxies),
        )
    except NotUsable as error:
        raise CallRefused(_refusal(error, control.config.exhausted_status)) from None
    control.gate.settled()
    return {
        "success": True,
        "message": "Token used successfully",
        "data": {
            "license_key": key,
            "previous_balance": used.previous_balance,
            "new_balance": used.new_balance,
            "tokens_used": 1,
        },
    }


@router.get(
    "/api/user/license-keys", response_model=Page[LicenseAnswer], responses=problems(), summary="One's licenses"
)
def list_licenses(caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Those the caller owns, newest first, each with what it has left."""
    page = licenses.of_owner(system, caller.account, cursor, limit)
    return {"items": [answer_of(license) for license in page.items], "next_cursor": page.next_cursor}


@router.get(
    "/api/user/license-keys/{key}/usage",
    response_model=Page[PastUseAnswer],
    responses=problems(),
    summary="What a license was used for",
)
def read_usage(key: Key, caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
    """Newest first, as far as the ledger has heard: a use shows within about a second."""
    page = license_uses.history(system, key, owner=caller.account, cursor=cursor, limit=limit)
    return {"items": [past_use_of(use) for use in page.items], "next_cursor": page.next_cursor}


def answer_of(license: License) -> dict[str, Any]:
    return {
        "prefix": license.prefix, "owner": license.owner, "name": license.name, "trial": license.trial,
        "status": license.status, "left": license.left, "held": license.held, "used": license.spent,
        "created_at": license.created_at, "expires_at": license.expires_at,
    }  # fmt: skip


def past_use_of(use: PastUse) -> dict[str, Any]:
    return {
        "id": use.id, "at": use.at, "operation": use.operation, "purpose": use.purpose, "metadata": use.metadata,
        "session": use.session, "tokens_used": use.used,
    }  # fmt: skip


def _refusal(error: NotUsable, exhausted_status: int) -> Refusal:
    status = exhausted_status if error.why == "inactive" else 403
    return Refusal(status, f"license_{error.why}", str(error))
