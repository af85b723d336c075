"""What a paid order gives, by its purpose: credits, or a period of a subscription."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.catalog import BONUS_PRIORITY, BOUGHT_PRIORITY
from gateway.domain.order import TOPUP, Order
from gateway.subscriptions import applying, course


def cause(order: Order) -> str:
    """What the grants of an order name as theirs."""
    return f"order:{order.id}"


def due(connection: Connection, system: System, order: Order, now: datetime) -> list[Due] | str:
    """What an order that is paid now gives; called in the transaction that makes it paid. A text: why people are to
    look at it first."""
    if order.purpose == TOPUP:
        return _credits(order, now)
    return course.paid(connection, system.config, order, now)


def complete(system: System, order: Order) -> None:
    """Brings it into Redis; as often as it is called. Raises StoreUnavailable."""
    payouts.pay(system, cause(order))
    if order.subscription:
        applying.apply(system, order.subscription)


def credited(system: System, order: Order) -> None:
    """What else follows, once an order is credited."""


def _credits(order: Order, now: datetime) -> list[Due]:
    name = order.item or f"{order.units} units"
    expires_at = payouts.expiry(now, order.valid_days)
    bought = Due(
        order.account, f"order:{order.id}", "TOP_UP", order.units, f"payment {order.id}: {name}", cause(order),
        BOUGHT_PRIORITY, expires_at,
    )  # fmt: skip
    if not order.bonus:
        return [bought]
    bonus = Due(
        order.account, f"order:{order.id}:bonus", "REWARD", order.bonus, f"payment {order.id}: bonus of {name}",
        cause(order), BONUS_PRIORITY, expires_at,
    )  # fmt: skip
    return [bought, bonus]
