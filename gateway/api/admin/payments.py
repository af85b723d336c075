"""`/api/admin/payments`: what was ordered and paid, and what operators decide about it. Each act is a row of the audit
log, under the request's own id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field, StrictInt, StringConstraints

from gateway.accounts.system import System
from gateway.api import shown
from gateway.api.admin.common import OfAccount, ReadsPayments, WritesPayments, by
from gateway.api.control import ProvidersOf, SystemOf
from gateway.api.models import Answer, Cursor, Input, Limit, Page, Reason, Since, Until, Words
from gateway.api.problems import problems
from gateway.api.user.payments import MoneyAnswer, OrderId, PaymentAnswer, State, answer_of, money
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.money import MAX_MINOR, Money
from gateway.domain.order import Order
from gateway.payments import books, differences, listing, polling, refunds, review

router = APIRouter(prefix="/api/admin/payments", tags=["admin: payments"], route_class=RepeatableRoute)

Method = Annotated[Literal["qris", "va", "link"] | None, Query(description="Only those paid by it.")]
ProviderName = Annotated[Literal["xendit", "stripe"] | None, Query(description="Only this provider's.")]
Search = Annotated[Words | None, Query(description="The id, ours or the provider's.")]


class AdminPaymentAnswer(PaymentAnswer):
    account: str
    provider: str
    provider_id: str | None = Field(description="The provider's own id; null until it has answered.")
    subscription: str | None
    period: int | None
    note: str = Field(description="Why it was refused, or what is to be reviewed.")
    updated_at: datetime


class StepAnswer(Answer):
    number: int
    at: datetime
    state_before: str = Field(description="Empty before the first one.")
    state: str
    cause: str = Field(examples=["webhook payment.capture", "poll", "admin:olga"])
    note: str


class MoneyCameAnswer(Answer):
    """Money that the provider has."""

    id: str = Field(description="The provider's.")
    money: MoneyAnswer
    channel: str
    paid_at: datetime | None
    seen_at: datetime
    counted: bool = Field(description="Whether the payment is credited for it: of one payment only once.")


class RefundAnswer(Answer):
    id: str
    payment: str = Field(description="The provider's id of what was paid.")
    money: MoneyAnswer
    amount: int = Field(description="Units that were taken from the account for it.")
    state: str
    actor: str
    reason: str
    note: str
    created_at: datetime
    updated_at: datetime


class EventAnswer(Answer):
    """A webhook."""

    event: str
    received_at: datetime
    times: int
    outcome: str
    note: str


class WholePaymentAnswer(AdminPaymentAnswer):
    steps: list[StepAnswer]
    payments: list[MoneyCameAnswer]
    refunds: list[RefundAnswer]
    events: list[EventAnswer]


class TotalAnswer(Answer):
    name: str = Field(description="A day, a method or a state.")
    count: int
    money: MoneyAnswer


class Totals(Answer):
    items: list[TotalAnswer]


class DifferenceAnswer(Answer):
    id: str
    kind: str = Field(examples=["paid_twice"])
    provider: str
    order: str | None
    payment: str | None
    note: str = Field(description="What the two say.")
    found_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None


class Resolution(Input):
    id: Annotated[Words, StringConstraints(min_length=1)]
    reason: Reason


class Decision(Input):
    decision: Literal["credit", "refund", "dismiss"]
    reason: Reason


class RefundInput(Input):
    amount_minor: Annotated[StrictInt, Field(ge=1, le=MAX_MINOR)] | None = Field(
        None, description="In minor units of its currency; left out: what was not used of it, at its price."
    )
    reason: Reason


@router.get("", response_model=Page[AdminPaymentAnswer], responses=problems(), summary="List payments")
def list_payments(
    admin: ReadsPayments,
    system: SystemOf,
    state: State = None,
    method: Method = None,
    provider: ProviderName = None,
    account: OfAccount = None,
    since: Since = None,
    until: Until = None,
    q: Search = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Newest first, as they were heard of last."""
    found = listing.listed(
        system.ledger, state=state, method=method, provider=provider, account=account, since=shown.aware(since),
        until=shown.aware(until), q=q, cursor=cursor, limit=limit,
    )  # fmt: skip
    return {"items": [_seen(order) for order in found.items], "next_cursor": found.next_cursor}


