"""An account's subscription as people look at it: what runs, what is left of it, what is to be paid and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.accounts import epoch
from gateway.accounts.system import System
from gateway.domain.money import Money
from gateway.domain.order import Order
from gateway.domain.subscription import ACTIVE, Subscription
from gateway.payments import renewals
from gateway.store import calls
from gateway.subscriptions import applying


@dataclass(frozen=True, slots=True)
class ToPay:
    """A period that is to be paid."""

    period: int
    plan: str
    #: None: the config has the plan no more.
    price: Money | None
    #: Until when, so that nothing is lost; None: whenever its owner likes.
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Current:
    """A subscription, and what belongs to it now. Units are the smallest ones of balances."""

    subscription: Subscription
    #: Of its account as it is, whoever has put it there.
    tier: str
    #: What the running period was given, and what is left of it.
    allowance: int
    allowance_left: int
    #: None: nothing is to be paid.
    to_pay: ToPay | None
    #: Those that can be paid, the newest first: for a period, and for a dearer plan.
    open_orders: tuple[Order, ...]


def current(system: System, account: str) -> Current:
    """An account's subscription, the last one where none lives. Periods that have begun by now have. Raises NotFound
    where there never was one, StoreUnavailable."""
    it = renewals.standing(system, account)
    known = system.runner.run(calls.peek(system.keys.account(account), now_ms=system.script_ms))
    if known is None:
        epoch.check_known(system, account)
    given = applying.grants(system, it) if it.state == ACTIVE else {}
    buckets = () if known is None else known.buckets
    return Current(
        it,
        system.config.first_tier(account) if known is None else known.tier,
        sum(given.values()),
        sum(bucket.left for bucket in buckets if bucket.id in given),
        _to_pay(system, it),
        tuple(renewals.open_orders(system, it)),
    )


def _to_pay(system: System, it: Subscription) -> ToPay | None:
    if not it.renews:
        return None
    plan = system.config.plans.get(it.coming_plan)
    until = it.period_ends_at if it.state == ACTIVE else it.tier_ends_at
    return ToPay(it.period + 1, it.coming_plan, None if plan is None else plan.price, until)
