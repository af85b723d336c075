"""What the ledger knows: entries, calls, sums, what operators did, and the whole story of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from gateway.accounts import audit, explain
from gateway.accounts.explain import NoSuchReservation
from gateway.accounts.system import look_up
from gateway.api.admin.common import Account, OfAccount, ReadsLedger
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Limit, Page, Since, Until, Words
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute
from gateway.domain.errors import NotFound, RefusedInput
from gateway.domain.event import KINDS
from gateway.ledger import history, listings, paging
from gateway.ledger.history import Sums

router = APIRouter(prefix="/api/admin", tags=["ledger"], route_class=RepeatableRoute)

Operation = Annotated[Words | None, Query(description="Only of this operation.")]
Model = Annotated[Words | None, Query(description="Only of this model.")]
Kind = Annotated[str | None, Query(json_schema_extra={"enum": sorted(KINDS)}, description="Only of this kind.")]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$"), Query(examples=["2026-11-01"])]


class EntryAnswer(Answer):
    id: str
    account: str
    kind: str
    bucket: str = Field(examples=["day:2026-11-20"])
    amount: int = Field(description="Signed.")
    operation: str
    reservation: str | None
    reason: str | None
    at: datetime


class CallAnswer(Answer):
    id: str
    reservation: str
    account: str
    outcome: str = Field(description="settled, released, lost, corrected or reported.")
    operation: str
    model: str
    route: str
    api_key: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    reported_tokens: int
    total_tokens: int
    audio_ms: int
    images: int
    cost: int
    written_off: int
    estimated: bool
    status: int
    price_version: str
    session: str
    purpose: str
    latency_ms: int
    started_at: datetime
    at: datetime


class SumsAnswer(Answer):
    name: str = Field(description="A local day, a model or an operation; empty for the whole.")
    requests: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    reported_tokens: int
    total_tokens: int
    audio_ms: int
    images: int
    cost: int
    written_off: int


class UsageAnswer(Answer):
    account: str
    first_day: str
    last_day: str
    total: SumsAnswer
    by_day: list[SumsAnswer]
    by_model: list[SumsAnswer] = Field(description="Dearest first.")
    by_operation: list[SumsAnswer]


class ActAnswer(Answer):
    id: str
    at: datetime
    actor: str = Field(examples=["admin:alice"])
    action: str = Field(examples=["account.suspend"])
    target: str = Field(examples=["account:bob"])
    reason: str
    before: dict[str, Any]
    after: dict[str, Any]


class ExplanationAnswer(Answer):
    """The story of a call. What has no known end yet, or is forgotten, is null."""

    reservation: str
    account: str
    tier: str
    state: str = Field(description="open, settled, released or expired.")
    hold: dict[str, Any] | None
    ended: dict[str, Any] | None
    events: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    grants: list[dict[str, Any]] = Field(description="Those that paid for it, each with what it was made for.")
    waiting: list[dict[str, Any]] = Field(description="Events that are not in the ledger yet.")
    price_version: str
    price_in_force: bool
    price: dict[str, Any] | None
    audit: list[dict[str, Any]]


@router.get(
    "/account/transactions",
    response_model=Page[EntryAnswer],
    responses=problems(),
    summary="An account's ledger entries",
)
def account_transactions(
    account: Account,
    admin: ReadsLedger,
    system: SystemOf,
    kind: Kind = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[EntryAnswer]:
    """Newest first. An account that the ledger has not heard of has none."""
    return _entries(system, account, kind, operation, since, until, cursor, limit)


@router.get("/ledger", response_model=Page[EntryAnswer], responses=problems(), summary="Ledger entries")
def list_entries(
    account: Account,
    admin: ReadsLedger,
    system: SystemOf,
    kind: Kind = None,
    operation: Operation = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[EntryAnswer]:
    """Of one account, newest first: the ledger is kept account by account."""
    return _entries(system, account, kind, operation, since, until, cursor, limit)


@router.get("/account/usage", response_model=UsageAnswer, responses=problems(), summary="An account's usage, summed up")
def account_usage(account: Account, admin: ReadsLedger, system: SystemOf, first_day: Day, last_day: Day) -> UsageAnswer:
    """From one of its local days to another, both included: by day, by model, by operation."""
    for day in (first_day, last_day):
        _check_day(day)
    found = history.breakdown(system.ledger, look_up(account), first_day, last_day)
    return UsageAnswer(
        account=account,
        first_day=first_day,
        last_day=last_day,
        total=_sums(found.total),
        by_day=[_sums(sums) for sums in found.by_day],
        by_model=[_sums(sums) for sums in found.by_model],
        by_operation=[_sums(sums) for sums in found.by_operation],
    )


@router.get("/usage", response_model=Page[CallAnswer], responses=problems(), summary="Calls")
def list_calls(
    admin: ReadsLedger,
    system: SystemOf,
    account: OfAccount = None,
    operation: Operation = None,
    model: Model = None,
    since: Since = None,
    until: Until = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[CallAnswer]:
    """Of one account or of all, newest first."""
    found = history.calls(
        system.ledger, account,
        since=since, until=until, operation=operation, model=model, cursor=cursor, limit=limit,
    )  # fmt: skip
    return Page[CallAnswer](items=[_call(row) for row in found.items], next_cursor=found.next_cursor)


@router.get("/audit", response_model=Page[ActAnswer], responses=problems(), summary="What operators did")
def list_acts(
    admin: ReadsLedger,
    system: SystemOf,
    target: Annotated[Words | None, Query(description='Such as "account:bob".')] = None,
    actor: Annotated[Words | None, Query(description='Such as "admin:alice" or "cli:root".')] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[ActAnswer]:
    """Newest first, with what each act was about before and after it."""
    found = listings.audit(system.ledger, target=target, actor=actor, cursor=cursor, limit=limit)
    return Page[ActAnswer](items=[_act(row) for row in found.items], next_cursor=found.next_cursor)


@router.get(
    "/explain/{reservation:path}", response_model=ExplanationAnswer, responses=problems(), summary="Explain a call"
)
def explain_call(
    reservation: Annotated[str, Path(min_length=1, max_length=100, examples=["19a9e2c4f10-0b6b5e2b1c-3f"])],
    admin: ReadsLedger,
    system: SystemOf,
) -> ExplanationAnswer:
    """The whole story of a reservation: its hold or its end, its events and entries, its price line by line, and what
    operators did to it."""
    try:
        found = explain.explain(system, reservation)
    except NoSuchReservation as error:
        raise NotFound(str(error)) from None
    return ExplanationAnswer(**found.as_json())


def _entries(
    system: SystemOf,
    account: str,
    kind: str | None,
    operation: str | None,
    since: datetime | None,
    until: datetime | None,
    cursor: str | None,
    limit: int,
) -> Page[EntryAnswer]:
    if kind is not None and kind not in KINDS:
        raise RefusedInput(f"kind: {kind!r} is none of {', '.join(sorted(KINDS))}")
    found: paging.Page = history.transactions(
        system.ledger, account, kind=kind, since=since, until=until, operation=operation, cursor=cursor, limit=limit
    )
    return Page[EntryAnswer](items=[_entry(row) for row in found.items], next_cursor=found.next_cursor)


def _check_day(text: str) -> None:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise RefusedInput(f"{text} is no day of the calendar") from None


def _entry(row: Mapping[str, Any]) -> EntryAnswer:
    return EntryAnswer(
        id=row["id"], account=row["account"], kind=row["kind"], bucket=row["bucket"], amount=row["amount"],
        operation=row["operation"], reservation=row["reservation_id"], reason=row["reason"], at=row["occurred_at"],
    )  # fmt: skip


_SAME: Sequence[str] = (
    "id", "account", "outcome", "operation", "model", "route", "input_tokens", "cached_tokens", "cache_write_tokens",
    "output_tokens", "reasoning_tokens", "reported_tokens", "total_tokens", "audio_ms", "images", "cost", "written_off",
    "estimated", "status", "price_version", "session", "purpose", "latency_ms", "started_at",
)  # fmt: skip


def _call(row: Mapping[str, Any]) -> CallAnswer:
    same = {name: row[name] for name in _SAME}
    return CallAnswer(
        **same, reservation=row["reservation_id"], api_key=row["key_prefix"], at=row["occurred_at"]
    )  # fmt: skip


def _sums(sums: Sums) -> SumsAnswer:
    return SumsAnswer(**{name: getattr(sums, name) for name in SumsAnswer.model_fields})


def _act(row: Mapping[str, Any]) -> ActAnswer:
    noted = audit.read(row)
    return ActAnswer(
        id=noted.id, at=noted.occurred_at, actor=noted.actor, action=noted.action, target=noted.target,
        reason=noted.reason, before=dict(noted.before), after=dict(noted.after),
    )  # fmt: skip
