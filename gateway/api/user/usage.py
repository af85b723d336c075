"""`/api/usage`: what the caller used, by its local days, and session by session."""

from __future__ import annotations

import json
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.accounts.overview import overview
from gateway.accounts.system import System
from gateway.api.callers import Caller
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Limit, Page
from gateway.api.problems import problems
from gateway.domain.errors import NotFound
from gateway.domain.principal import Principal
from gateway.domain.schedule import schedule
from gateway.ledger import history
from gateway.ledger.history import Breakdown, Sums

router = APIRouter(tags=["usage"])


class TokensAnswer(Answer):
    total: int
    input: int
    cached: int = Field(description="Of the input: read from the provider's cache.")
    cache_write: int = Field(description="Of the input: written to the provider's cache.")
    output: int
    reasoning: int = Field(description="Of the output.")
    reported: int = Field(description="Reported from outside without saying of which kind.")


class SumsAnswer(Answer):
    requests: int
    tokens: TokensAnswer
    cost: int = Field(description="Units of balance.")
    audio_ms: int
    images: int


class NamedSumsAnswer(SumsAnswer):
    name: str = Field(description="The local day, the model or the operation.")


class UsageAnswer(Answer):
    first_day: str = Field(description="In the account's own zone, such as 2026-11-20.")
    last_day: str
    total: SumsAnswer
    by_day: list[NamedSumsAnswer] = Field(description="Days without a call are left out.")
    by_model: list[NamedSumsAnswer] = Field(description="Dearest first.")
    by_operation: list[NamedSumsAnswer] = Field(description="Dearest first.")


class CallAnswer(Answer):
    id: str
    at: datetime
    operation: str
    model: str
    outcome: str
    tokens: TokensAnswer
    cost: int
    purpose: str
    metadata: dict[str, Any] | None


class SessionAnswer(Answer):
    session: str
    first_at: datetime
    last_at: datetime
    total: SumsAnswer
    calls: Page[CallAnswer]


Month = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="Such as 2026-11; the running one when it is left out."),
]
QueriedSession = Annotated[str, Query(max_length=200, description="As calls named it in X-Session-Id.")]
SessionName = Annotated[str, Path(max_length=200, description="As calls named it in X-Session-Id.")]


@router.get("/api/usage/today", response_model=UsageAnswer, responses=problems(), summary="Usage of the local day")
def read_today(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """What was used on the account's local day, as far as the ledger has heard: it is seconds behind."""
    today = _today(system, caller)
    return _usage(history.breakdown(system.ledger, caller.account, today, today), today, today)


@router.get("/api/usage/month", response_model=UsageAnswer, responses=problems(), summary="Usage of a month")
def read_month(caller: Caller, system: SystemOf, month: Month = None) -> dict[str, Any]:
    """What was used in a calendar month of the account's local days."""
    named = month or _today(system, caller)[:7]
    year, number = map(int, named.split("-"))
    first, last = f"{named}-01", f"{named}-{monthrange(year, number)[1]}"
    return _usage(history.breakdown(system.ledger, caller.account, first, last), first, last)


@router.get(
    "/api/usage/sessions/{session}", response_model=SessionAnswer, responses=problems(), summary="Usage of a session"
)
def read_session(
    session: SessionName, caller: Caller, system: SystemOf, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """Totals of a session of the caller's own, and its calls, newest first."""
    return _session(system, caller, session, cursor, limit)


@router.get(
    "/api/usage/sessions", response_model=SessionAnswer, responses=problems(), summary="Usage of a session by query"
)
def read_session_by_query(
    caller: Caller, system: SystemOf, id: QueriedSession, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """The same, for a session whose name no path may hold: one with a slash or a percent sign in it."""
    return _session(system, caller, id, cursor, limit)


def _session(system: System, caller: Principal, session: str, cursor: str | None, limit: int) -> dict[str, Any]:
    if not session.isprintable() or not session:
        raise NotFound("there is no such session")
    found = history.session(system.ledger, caller.account, session, cursor=cursor, limit=limit)
    if found.first_at is None:
        raise NotFound(f"there is no session {session}")
    return {
        "session": session,
        "first_at": found.first_at,
        "last_at": found.last_at,
        "total": _sums(found.total),
        "calls": {"items": [_call(row) for row in found.calls.items], "next_cursor": found.calls.next_cursor},
    }


def _today(system: System, caller: Principal) -> str:
    found = overview(system, caller)
    return schedule(found.tier, found.account.now_ms, found.account.zone).day.id


def _usage(found: Breakdown, first_day: str, last_day: str) -> dict[str, Any]:
    return {
        "first_day": first_day,
        "last_day": last_day,
        "total": _sums(found.total),
        "by_day": _named(found.by_day),
        "by_model": _named(found.by_model),
        "by_operation": _named(found.by_operation),
    }


def _named(groups: Sequence[Sums]) -> list[dict[str, Any]]:
    return [{"name": sums.name} | _sums(sums) for sums in groups]


def _sums(sums: Sums) -> dict[str, Any]:
    tokens = {
        "total": sums.total_tokens, "input": sums.input_tokens, "cached": sums.cached_tokens,
        "cache_write": sums.cache_write_tokens, "output": sums.output_tokens, "reasoning": sums.reasoning_tokens,
        "reported": sums.reported_tokens,
    }  # fmt: skip
    return {
        "requests": sums.requests, "tokens": tokens, "cost": sums.cost, "audio_ms": sums.audio_ms,
        "images": sums.images,
    }  # fmt: skip


def _call(row: Mapping[str, Any]) -> dict[str, Any]:
    tokens = {
        "total": row["total_tokens"], "input": row["input_tokens"], "cached": row["cached_tokens"],
        "cache_write": row["cache_write_tokens"], "output": row["output_tokens"],
        "reasoning": row["reasoning_tokens"], "reported": row["reported_tokens"],
    }  # fmt: skip
    return {
        "id": row["id"], "at": row["occurred_at"], "operation": row["operation"], "model": row["model"],
        "outcome": row["outcome"], "tokens": tokens, "cost": row["cost"], "purpose": row["purpose"],
        "metadata": json.loads(row["details"]) if row["details"] else None,
    }  # fmt: skip
