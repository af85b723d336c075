"""How payments stand, in numbers: what is open, and what waits for somebody."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, Select, func, select

from gateway.domain.order import OPEN, REVIEW
from gateway.ledger.sales import credits_due, orders, payment_differences


@dataclass(frozen=True, slots=True)
class Standing:
    #: Orders that can still be paid.
    open_orders: int
    #: Orders that an operator must decide about.
    in_review: int
    #: Grants that are decided, and not in Redis yet. Should be 0 within seconds.
    credits_waiting: int
    #: Differences from the provider's books that nobody has looked at.
    differences_open: int


def standing(engine: Engine) -> Standing:
    """Four counts by index, in one round trip."""
    counts: tuple[Select[int], ...] = (
        select(func.count()).where(orders.c.state.in_(sorted(OPEN))),
        select(func.count()).where(orders.c.state == REVIEW),
        select(func.count()).where(credits_due.c.granted_at.is_(None)),
        select(func.count()).where(payment_differences.c.resolved_at.is_(None)),
    )
    with engine.connect() as connection:
        found = connection.execute(select(*(count.scalar_subquery() for count in counts))).one()
    return Standing(*found)
