"""`/api/chat/token`: how many units there are, and the use of some at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from gateway.accounts.overview import overview
from gateway.accounts.spending import spend
from gateway.api import shown
from gateway.api.callers import Caller
from gateway.api.control import Control, ControlOf, SystemOf
from gateway.api.models import Answer, Input, Metadata, SomeUnits, Words, metadata_text
from gateway.api.problems import problems
from gateway.api.user.sessions import Session
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.acts import UseLine
from gateway.domain.operation import TOKEN_USE
from gateway.domain.principal import Principal
from gateway.proxy.client_ip import client_ip
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused
from gateway.store.acts import MAX_LINES

router = APIRouter(tags=["tokens"], route_class=RepeatableRoute)


class TokensAnswer(Answer):
    remaining: int = Field(description="Units that the next call can draw on.")
    limit: int = Field(
        description="What `remaining` is a part of: what the running periods opened with, and what the grants that "
        "have something left were given."
    )
    held: int = Field(description="Units that calls under way hold.")
    resets_at: datetime | None
    low: bool
    unit: str
    decimals: int = Field(description="Places after the point, when amounts are shown to people.")
    topup_url: str | None = Field(description="Where the account is topped up; null: nowhere.")


class LineInput(Input):
    amount: SomeUnits = 1
    purpose: Words = ""
    metadata: Metadata = None


class LinesInput(Input):
    lines: Annotated[list[LineInput], Field(min_length=1, max_length=MAX_LINES)]


class UseAnswer(Answer):
    id: str = Field(description="Of this use, as the ledger knows it.")
    used: int
    remaining: int
    resets_at: datetime | None
    low: bool


@router.get("/api/chat/token", response_model=TokensAnswer, responses=problems(), summary="What is left")
def read_tokens(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """What the caller has left. An account that nobody called from yet has what its first call opens it with."""
    found = overview(system, caller)
    return {
        "remaining": found.left, "limit": found.limit, "held": found.account.held, "low": found.is_low,
        "resets_at": shown.instant(found.resets_at_ms), "unit": system.config.unit, "decimals": system.config.decimals,
        "topup_url": system.config.payments.topup_url_of(caller.account) or None,
    }  # fmt: skip


@router.post(
    "/api/chat/token/use", response_model=UseAnswer, responses=problems(402, 409), summary="Use some units at once"
)
def use_tokens(
    use: LineInput, caller: Caller, control: ControlOf, id: WriteId, session: Session, request: Request
) -> dict[str, Any]:
    """Spends the units, or nothing. A credential with scopes needs `token_use` among them."""
    return _use(control, request, caller, id, [use], session)


@router.post(
    "/api/chat/token/use/bulk", response_model=UseAnswer, responses=problems(402, 409), summary="Use units by lines"
)
def use_tokens_by_lines(
    use: LinesInput, caller: Caller, control: ControlOf, id: WriteId, session: Session, request: Request
) -> dict[str, Any]:
    """Spends what all lines cost together, or nothing. The ledger keeps one call a line."""
    return _use(control, request, caller, id, use.lines, session)


def _use(
    control: Control, request: Request, caller: Principal, id: str, lines: Sequence[LineInput], session: str
) -> dict[str, Any]:
    if not caller.may(TOKEN_USE):
        raise CallRefused(INSUFFICIENT_SCOPE)
    ip = client_ip(request.scope, control.config.trusted_proxies)
    told = [UseLine(line.amount, line.purpose, metadata_text(line.metadata)) for line in lines]
    spent = spend(control.system, caller, id, told, operation=TOKEN_USE, ip=ip, session=session)
    control.gate.settled()
    return {
        "id": spent.id, "used": spent.before - spent.left, "remaining": spent.left, "low": spent.is_low,
        "resets_at": shown.instant(spent.resets_at_ms),
    }  # fmt: skip
