"""`/api/admin/subscriptions`: who subscribes to what, what happened to it, and an end to it."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from gateway.accounts.noting import of_account, once
from gateway.accounts.system import System
from gateway.api.admin.common import OfAccount, ReadsPayments, WritesPayments, by
from gateway.api.control import ProvidersOf, SystemOf
from gateway.api.models import Answer, Cursor, Input, Limit, Page, Reason, Words
from gateway.api.problems import problems
from gateway.api.user.payments import PaymentAnswer, answer_of
from gateway.api.user.subscriptions import SubscriptionAnswer, When, provider_of, shown_of
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.subscription import STATES, Subscription
from gateway.payments import renewals
from gateway.subscriptions import rows

router = APIRouter(prefix="/api/admin/subscriptions", tags=["admin: payments"], route_class=RepeatableRoute)

Id = Annotated[
    str, Path(pattern="^sub_[0-9a-z]{20}$", description="The subscription's id.", examples=["sub_0123456789abcdefghjk"])
]
State = Annotated[
    str | None, Query(description=f"Only in this state: {', '.join(STATES)}.", pattern=f"^({'|'.join(STATES)})$")
]
PlanName = Annotated[Words | None, Query(description="Only of this plan.")]


class AdminSubscriptionAnswer(SubscriptionAnswer):
    account: str
    method: str = Field(description="How its owner pays.")
    channel: str
    anchor: str | None = Field(description="The local date that its periods go by.", examples=["2026-01-31"])
    zone: str
    updated_at: datetime


class SubscriptionStepAnswer(Answer):
    number: int
    at: datetime
    act: str = Field(examples=["began", "overdue", "canceled"])
    cause: str = Field(examples=["user", "order:ord_0123456789abcdefghjk", "clock", "admin:olga"])
    note: str


class WholeSubscriptionAnswer(AdminSubscriptionAnswer):
    steps: list[SubscriptionStepAnswer]
    payments: list[PaymentAnswer] = Field(description="All that were ever made for it, the newest first.")


class CancelSubscription(Input):
    at: When = "end"
    reason: Reason


@router.get("", response_model=Page[AdminSubscriptionAnswer], responses=problems(), summary="Subscriptions")
def list_subscriptions(
    admin: ReadsPayments,
    system: SystemOf,
    account: OfAccount = None,
    state: State = None,
    plan: PlanName = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Newest first."""
    page = rows.listed(system.ledger, account=account, state=state, plan=plan, cursor=cursor, limit=limit)
    return {"items": [_shown(rows.read(row)) for row in page.items], "next_cursor": page.next_cursor}


@router.get("/{id}", response_model=WholeSubscriptionAnswer, responses=problems(), summary="One subscription")
def read_subscription(id: Id, admin: ReadsPayments, system: SystemOf) -> dict[str, Any]:
    """With every step, who made it, and every payment."""
    return _whole(system, id)


@router.post(
    "/{id}/cancel", response_model=WholeSubscriptionAnswer, responses=problems(409), summary="Cancel a subscription"
)
def cancel(
    id: Id, how: CancelSubscription, admin: WritesPayments, write: WriteId, system: SystemOf, providers: ProvidersOf
) -> dict[str, Any]:
    """With the period that is paid, or at once: its account then loses the tier and what is left of the allowance.
    Money goes back by a refund of its payment."""
    it = rows.find(system.ledger, id)
    act = partial(
        renewals.cancel, system, provider_of(providers), id, at_once=how.at == "now", cause=admin.name, note=how.reason
    )
    look = partial(_state, system, id)
    once(system, by(admin, write, how.reason), "subscription.cancel", of_account(it.account), look, act)
    return _whole(system, id)


def _state(system: System, id: str) -> dict[str, Any]:
    it = rows.find(system.ledger, id)
    return {"subscription": it.id, "state": it.state, "cancel_at_end": it.cancel_at_end}


def _whole(system: System, id: str) -> dict[str, Any]:
    it = rows.find(system.ledger, id)
    return _shown(it) | {
        "steps": [step._asdict() for step in rows.steps(system.ledger, id)],
        "payments": [answer_of(order) for order in renewals.orders_of(system, it)],
    }


def _shown(it: Subscription) -> dict[str, Any]:
    return shown_of(it) | {
        "account": it.account, "method": it.method, "channel": it.channel, "anchor": it.anchor or None,
        "zone": it.zone, "updated_at": it.updated_at,
    }  # fmt: skip
