"""An order from its first step: stored, then sent to the provider, then shown with how to pay it.

The row comes first, so that whatever becomes of the answer, money that arrives finds its order by the reference. A
request that is repeated finds its order too, and asks the provider again where it has not answered.
"""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta

from sqlalchemy import func, select

from gateway.accounts.system import System
from gateway.domain.catalog import Package
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import CREATED, FAILED, OPEN, PENDING, TOPUP, Instruction, Order
from gateway.domain.tier import MAX_UNITS
from gateway.ledger import bulk
from gateway.ledger.sales import orders
from gateway.payments import books
from gateway.payments.provider import Provider, ProviderRefused, ProviderUnavailable

log = logging.getLogger("quotagate")

#: Credits that one account may have on order at once: each order is the provider's and the poller's to look after.
MOST_OPEN = 20

#: So long after it was made an order ends that nobody pays, whatever the provider says.
LONGEST = timedelta(days=31)

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(word: str) -> str:
    """An id of our own, such as "ord_7k…": 100 random bits."""
    return word + "".join(secrets.choice(_ALPHABET) for _ in range(20))


def top_up(
    system: System,
    provider: Provider,
    account: str,
    *,
    package: str | None,
    units: int | None,
    method: str,
    channel: str,
    write_id: str,
) -> Order:
    """An order for a package of the config, or for a number of units, with how to pay it.

    `write_id`: the request's own; a repeat answers with the same order. Raises RefusedInput for what is not sold and
    for a provider that refuses; Conflicting for a repeat that asks for something else, and for an account that has
    MOST_OPEN orders to pay; ProviderUnavailable: then the order is kept, and the same request goes on with it.
    """
    item, bought, bonus, valid_days, price = _wanted(system, package, units)
    if books.by_write(system.ledger, write_id) is None:
        _check_room(system, account)
    order = new_order(
        system, provider, account, TOPUP, item, price, method=method, channel=channel, units=bought, bonus=bonus,
        valid_days=valid_days,
    )  # fmt: skip
    return place(system, provider, order, write_id)


def new_order(
    system: System, provider: Provider, account: str, purpose: str, item: str, price: Money, *, method: str,
    channel: str, units: int = 0, bonus: int = 0, valid_days: int = 0, subscription: str = "", period: int = 0,
) -> Order:  # fmt: skip
    """An order that nobody knows of yet."""
    now = system.now()
    return Order(
        id=new_id("ord_"), account=account, purpose=purpose, item=item, units=units, bonus=bonus,
        valid_days=valid_days, price=price, provider=provider.name, method=method, channel=channel, state=CREATED,
        created_at=now, updated_at=now, expires_at=now + timedelta(seconds=system.config.payments.expires_s),
        subscription=subscription, period=period,
    )  # fmt: skip


def place(system: System, provider: Provider, order: Order, write_id: str, cause: str = "request") -> Order:
    """Stores an order and asks the provider for its money. Raises as `top_up` does."""
    first_poll = order.created_at + timedelta(seconds=system.config.payments.poll_s)
    known = books.add(system.ledger, order, write_id, cause=cause, next_poll_at=first_poll)
    if _asked(known) != _asked(order):
        raise Conflicting(f"this request made payment {known.id} before, for something else")
    return send(system, provider, known) if _is_unanswered(known) else known


def send(system: System, provider: Provider, order: Order) -> Order:
    """Asks the provider for the money of an order that it has not answered yet. Raises as `top_up` does."""
    try:
        created = provider.create(order, return_url="")
    except ProviderRefused as refusal:
        _refused(system, order, str(refusal))
        raise
    except ProviderUnavailable as error:
        log.warning("payment %s: %s has not answered: %s", order.id, order.provider, error)
        raise
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        stands = books.locked(connection, order.id)
        if not _is_unanswered(stands):  # Another request was quicker: what it was shown holds.
            return stands
        last = stands.created_at + LONGEST
        books.change(
            connection, stands, now=now, provider_id=created.provider_id,
            instruction=books.instruction_text(created.instruction),
            expires_at=min(created.expires_at or stands.expires_at or last, last),
        )  # fmt: skip
        stands = books.locked(connection, order.id)
        return books.move(connection, stands, PENDING, cause="provider", now=now) if stands.state == CREATED else stands


def _wanted(system: System, package: str | None, units: int | None) -> tuple[str, int, int, int, Money]:
    """Its name, what is bought, the bonus, for how many days, and the price."""
    if (package is None) == (units is None):
        raise RefusedInput("name either a package or an amount")
    if package is not None:
        found = _package(system, package)
        return found.name, found.units, found.bonus, found.valid_days, found.price
    assert units is not None
    sold = system.config.payments.any_amount
    if sold is None:
        raise RefusedInput("amount: only packages are sold here")
    if not sold.min_units <= units <= min(sold.max_units, MAX_UNITS):
        raise RefusedInput(f"amount = {units}: must be from {sold.min_units} to {sold.max_units}")
    price = sold.cost(units)
    if not price.is_payable:
        raise RefusedInput(f"amount = {units}: its price, {price}, cannot be paid")
    return "", units, 0, sold.valid_days, price


def _check_room(system: System, account: str) -> None:
    is_open = (orders.c.account == account) & orders.c.state.in_(sorted(OPEN)) & (orders.c.purpose == TOPUP)
    with system.ledger.connect() as connection:
        count = connection.execute(select(func.count()).where(is_open)).scalar_one()
    if count >= MOST_OPEN:
        raise Conflicting(f"account {account} has {count} payments to make: pay or cancel one of them first")


def _package(system: System, name: str) -> Package:
    if name not in system.config.packages:
        raise RefusedInput(f"package {name!r}: there is none; there are {', '.join(sorted(system.config.packages))}")
    return system.config.packages[name]


def _is_unanswered(order: Order) -> bool:
    """Whether nobody knows how to pay it yet: the provider may have been heard of it by other ways."""
    return order.state in OPEN and order.instruction == Instruction()


def _asked(order: Order) -> tuple[object, ...]:
    """What a request wants: two of one id must want the same. A price that has changed since is no other wish."""
    return order.account, order.purpose, order.item, order.units, order.method, order.channel, order.period


def _refused(system: System, order: Order, why: str) -> None:
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        stands = books.locked(connection, order.id)
        if stands.state in OPEN and not stands.provider_id:
            books.move(connection, stands, FAILED, cause="provider", now=system.now(), note=why, next_poll_at=None)
