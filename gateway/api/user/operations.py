"""`/api/operations`: paying for what a backend does itself. Reserve, do it, then commit or cancel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from gateway.accounts import operations
from gateway.api import shown
from gateway.api.callers import Caller
from gateway.api.control import ControlOf
from gateway.api.models import Answer, Input, Metadata, Words, metadata_text
from gateway.api.problems import problems
from gateway.api.user.sessions import Session
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.principal import Principal
from gateway.proxy.client_ip import client_ip
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused

router = APIRouter(tags=["operations"], route_class=RepeatableRoute)

Name = Annotated[str, Path(max_length=64, description="An operation of the config, such as create_website.")]
Reservation = Annotated[str, Path(max_length=100, description="As `reserve` answered it.")]


class ReserveInput(Input):
    purpose: Words = ""
    metadata: Metadata = None


class ReservedAnswer(Answer):
    reservation: str
    operation: str
    amount: int = Field(description="Units that are held; 0 for an operation that is free.")
    remaining: int = Field(description="Units that the next call can draw on.")
    expires_at: datetime = Field(description="When the hold ends by itself, if it is neither committed nor cancelled.")


class CommittedAnswer(Answer):
    reservation: str
    operation: str
    charged: int
    written_off: int = Field(description="After its end only: the part that the balance did not cover any more.")
    remaining: int


class CancelledAnswer(Answer):
    reservation: str
    operation: str
    remaining: int


@router.post(
    "/api/operations/{name}/reserve",
    response_model=ReservedAnswer,
    responses=problems(402, 409),
    summary="Hold the price of an operation",
)
def reserve(
    name: Name,
    caller: Caller,
    control: ControlOf,
    id: WriteId,
    session: Session,
    request: Request,
    told: ReserveInput | None = None,
) -> dict[str, Any]:
    """Holds what the operation costs, or nothing. Commit it when the operation is done, cancel it when it failed."""
    _check(caller, name)
    ip = client_ip(request.scope, control.config.trusted_proxies)
    told = told or ReserveInput()
    held = operations.reserve(
        control.system, caller, id, name, purpose=told.purpose, metadata=metadata_text(told.metadata), ip=ip,
        session=session,
    )  # fmt: skip
    return {
        "reservation": held.reservation, "operation": name, "amount": held.amount, "remaining": held.left,
        "expires_at": shown.instant(held.expires_at_ms),
    }  # fmt: skip


@router.post(
    "/api/operations/{name}/{reservation}/commit",
    response_model=CommittedAnswer,
    responses=problems(409),
    summary="Charge what was held",
)
def commit(name: Name, reservation: Reservation, caller: Caller, control: ControlOf) -> dict[str, Any]:
    """Charges what was held, once: a repeat gives the same answer. A hold that has ended by itself is charged too."""
    _check(caller, name)
    charged = operations.commit(control.system, caller.account, name, reservation)
    control.gate.settled()
    return {
        "reservation": charged.reservation, "operation": name, "charged": charged.charged,
        "written_off": charged.written_off, "remaining": charged.left,
    }  # fmt: skip


@router.post(
    "/api/operations/{name}/{reservation}/cancel",
    response_model=CancelledAnswer,
    responses=problems(409),
    summary="Give back what was held",
)
def cancel(name: Name, reservation: Reservation, caller: Caller, control: ControlOf) -> dict[str, Any]:
    """Gives back what was held, once: a repeat gives the same answer."""
    _check(caller, name)
    left = operations.cancel(control.system, caller.account, name, reservation)
    control.gate.settled()
    return {"reservation": reservation, "operation": name, "remaining": left}


def _check(caller: Principal, operation: str) -> None:
    if not caller.may(operation):
        raise CallRefused(INSUFFICIENT_SCOPE)
