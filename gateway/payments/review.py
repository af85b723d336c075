"""Orders that were paid otherwise than ordered: an operator decides what becomes of them."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import select

from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting
from gateway.domain.order import CREDITED, FAILED, PAID, REVIEW, Order
from gateway.ledger import bulk
from gateway.ledger.sales import order_steps
from gateway.payments import books, crediting, refunds
from gateway.payments.provider import Providers

#: Give what was ordered, send the money back, or neither: then it was settled elsewhere.
Decision = Literal["credit", "refund", "dismiss"]


def decide(system: System, providers: Providers, by: By, order: Order, decision: Decision) -> Order:
    """Ends the review of an order, noted once by the act's id. Returns the order as it stands then: one whose money
    goes back stays in review until the provider says that it did.

    Raises Conflicting for an order that is not in review, RefusedInput without a reason.
    """

    def look() -> dict[str, str]:
        return {"state": books.find(system.ledger, order.id).state}

    def act() -> dict[str, str]:
        match decision:
            case "credit":
                _credit(system, by, order.id)
            case "dismiss":
                _move(system, by, order.id, FAILED)
            case "refund":
                refunds.give(system, providers, by, order, None, (REVIEW,))
        return {"decision": decision}

    known = once(system, by, "payment.review", f"payment:{order.id}", look, act, needs_reason=True)
    if known is not None and known.after.get("decision") != decision:
        raise Conflicting("this was asked for before with another decision")
    return books.find(system.ledger, order.id)


def _credit(system: System, by: By, order_id: str) -> None:
    order = _move(system, by, order_id, PAID)
    if order.state == PAID:
        crediting.finish(system, order)


def _move(system: System, by: By, order_id: str, state: str) -> Order:
    """Once: a repeat of an act that died before it was noted finds that it was done."""
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        order = books.locked(connection, order_id)
        if order.state != REVIEW:
            did = select(order_steps.c.number).where(
                order_steps.c.order == order_id, order_steps.c.state_before == REVIEW, order_steps.c.state == state,
                order_steps.c.cause == by.actor, order_steps.c.note == by.reason,
            )  # fmt: skip
            if connection.execute(did).first() is None or order.state not in (state, CREDITED):
                raise Conflicting(f"payment {order_id} is {order.state}: there is nothing to review")
            return order
        refunds.check_none(connection, order_id)
        if state == FAILED:
            return books.move(connection, order, FAILED, cause=by.actor, now=now, note=by.reason, next_poll_at=None)
        return crediting.accept(connection, system, order, cause=by.actor, now=now, note=by.reason)
