"""`/api/subscriptions`: a plan that an account pays for, period after period."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from gateway.accounts.system import System
from gateway.api.callers import Caller
from gateway.api.control import ProvidersOf, SystemOf
from gateway.api.models import Answer, Input
from gateway.api.problems import problems
from gateway.api.user.payments import MethodName, MoneyAnswer, Payer, PaymentAnswer, answer_of, money
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.catalog import Plan
from gateway.domain.order import FAILED, Order
from gateway.domain.subscription import STATES, Subscription
from gateway.payments import renewals
from gateway.payments.current import Current, current
from gateway.payments.provider import Provider, ProviderRefused
from gateway.payments.providers import Providers

router = APIRouter(prefix="/api/subscriptions", tags=["subscriptions"], route_class=RepeatableRoute)

PlanName = Annotated[str, StringConstraints(min_length=1, max_length=64), Field(examples=["pro"])]
Channel = Annotated[str, StringConstraints(max_length=64)]
When = Literal["end", "now"]


class PlanAnswer(Answer):
    name: str
    title: str
    tier: str = Field(description="What its accounts are on for as long as it is paid.")
    price: MoneyAnswer = Field(description="Of one period.")
    every: Literal["month", "year"]
    allowance: int = Field(description="Units that each period is paid with; they lapse when it ends.")
    grace_days: int = Field(description="So many days after an unpaid period began, the tier stays.")


class PlansAnswer(Answer):
    items: list[PlanAnswer]


class AllowanceAnswer(Answer):
    amount: int
    left: int


class ToPayAnswer(Answer):
    period: int
    plan: str
    price: MoneyAnswer | None
    until: datetime | None = Field(description="Until then nothing is lost by waiting; null: no hurry.")


class SubscriptionAnswer(Answer):
    id: str
    state: str = Field(examples=list(STATES))
    plan: str
    period: int = Field(description="The paid one that runs, or ran last; 0: none did.")
    period_starts_at: datetime | None
    period_ends_at: datetime | None
    tier_ends_at: datetime | None = Field(description="Until when the account keeps the plan's tier; paid, longer.")
    tier_after: str = Field(description="The tier that it is on then.")
    cancel_at_end: bool
    next_plan: str | None = Field(description="The plan of the next period; null: the same.")
    next_is_paid: bool
    created_at: datetime
    ended_at: datetime | None


class CurrentAnswer(SubscriptionAnswer):
    tier: str = Field(description="The account's tier as it is.")
    allowance: AllowanceAnswer = Field(description="Of the running period, as it stands.")
    to_pay: ToPayAnswer | None = Field(description="The period that is to be paid; null: none is.")
    payments: list[PaymentAnswer] = Field(description="What can be paid now: for that period, or for a dearer plan.")


class Subscribe(Input):
    plan: PlanName
    method: MethodName
    channel: Channel = Field("", description="Of `va`: the bank.")


class Pay(Input):
    method: MethodName | None = Field(None, description="From now on; left out: as before.")
    channel: Channel = ""


class Cancel(Input):
    at: When = Field("end", description="`end`: with the period that is paid. `now`: tier and allowance go at once.")


class Change(Input):
    plan: PlanName


@router.get("/plans", response_model=PlansAnswer, responses=problems(), summary="What can be subscribed to")
def read_plans(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """How plans can be paid is what `GET /api/payments/methods` says."""
    return {"items": [_plan(each) for each in system.config.plans.values()]}


@router.get("/current", response_model=CurrentAnswer, responses=problems(), summary="The account's subscription")
def read_current(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """The one that lives, or the last one; 404 when there never was one. What a period that was paid ahead gives comes
    within seconds of its beginning, and at once when this is asked for."""
    return _current(current(system, caller.account))


@router.post("", status_code=201, response_model=CurrentAnswer, responses=problems(409), summary="Subscribe to a plan")
def subscribe(
    wanted: Subscribe, caller: Payer, id: WriteId, system: SystemOf, providers: ProvidersOf
) -> dict[str, Any]:
    """It begins when the first payment of `payments` is known. One that was never paid gives way to it. A credential
    with scopes needs `payments` among them, as all writes here do."""
    providers.check(wanted.method, wanted.channel)
    _, order = renewals.subscribe(
        system, providers.for_new_orders(), caller.account, plan=wanted.plan, method=wanted.method,
        channel=wanted.channel, write_id=id,
    )  # fmt: skip
    return _with(system, caller.account, order)


@router.post("/current/pay", response_model=CurrentAnswer, responses=problems(409), summary="Pay for the next period")
def pay(caller: Payer, id: WriteId, system: SystemOf, providers: ProvidersOf, how: Pay | None = None) -> dict[str, Any]:
    """The payment that is open, or another one: for the first period, the overdue one, or the one after the one that
    runs."""
    method, channel = (None, "") if how is None else (how.method, how.channel)
    if method is not None:
        providers.check(method, channel)
    _, order = renewals.pay(
        system, providers.for_new_orders(), caller.account, method=method or "", channel=channel, write_id=id
    )
    return _with(system, caller.account, order)


@router.post("/current/cancel", response_model=CurrentAnswer, responses=problems(409), summary="Cancel")
def cancel(
    caller: Payer, id: WriteId, system: SystemOf, providers: ProvidersOf, when: Cancel | None = None
) -> dict[str, Any]:
    """What was paid is not paid back by this. One that is not paid for now ends at once in any case."""
    it = renewals.standing(system, caller.account)
    at_once = when is not None and when.at == "now"
    renewals.cancel(system, provider_of(providers), it.id, at_once=at_once, cause="user")
    return _current(current(system, caller.account))


@router.post(
    "/current/resume", response_model=CurrentAnswer, responses=problems(409), summary="Take a cancellation back"
)
def resume(caller: Payer, id: WriteId, system: SystemOf) -> dict[str, Any]:
    """For as long as the period that was paid runs."""
    renewals.resume(system, renewals.standing(system, caller.account).id)
    return _current(current(system, caller.account))


@router.post("/current/change", response_model=CurrentAnswer, responses=problems(409), summary="Change the plan")
def change(to: Change, caller: Payer, id: WriteId, system: SystemOf, providers: ProvidersOf) -> dict[str, Any]:
    """To a dearer plan of the same length as soon as the difference for the rest of the period is paid: it is among
    `payments` then. To any other with the next period. The plan that runs takes a change back."""
    _, order = renewals.change(system, providers.for_new_orders(), caller.account, plan=to.plan, write_id=id)
    return _with(system, caller.account, order)


def provider_of(providers: Providers) -> Provider | None:
    """Whom open payments are called off with; None: nothing is set up any more."""
    return providers.for_new_orders() if providers.are_set_up else None


def shown_of(it: Subscription) -> dict[str, Any]:
    """A subscription as its owner and operators see it."""
    return {
        "id": it.id, "state": it.state, "plan": it.plan, "period": it.period, "period_starts_at": it.period_starts_at,
        "period_ends_at": it.period_ends_at, "tier_ends_at": it.tier_ends_at, "tier_after": it.tier_after,
        "cancel_at_end": it.cancel_at_end, "next_plan": it.next_plan or None, "next_is_paid": bool(it.next_order),
        "created_at": it.created_at, "ended_at": it.ended_at,
    }  # fmt: skip


def _with(system: System, account: str, order: Order | None) -> dict[str, Any]:
    if order is not None and order.state == FAILED:  # A repeat is refused as the first one was.
        raise ProviderRefused(order.note)
    return _current(current(system, account))


def _current(found: Current) -> dict[str, Any]:
    due = found.to_pay
    return shown_of(found.subscription) | {
        "tier": found.tier,
        "allowance": {"amount": found.allowance, "left": found.allowance_left},
        "to_pay": None if due is None else {
            "period": due.period, "plan": due.plan, "price": None if due.price is None else money(due.price),
            "until": due.until,
        },
        "payments": [answer_of(order) for order in found.open_orders],
    }  # fmt: skip


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name, "title": plan.title, "tier": plan.tier, "price": money(plan.price), "every": plan.every,
        "allowance": plan.allowance, "grace_days": plan.grace_days,
    }  # fmt: skip
