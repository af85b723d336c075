"""The course of a subscription: paid for, begun, overdue, canceled, changed, ended. Each act moves its row, locked, and
writes a step; Redis follows (`applying`). Nothing here asks for money."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.config import Config
from gateway.domain.catalog import PLAN_PRIORITY, Plan
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.order import Order
from gateway.domain.subscription import (
    ACTIVE,
    ENDED,
    GRACE,
    PENDING,
    Subscription,
    anchor_at,
    clock_act,
    days_after,
    period_end,
)
from gateway.ledger import bulk
from gateway.ledger.sales import orders
from gateway.subscriptions import rows

CLOCK = "clock"


def paid(connection: Connection, config: Config, order: Order, now: datetime) -> list[Due] | str:
    """What an order for a subscription gives, in the transaction that makes it paid: its period begins, or will, or it
    is on the dearer plan now. A text says why the money is to be looked at by people: nothing has moved then but what
    the clock did.

    A period begins when its payment is known; in grace, when the last one ended. One that is paid ahead gives nothing
    yet: its allowance comes when it begins. Whoever pays after the end begins anew.
    """
    it = _by_clock(connection, config, rows.locked(connection, order.subscription), now)
    cause = f"order:{order.id}"
    if order.item not in config.plans:
        return f"there is no plan {order.item!r} any more"
    plan = config.plans[order.item]
    if it.state == ACTIVE and order.id == it.upgrade_order:
        return _upgraded(connection, it, plan, order, cause, now)
    if order.period != it.period + 1 or it.next_order:
        return f"period {order.period} of subscription {it.id} is paid already, or over"
    if it.state == ACTIVE:
        ends_at = _tier_ends_at(it, plan, _end(it, plan, it.period_ends_at or now))
        next_plan = "" if plan.name == it.plan else plan.name
        rows.move(
            connection, it, "paid", cause=cause, now=now, note=f"period {order.period}", next_order=order.id,
            next_plan=next_plan, tier_ends_at=ends_at,
        )  # fmt: skip
        return []
    if it.state == ENDED and (other := rows.living(connection, it.account)) is not None:
        return f"subscription {it.id} has ended, and its account has another one, {other}"
    starts_at = it.period_ends_at if it.state == GRACE and it.period_ends_at else now
    if it.state != GRACE:
        it = replace(it, anchor=anchor_at(now, it.zone, it.reset_hour).isoformat())
    it = _begin(connection, it, plan, starts_at, cause, now, anchor=it.anchor)
    return _allowance(it, order.units, cause)


def withdraw(connection: Connection, config: Config, order: Order, now: datetime) -> bool:
    """The money of an order goes back, in the transaction that says so: a period that it paid ahead does not begin.
    Returns whether it had not; one that has begun goes on."""
    it = rows.locked(connection, order.subscription)
    if it.next_order != order.id:
        return False
    if it.state == ACTIVE:
        ends_at, plan = it.period_ends_at or now, config.plans.get(it.plan)
        rows.move(
            connection, it, "refunded", cause=f"order:{order.id}", now=now, note=f"period {order.period}",
            next_order="", tier_ends_at=ends_at if plan is None else _tier_ends_at(it, plan, ends_at),
        )  # fmt: skip
    return True


def keep(connection: Connection, config: Config, order: Order, now: datetime) -> list[Due]:
    """That money stays after all: the period is paid again, unless it was paid otherwise or has ended since."""
    if _by_clock(connection, config, rows.locked(connection, order.subscription), now).state == ENDED:
        return []
    given = paid(connection, config, order, now)
    return [] if isinstance(given, str) else given


def catch_up(system: System, id: str) -> Subscription:
    """A subscription as the clock has made it by now."""
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        return _by_clock(connection, system.config, rows.locked(connection, id), now)


def cancel(system: System, id: str, *, at_once: bool, cause: str, note: str = "") -> Subscription:
    """Ends a subscription with the period that is paid, or at once: its account then loses tier and allowance. One that
    is not paid for now ends at once in any case. Canceled twice is canceled once. Raises Conflicting when it has ended.
    """
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        it = _living(connection, system.config, id, now)
        if at_once or it.state != ACTIVE:
            return _over(connection, it, now, cause, now, note)
        if it.cancel_at_end:
            return it
        ends_at = it.period_ends_at
        if it.next_order and ends_at is not None:
            ends_at = _end(it, _plan(system.config, it.coming_plan), ends_at)
        return rows.move(
            connection, it, "canceled", cause=cause, now=now, note=note, cancel_at_end=True, tier_ends_at=ends_at
        )


def resume(system: System, id: str, *, cause: str) -> Subscription:
    """Takes back a cancellation that has not come about yet. Raises Conflicting when it has."""
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        it = _living(connection, system.config, id, now)
        if not it.cancel_at_end:
            return it
        plan = _plan(system.config, it.coming_plan)
        ends_at = days_after(it.tier_ends_at or now, plan.grace_days, it.zone, it.reset_hour)
        return rows.move(
            connection, it, "resumed", cause=cause, now=now, cancel_at_end=False, tier_ends_at=ends_at
        )  # fmt: skip


def choose(system: System, id: str, plan: str, *, cause: str, upgrade_order: str = "") -> Subscription:
    """Names the plan of the next period; with `upgrade_order`, the order that changes it as soon as it is paid. The
    plan that it is on takes back either. Raises Conflicting when the next period is paid already, or it has ended."""
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        it = _living(connection, system.config, id, now)
        if it.state == PENDING:
            raise Conflicting(f"subscription {it.id} is not paid yet: subscribe to {plan} instead")
        if it.next_order:
            raise Conflicting("the next period is paid already: the plan can be changed when it has begun")
        next_plan = "" if upgrade_order or plan == it.plan else plan
        if (next_plan, upgrade_order) == (it.next_plan, it.upgrade_order):
            return it
        note = f"to {plan}, {f'by {upgrade_order}' if upgrade_order else 'from the next period on'}"
        return rows.move(
            connection, it, "changed", cause=cause, now=now, note=note, next_plan=next_plan,
            upgrade_order=upgrade_order,
        )  # fmt: skip


def grants_of(id: str, period: int) -> str:
    """What the ids of the grants of a period are, or begin with before a colon."""
    return f"subscription:{id}:{period}"


def _upgraded(
    connection: Connection, it: Subscription, plan: Plan, order: Order, cause: str, now: datetime
) -> list[Due]:
    """The rest of the period that runs. One that was paid ahead stays what was paid for."""
    next_plan, ends_at = "", _tier_ends_at(it, plan, it.period_ends_at or now)
    if it.next_order:
        next_plan, ends_at = it.coming_plan, it.tier_ends_at or ends_at
    it = rows.move(
        connection, it, "changed", cause=cause, now=now, note=f"to {plan.name}", plan=plan.name, next_plan=next_plan,
        upgrade_order="", tier_ends_at=ends_at,
    )  # fmt: skip
    return _allowance(it, order.units, cause, f":{order.id}")


def _by_clock(connection: Connection, config: Config, it: Subscription, now: datetime) -> Subscription:
    """Writes what has come about by now, a step at a time."""
    while (act := clock_act(it, now)) is not None:
        at = it.period_ends_at or now
        if act == "begin":
            it = _begin_paid(connection, config, it, at, now)
        elif act == "overdue":
            it = rows.move(
                connection, it, "overdue", cause=CLOCK, now=now, note=f"period {it.period + 1}", state=GRACE,
                upgrade_order="",
            )  # fmt: skip
        else:
            it = _over(connection, it, now if it.state == PENDING else it.tier_ends_at or now, CLOCK, now)
    return it


def _begin_paid(connection: Connection, config: Config, it: Subscription, at: datetime, now: datetime) -> Subscription:
    """The period that was paid ahead."""
    plan = _plan(config, it.coming_plan)
    units = connection.execute(select(orders.c.units).where(orders.c.id == it.next_order)).scalar_one()
    cause = f"order:{it.next_order}"
    it = _begin(connection, it, plan, at, CLOCK, now)
    payouts.owe(connection, _allowance(it, units, cause), now)
    return it


def _begin(
    connection: Connection, it: Subscription, plan: Plan, starts_at: datetime, cause: str, now: datetime, **values: Any
) -> Subscription:
    ends_at = _end(it, plan, starts_at)
    return rows.move(
        connection, it, "began", cause=cause, now=now, note=f"period {it.period + 1}, {plan.name}", plan=plan.name,
        state=ACTIVE, period=it.period + 1, period_starts_at=starts_at, period_ends_at=ends_at,
        tier_ends_at=_tier_ends_at(it, plan, ends_at), next_plan="", next_order="", upgrade_order="", ended_at=None,
        **values,
    )  # fmt: skip


def _over(
    connection: Connection, it: Subscription, at: datetime, cause: str, now: datetime, note: str = ""
) -> Subscription:
    if it.next_order:
        note = f"{note}; period {it.period + 1} is paid by {it.next_order}, and does not begin".removeprefix("; ")
    return rows.move(
        connection, it, "ended", cause=cause, now=now, note=note, state=ENDED, ended_at=at, tier_ends_at=at,
        upgrade_order="",
    )  # fmt: skip


def _living(connection: Connection, config: Config, id: str, now: datetime) -> Subscription:
    it = _by_clock(connection, config, rows.locked(connection, id), now)
    if it.state == ENDED:
        raise Conflicting(f"subscription {id} has ended")
    return it


def _end(it: Subscription, plan: Plan, starts_at: datetime) -> datetime:
    return period_end(starts_at, date.fromisoformat(it.anchor), plan.every, it.zone, it.reset_hour)


def _tier_ends_at(it: Subscription, plan: Plan, ends_at: datetime) -> datetime:
    """With a plan's days of grace, unless no further period is to come."""
    return ends_at if it.cancel_at_end else days_after(ends_at, plan.grace_days, it.zone, it.reset_hour)


def _allowance(it: Subscription, units: int, cause: str, suffix: str = "") -> list[Due]:
    """The grant of the period that runs, if its plan has an allowance."""
    if units == 0:
        return []
    reason = f"plan {it.plan}, period {it.period}"
    id = grants_of(it.id, it.period) + suffix
    return [Due(it.account, id, "SUBSCRIPTION", units, reason, cause, PLAN_PRIORITY, it.period_ends_at)]


def _plan(config: Config, name: str) -> Plan:
    if name not in config.plans:
        raise RefusedInput(f"plan {name!r} is not in {config.source} any more, and a subscription needs it")
    return config.plans[name]
