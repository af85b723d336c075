"""The provider's books against ours, once a day: what neither webhook nor poller has heard is found here.

    unknown_payment   the provider was paid for an order that is none of ours
    not_credited      it was paid, and we had not heard: it is credited now, and the difference is noted as mended
    other_amount      it was paid otherwise than we have it
    paid_twice        the order had a payment already
    not_paid_there    we have credited a payment that the provider does not know

Gone through by the hour, so that only the payments of one hour are ever held in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, select

from gateway.accounts.system import System
from gateway.domain.errors import NotFound, RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import CREDITED, PAID, UNPAID, Found, Order
from gateway.ledger import bulk
from gateway.ledger.sales import payments
from gateway.payments import books, crediting, differences
from gateway.payments.provider import Provider, Providers, ProviderUnavailable, ProviderUnclear

log = logging.getLogger("quotagate")

_HOUR = timedelta(hours=1)
_PAGE = 500
#: What is wrong with one payment holds up no other.
_ONE_ALONE = (ProviderUnclear, RefusedInput)


def compare(system: System, providers: Providers, since: datetime, until: datetime) -> int:
    """Compares what was paid in that time, at each provider of the config. Returns how many differences are new.

    Raises ProviderUnavailable when one has not answered to its end: what was found by then is noted, and a repeat notes
    it no second time.
    """
    # Providers are asked in whole seconds: the last one, too, that has begun.
    since, until = since.replace(microsecond=0), until.replace(microsecond=0) + timedelta(seconds=1)
    found, away = 0, None
    for name in system.config.payments.names:
        try:
            provider = providers.named(name)
            for begins in _hours(since, until):
                found += _compare(system, provider, begins, min(begins + _HOUR, until))
        except ProviderUnavailable as error:
            log.warning("the payments of %s were not compared: %s", name, error)
            away = error
    if away is not None:
        raise away
    return found


def _hours(since: datetime, until: datetime) -> Iterator[datetime]:
    while since < until:
        yield since
        since += _HOUR


def _compare(system: System, provider: Provider, since: datetime, until: datetime) -> int:
    seen, found = set(), 0
    for paid in provider.payments(since, until):
        seen.add(paid.payment_id)
        found += _theirs(system, provider, paid)
    for row in _ours(system, provider.name, since, until):
        if row["id"] not in seen:
            found += _ask(system, provider, row)
    return found


def _theirs(system: System, provider: Provider, paid: Found) -> bool:
    """One payment that the provider has. Returns whether it was news."""
    try:
        order = books.find(system.ledger, paid.reference_id)
    except NotFound:
        text = f"{paid.money or 'an amount that cannot be read'} was paid for {paid.reference_id[:100]!r}, unknown here"
        return _note(system, "unknown_payment", provider.name, text, payment=paid.payment_id)
    known = _known(system, provider.name, paid.payment_id)
    if known is not None:
        return _same(system, provider.name, order, paid, Money(known["amount"], known["currency"]))
    # The provider's list only says where to look: it is asked about the order itself.
    try:
        stands = crediting.ask(system, provider, order, "comparison", paid.provider_id)
    except _ONE_ALONE as error:
        text = f"{paid.money} is in its list of payments, and cannot be asked about: {error}"
        return _note(system, "not_credited", provider.name, text, order.id, paid.payment_id)
    if stands is None or _known(system, provider.name, paid.payment_id) is None:
        text = f"{paid.money} is in its list of payments, and not in what it says of the order"
        return _note(system, "not_credited", provider.name, text, order.id, paid.payment_id)
    if order.state not in UNPAID:
        return True  # Noted as paid twice, by whoever takes it.
    if stands.state in (PAID, CREDITED):
        text = f"{paid.money} was paid, and the order was {order.state}"
        return _note(system, "not_credited", provider.name, text, order.id, paid.payment_id, mended_by="comparison")
    return _note(system, "other_amount", provider.name, stands.note, order.id, paid.payment_id)


def _same(system: System, provider: str, order: Order, paid: Found, ours: Money) -> bool:
    if order.state == PAID:
        crediting.finish(system, order)
    if paid.money is None or paid.money == ours:
        return False
    return _note(
        system, "other_amount", provider, f"it says {paid.money}, and we have {ours}", order.id, paid.payment_id
    )


def _ask(system: System, provider: Provider, ours: RowMapping) -> bool:
    """One of ours that is not in the provider's list of its hour: it is asked before that is believed."""
    order = books.find(system.ledger, ours["order"])
    try:
        found = provider.fetch(order, order.provider_id)
    except _ONE_ALONE as error:
        log.error("payment %s cannot be compared: %s", order.id, error)
        return False
    if found is not None and found.state == "paid":
        return False
    said = "does not know the order" if found is None else f"says that the order is {found.state}"
    text = f"we have credited {Money(ours['amount'], ours['currency'])}, and it {said}"
    return _note(system, "not_paid_there", provider.name, text, order.id, ours["id"])


def _known(system: System, provider: str, payment: str) -> RowMapping | None:
    is_it = (payments.c.provider == provider) & (payments.c.id == payment)
    with system.ledger.connect() as connection:
        return connection.execute(select(payments.c.amount, payments.c.currency).where(is_it)).mappings().one_or_none()


def _ours(system: System, provider: str, since: datetime, until: datetime) -> Iterator[RowMapping]:
    """What we have counted as paid in that time, page by page."""
    in_time = (payments.c.paid_at >= since) & (payments.c.paid_at < until)
    query: Select[Any] = (
        select(payments).where(payments.c.provider == provider, in_time, payments.c.counted).order_by(payments.c.id)
    )
    last = ""
    while True:
        with system.ledger.connect() as connection:
            rows = connection.execute(query.where(payments.c.id > last).limit(_PAGE)).mappings().all()
        yield from rows
        if len(rows) < _PAGE:
            return
        last = rows[-1]["id"]


def _note(
    system: System, kind: str, provider: str, text: str, order: str = "", payment: str = "", mended_by: str = ""
) -> bool:
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        is_new = differences.note(
            connection, kind, provider, now=system.now(), text=text, order=order, payment=payment, mended_by=mended_by
        )
    if is_new:
        log.warning("%s of %s, payment %s, order %s: %s", kind, provider, payment, order or "none", text)
    return is_new
