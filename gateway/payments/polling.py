"""Asking the provider, without waiting to be told: a webhook that timed out is not repeated by everyone.

An order is asked about often while it is new, then less; once more when it can be paid no longer; and then a few times
for the money that comes late. Whoever looks at an order asks as well, and so does who cancels it.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, QuotagateError, RefusedInput
from gateway.domain.order import CANCELED, EXPIRED, OPEN, PAID, Order
from gateway.ledger import bulk
from gateway.ledger.sales import orders
from gateway.payments import books, crediting, events
from gateway.payments.provider import Provider, Providers, ProviderUnavailable, ProviderUnclear

log = logging.getLogger("quotagate")

#: How long one round takes at the most, but for the last question: other jobs wait for it.
ROUND = timedelta(seconds=3)
#: The longest pause between two questions about an order that can be paid.
LONGEST = timedelta(minutes=10)
#: How long after an order's end it is asked for late money.
LATE = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24), timedelta(hours=72), timedelta(days=7))
#: Whoever looks at an order again and again has the provider asked at most so often.
FRESH = timedelta(seconds=3)


def poll_due(system: System, providers: Providers) -> int:
    """Asks about the orders that are due, the longest waiting first, and finishes those that are paid. Returns how many
    that were. What cannot be done for one is logged and tried again; a provider that does not answer is left alone
    until the next round."""
    done, away = 0, set[str]()
    ends = system.now() + ROUND
    while system.now() < ends and (order := _claim(system, away)) is not None:
        done += 1
        try:
            _poll(system, providers, order)
        except ProviderUnavailable as error:
            log.warning("payment %s: %s is asked again later: %s", order.id, order.provider, error)
            if not isinstance(error, ProviderUnclear):
                away.add(order.provider)
        except (QuotagateError, SQLAlchemyError) as error:
            log.error("payment %s cannot be asked about: %s", order.id, error)
    return done


def live(system: System, providers: Providers, order: Order) -> Order:
    """An order as the provider has it now; as it is known, where nothing is to be expected of it, where somebody asked
    a moment ago, and where the provider does not answer."""
    if order.state == PAID:
        return crediting.finish(system, order)
    if order.state not in OPEN or not _may_ask(system, order):
        return order
    try:
        return _ask(system, providers.named(order.provider), order, "live") or order
    except (ProviderUnavailable, RefusedInput) as error:
        log.warning("payment %s is shown as it is known: %s", order.id, error)
        return order


def check(system: System, providers: Providers, by: By, order: Order) -> Order:
    """Asks the provider about an order, whatever its state, for an operator; noted once by the act's id. Returns the
    order as it stands then. Raises ProviderUnavailable, ProviderRefused."""

    def look() -> dict[str, str]:
        return {"state": books.find(system.ledger, order.id).state}

    def act() -> None:
        asked = _ask(system, providers.named(order.provider), order, by.actor)
        if (asked or order).state == PAID:
            crediting.finish(system, asked or order)

    once(system, by, "payment.check", f"payment:{order.id}", look, act)
    return books.find(system.ledger, order.id)


def cancel(system: System, providers: Providers, order: Order, cause: str) -> Order:
    """Ends an order that is not paid, at the provider first: what was paid by then is taken. `cause`: "user" or
    "admin:NAME". One that is canceled already is returned as it is. Money that comes all the same is credited.

    Raises Conflicting for one that cannot be canceled any more, ProviderUnavailable, ProviderRefused.
    """
    if order.state in OPEN and not order.provider_id:
        order = _ask(system, providers.named(order.provider), order, cause) or order
    if order.state == CANCELED:
        return order
    if order.state not in OPEN:
        raise Conflicting(f"payment {order.id} is {order.state}, and cannot be canceled")
    if not order.provider_id:
        return _close(system, order, CANCELED, cause, "the provider does not know it")
    found = providers.named(order.provider).cancel(order)
    return crediting.take(system, order.id, found, cause)


def next_poll(order: Order, polls: int, now: datetime, first: timedelta) -> datetime | None:
    """When an order is to be asked about again that is asked about now for the `polls`-th time, from 1 on; None: never.

    `first`: the pause after its creation, which doubles from then on."""
    ends = order.expires_at or order.created_at
    if order.state == PAID or (order.state in OPEN and now < ends):
        pause = min(first * (1 << min(polls, 10)), LONGEST)
        return now + pause if order.state == PAID else min(now + pause, max(ends, now + first))
    return next((ends + late for late in LATE if ends + late > now), None)


def _poll(system: System, providers: Providers, order: Order) -> None:
    if order.state == PAID:
        crediting.finish(system, order)
        return
    asked = _ask(system, providers.named(order.provider), order, "poll")
    now = system.now()
    if order.expires_at is None or now < order.expires_at:
        return
    if asked is None:
        _close(system, order, EXPIRED, "poll", "the provider does not know it")
    if now >= order.expires_at + LATE[-1]:
        _close(system, order, EXPIRED, "poll", "the provider still waits for it; nobody else does")
        _stop(system, order, now)


def _ask(system: System, provider: Provider, order: Order, cause: str) -> Order | None:
    """Asks for all that an order may be known as: by its own id there, and by those of webhooks that wait, which may be
    of something else."""
    stands = crediting.ask(system, provider, order, cause)
    for id in events.waiting(system.ledger, order.id):
        try:
            stands = crediting.ask(system, provider, order, cause, id) or stands
        except ProviderUnclear as error:
            log.warning("payment %s: a webhook named %s: %s", order.id, id, error)
    events.caught_up(system.ledger, order.id)
    return stands


def _claim(system: System, away: set[str]) -> Order | None:
    """The order that waits longest, for this caller alone: whoever moves its next poll first has it. None: none waits.
    One that is paid needs no provider. The last question, too, is asked again until there is an answer."""
    now, first = system.now(), timedelta(seconds=system.config.payments.poll_s)
    is_due = (orders.c.next_poll_at <= now) & or_(orders.c.state == PAID, orders.c.provider.not_in(away))
    while True:
        with system.ledger.connect() as connection:
            query = select(orders).where(is_due).order_by(orders.c.next_poll_at).limit(1)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        order, polls = books.read(row), row["polls"] + 1
        is_it = (orders.c.id == order.id) & (orders.c.polls == row["polls"]) & (orders.c.state == order.state)
        values = {"next_poll_at": next_poll(order, polls, now, first) or now + LATE[0], "polls": polls, "asked_at": now}
        with system.ledger.begin() as connection:
            if connection.execute(update(orders).where(is_it & is_due).values(values)).rowcount == 1:
                return order


def _stop(system: System, order: Order, now: datetime) -> None:
    """Asks no more, unless something was heard meanwhile, or it is paid."""
    is_done = (orders.c.id == order.id) & (orders.c.state != PAID) & (orders.c.next_poll_at > now)
    with system.ledger.begin() as connection:
        connection.execute(update(orders).where(is_done).values(next_poll_at=None))


def _may_ask(system: System, order: Order) -> bool:
    """Whether nobody asked a moment ago. Whoever may is the only one for this moment."""
    now = system.now()
    is_stale = or_(orders.c.asked_at.is_(None), orders.c.asked_at <= now - FRESH)
    with system.ledger.begin() as connection:
        change = update(orders).where((orders.c.id == order.id) & is_stale).values(asked_at=now)
        return connection.execute(change).rowcount == 1


def _close(system: System, order: Order, state: str, cause: str, note: str) -> Order:
    """Ends an order by our own word, where the provider has none."""
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        stands = books.locked(connection, order.id)
        if stands.state not in OPEN:
            return stands
        return books.move(connection, stands, state, cause=cause, now=system.now(), note=note)
