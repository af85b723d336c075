"""What follows when a provider says something of an order. Webhook, poller, live status, comparison and operators all
come here, in any order and as often as they like: an order is credited once, or not at all.

    ask     the provider, whoever wants to know
    take    in one transaction: the payment's row, the order's next step, what the account is to have
    finish  what is owed reaches Redis (`accounts.payouts`), then the order is `credited`

Whoever dies in between leaves rows that say so; the poller finishes every order that is `paid`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from gateway.accounts import payouts
from gateway.accounts.payouts import UNPAID_FOR_NOW, Due
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting
from gateway.domain.money import Money
from gateway.domain.order import CREDITED, PAID, REVIEW, UNPAID, Found, Order, Step, next_step
from gateway.ledger import bulk
from gateway.ledger.sales import credits_due, payments
from gateway.payments import books, differences, fulfilment
from gateway.payments.provider import Provider

log = logging.getLogger("quotagate")


def ask(system: System, provider: Provider, order: Order, cause: str, provider_id: str = "") -> Order | None:
    """Asks the provider about an order, and takes what it says. `provider_id`: where it is another than the order's,
    as when the answer to an earlier try was lost. Returns the order as it stands; None: the provider does not know it.
    Raises ProviderUnavailable, ProviderRefused, and as `take` does.
    """
    found = provider.fetch(order, provider_id or order.provider_id)
    if found is None:
        return None
    if found.reference_id != order.id:
        log.error("payment %s: %s answered with that of another order", order.id, provider.name)
        return None
    return take(system, order.id, found, cause)


def take(system: System, order_id: str, found: Found, cause: str) -> Order:
    """Believes what the provider itself says of an order, and does what follows. Returns the order as it stands.

    `cause`: for the step's row, such as "poll". A payment is decided on once: one that comes for an order that has had
    another is noted as a difference, and one that is known already changes nothing. Raises NotFound, and what
    SQLAlchemy raises: nothing has happened then.
    """
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        order = books.locked(connection, order_id)
        if found.provider_id and not order.provider_id:
            books.change(connection, order, now=now, provider_id=found.provider_id)
        is_known = found.state == "paid" and not _note_payment(connection, order, found, now)
        step = None if is_known else next_step(order, found)
        if step is not None:
            order = _go(connection, system, order, step, found, cause, now)
    return finish(system, order) if order.state == PAID else order


def finish(system: System, order: Order) -> Order:
    """Gives the account what a paid order is for. Where Redis cannot be asked, the poller does it later."""
    try:
        fulfilment.complete(system, order)
    except UNPAID_FOR_NOW as error:
        log.warning("payment %s is credited later: %s", order.id, error)
        return order
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        stands = books.locked(connection, order.id)
        if stands.state != PAID or _is_owed(connection, stands):
            return stands
        now = system.now()
        stands = books.move(
            connection, stands, CREDITED, cause="crediting", now=now, credited_at=now, next_poll_at=None
        )
    fulfilment.credited(system, stands)
    return stands


def accept(connection: Connection, system: System, order: Order, *, cause: str, now: datetime, note: str) -> Order:
    """An order of the review is paid after all: it gives what was ordered, whatever came. `finish` it after the
    transaction. Raises Conflicting when that cannot be given any more."""
    given = fulfilment.due(connection, system, order, now)
    if isinstance(given, str):
        raise Conflicting(f"payment {order.id} can be refunded, and not credited: {given}")
    of_it = select(payments.c.provider, payments.c.id).where(payments.c.order == order.id)
    last = connection.execute(of_it.order_by(payments.c.seen_at.desc(), payments.c.id).limit(1)).one_or_none()
    if last is not None:
        _count(connection, last.provider, last.id)
    return _paid(connection, order, given, cause, now, note)


def _go(
    connection: Connection, system: System, order: Order, step: Step, found: Found, cause: str, now: datetime
) -> Order:
    if step.state == PAID:
        given = fulfilment.due(connection, system, order, now)
        if not isinstance(given, str):
            _count(connection, order.provider, found.payment_id)
            return _paid(connection, order, given, cause, now, step.note, found.paid_at)
        step = Step(REVIEW, given)
    done = {} if step.state in UNPAID else {"paid_at": found.paid_at or now, "next_poll_at": None}
    return books.move(connection, order, step.state, cause=cause, now=now, note=step.note, **done)


def _paid(
    connection: Connection, order: Order, given: Sequence[Due], cause: str, now: datetime, note: str,
    paid_at: datetime | None = None,
) -> Order:  # fmt: skip
    order = books.move(
        connection, order, PAID, cause=cause, now=now, note=note, paid_at=paid_at or order.paid_at or now,
        next_poll_at=now,
    )  # fmt: skip
    payouts.owe(connection, given, now)
    return order


def _note_payment(connection: Connection, order: Order, found: Found, now: datetime) -> bool:
    """Money that the provider has is written down once, whatever becomes of it. Returns whether it was new."""
    if not found.payment_id:
        return True
    is_it = (payments.c.provider == order.provider) & (payments.c.id == found.payment_id)
    if connection.execute(select(payments.c.id).where(is_it)).one_or_none() is not None:
        return False
    money = found.money or Money(0, order.price.currency)  # The provider's own record says how much.
    row = {
        "provider": order.provider, "id": found.payment_id, "order": order.id, "amount": money.minor,
        "currency": money.currency, "channel": found.channel[:64], "paid_at": found.paid_at or now,
        "seen_at": now, "counted": False,
    }  # fmt: skip
    connection.execute(insert(payments).values(row))
    if order.state not in UNPAID:
        text = f"{money} was paid for an order that is {order.state} already"
        differences.note(
            connection, "paid_twice", order.provider, now=now, text=text, order=order.id, payment=found.payment_id
        )
    return True


def _count(connection: Connection, provider: str, payment: str) -> None:
    """The payment that an order is credited for. There can be no second one: the database holds it."""
    is_it = (payments.c.provider == provider) & (payments.c.id == payment)
    connection.execute(update(payments).where(is_it).values(counted=True))


def _is_owed(connection: Connection, order: Order) -> bool:
    waiting = (credits_due.c.cause == fulfilment.cause(order)) & credits_due.c.granted_at.is_(None)
    return connection.execute(select(credits_due.c.id).where(waiting).limit(1)).one_or_none() is not None