@router.get("/totals", response_model=Totals, responses=problems(), summary="Payments summed up")
def read_totals(
    admin: ReadsPayments,
    system: SystemOf,
    by: Annotated[Literal["day", "method", "state"], Query(description="What they are summed up by.")] = "day",
    since: Since = None,
    until: Until = None,
) -> dict[str, Any]:
    """How many and how much, each currency by itself."""
    found = listing.totals(system, by, since=shown.aware(since), until=shown.aware(until))
    return {"items": [{"name": each.name, "count": each.count, "money": money(each.money)} for each in found]}


@router.get(
    "/differences", response_model=Page[DifferenceAnswer], responses=problems(),
    summary="Where the provider's books and ours differ",
)  # fmt: skip
def list_differences(
    admin: ReadsPayments,
    system: SystemOf,
    resolved: Annotated[bool, Query(description="Those that somebody has looked at.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Newest first. The daily comparison finds them, and so does whatever hears of a second payment."""
    found = differences.listed(system.ledger, resolved=resolved, cursor=cursor, limit=limit)
    return {"items": [_difference(row) for row in found.items], "next_cursor": found.next_cursor}


@router.post("/differences/resolve", response_model=DifferenceAnswer, responses=problems(409), summary="Resolve one")
def resolve(body: Resolution, admin: WritesPayments, id: WriteId, system: SystemOf) -> dict[str, Any]:
    """Says that somebody has looked at it and done what was to be done. Nothing else changes."""
    return _difference(differences.resolve(system, by(admin, id, body.reason), body.id))


@router.get("/{id}", response_model=WholePaymentAnswer, responses=problems(), summary="One payment, whole")
def read_payment(id: OrderId, admin: ReadsPayments, system: SystemOf) -> dict[str, Any]:
    """With every step, payment, refund and webhook of it."""
    return _whole(system, books.find(system.ledger, id))


@router.post("/{id}/check", response_model=AdminPaymentAnswer, responses=problems(409), summary="Ask the provider now")
def check(
    id: OrderId, admin: WritesPayments, write: WriteId, system: SystemOf, providers: ProvidersOf
) -> dict[str, Any]:
    """Whatever its state, and what follows from the answer is done."""
    return _seen(polling.check(system, providers, by(admin, write), books.find(system.ledger, id)))


@router.post("/{id}/review", response_model=AdminPaymentAnswer, responses=problems(409), summary="Decide a review")
def decide(
    id: OrderId, body: Decision, admin: WritesPayments, write: WriteId, system: SystemOf, providers: ProvidersOf
) -> dict[str, Any]:
    """`credit`: the account gets what was ordered, whatever came. `refund`: the money goes back, and nothing is
    credited. `dismiss`: neither."""
    order = books.find(system.ledger, id)
    return _seen(review.decide(system, providers, by(admin, write, body.reason), order, body.decision))


@router.post("/{id}/refund", response_model=WholePaymentAnswer, responses=problems(409), summary="Give money back")
def refund(
    id: OrderId, body: RefundInput, admin: WritesPayments, write: WriteId, system: SystemOf, providers: ProvidersOf
) -> dict[str, Any]:
    """Takes back what is left of what was bought, then asks the provider to send the money."""
    order = books.find(system.ledger, id)
    amount = None if body.amount_minor is None else Money(body.amount_minor, order.price.currency)
    refunds.refund(system, providers, by(admin, write, body.reason), order, amount)
    return _whole(system, books.find(system.ledger, id))


def _seen(order: Order) -> dict[str, Any]:
    """An order as operators see it."""
    return answer_of(order) | {
        "account": order.account, "provider": order.provider, "provider_id": order.provider_id or None,
        "subscription": order.subscription or None, "period": order.period or None, "note": order.note,
        "updated_at": order.updated_at,
    }  # fmt: skip


def _whole(system: System, order: Order) -> dict[str, Any]:
    found = listing.whole(system.ledger, order)
    return _seen(order) | {
        "steps": found.steps,
        "payments": [row | {"money": _amount(row)} for row in map(dict, found.payments)],
        "refunds": [row | {"money": _amount(row), "amount": row["units"]} for row in map(dict, found.refunds)],
        "events": found.events,
    }


def _amount(row: Mapping[str, Any]) -> dict[str, Any]:
    return money(Money(row["amount"], row["currency"]))


def _difference(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {name: row[name] or None for name in ("order", "payment", "resolved_by")}
