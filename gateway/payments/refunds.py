"""Money that goes back. The units come first, so that nobody spends them meanwhile.

    created     the row is there; units are taken, the money is settled, the provider is asked
    pending     the provider is at it
    succeeded   the money is on its way, and the order is `refunded`
    failed      it stays; what was taken is given again, as grants of their own

Each step can be repeated by whoever goes on with it: taking ends the same grants, the provider is given the same id.
An order has one refund at a time, and is refunded once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, RowMapping, Update, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts import payouts
from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, QuotagateError, RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import CREDITED, REFUNDED, REVIEW, Order
from gateway.ledger import bulk
from gateway.ledger.sales import orders, payments, refunds
from gateway.payments import books, events, fulfilment
from gateway.payments.orders import new_id
from gateway.payments.provider import (
    Provider,
    ProviderRefused,
    Providers,
    ProviderUnavailable,
    ProviderUnclear,
    RefundFound,
    RefundWanted,
)

log = logging.getLogger("quotagate")

CREATED, PENDING, SUCCEEDED, FAILED = "created", "pending", "succeeded", "failed"
#: How long one round takes at the most, but for the last question: other jobs wait for it.
ROUND = timedelta(seconds=3)
#: How soon, and how often at the least, the provider is asked about a refund; the pause is as long as it is old.
SOON, LONGEST = timedelta(minutes=1), timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Refund:
    """One refund as it stands."""

    #: Ours, and the provider's reference.
    id: str
    order: str
    #: The payment whose money it is, by the provider's id.
    payment: str
    #: 0 while it depends on what can be taken.
    money: Money
    #: What was taken from the account.
    units: int
    #: The grants that it is of: what they had left is given again when it fails.
    grants: tuple[str, ...]
    state: str
    #: "": the provider has not answered yet.
    provider_id: str
    actor: str
    reason: str
    #: Why it failed.
    note: str
    created_at: datetime
    updated_at: datetime


def refund(system: System, providers: Providers, by: By, order: Order, money: Money | None) -> Refund:
    """Gives money back for a credited order, and takes back what is unused of it. Noted once by the act's id.

    `money`: None for what the unused part had cost, rounded down to what can be paid; else up to what was paid, whether
    anything is unused or not. The refund may be under way when this returns: `poll_due` goes on with it.

    Raises RefusedInput for money that cannot be given, and without a reason; Conflicting for an order that is not
    credited, that is being refunded, and where nothing is unused and no amount is named; StoreUnavailable: nothing has
    happened then, or the poller goes on.
    """

    def look() -> dict[str, str]:
        return {"state": books.find(system.ledger, order.id).state}

    def act() -> dict[str, str]:
        made = give(system, providers, by, order, money, (CREDITED,))
        return {"refund": made.id, "amount": str(made.money), "refund_state": made.state}

    once(system, by, "payment.refund", f"payment:{order.id}", look, act, needs_reason=True)
    return _by_write(system, by.id)


def give(
    system: System, providers: Providers, by: By, order: Order, money: Money | None, states: tuple[str, ...]
) -> Refund:
    """The same, unnoted, for an order in one of these states. One of the review has had no units: all that was paid for
    it goes back."""
    order, provider = books.find(system.ledger, order.id), providers.named(order.provider)
    left = fulfilment.left(system, order) if order.state == CREDITED else {}
    made = _start(system, by, order, money, left, states)
    if made.state in (SUCCEEDED, FAILED):
        return made
    try:
        made = _go_on(system, provider, made)
    except (ProviderUnavailable, ProviderRefused) as error:
        log.warning("refund %s goes on later: %s", made.id, error)
        return find(system, made.id)
    if made.state == FAILED and not made.provider_id and not made.money.minor:
        raise Conflicting(f"payment {order.id}: {made.note}")
    return made


def ask(system: System, provider: Provider, id: str) -> Refund:
    """Goes on with a refund: asks the provider how it stands, and does what follows. Raises NotFound, also for one of
    another provider, ProviderUnavailable, ProviderRefused, StoreUnavailable."""
    made = find(system, id)
    if books.find(system.ledger, made.order).provider != provider.name:
        raise NotFound(f"{provider.name} has no refund {id!r}")
    return _go_on(system, provider, made)


def poll_due(system: System, providers: Providers) -> int:
    """Goes on with the refunds that are due. Returns how many that were. What cannot be done for one is logged and
    tried again later."""
    done, away = 0, set[str]()
    ends = system.now() + ROUND
    while system.now() < ends and (claimed := _claim(system, away)) is not None:
        done += 1
        made, name = claimed
        try:
            _go_on(system, providers.named(name), made)
            events.caught_up(system.ledger, made.id)
        except ProviderUnavailable as error:
            log.warning("refund %s: %s is asked again later: %s", made.id, name, error)
            if not isinstance(error, ProviderUnclear):
                away.add(name)
        except (QuotagateError, SQLAlchemyError) as error:
            log.error("refund %s cannot go on: %s", made.id, error)
    return done


def poll_at(system: System, id: str, at: datetime) -> None:
    """Says when the provider is asked about a refund next, if it is still under way."""
    is_open = (refunds.c.id == id) & refunds.c.state.in_((CREATED, PENDING))
    with system.ledger.begin() as connection:
        connection.execute(update(refunds).where(is_open).values(next_poll_at=at))


def check_none(connection: Connection, order_id: str) -> None:
    """Raises Conflicting for a locked order whose money is going back."""
    is_open = (refunds.c.order == order_id) & refunds.c.state.in_((CREATED, PENDING))
    if connection.execute(select(refunds.c.id).where(is_open)).first() is not None:
        raise Conflicting(f"payment {order_id} is being refunded")


def find(system: System, id: str) -> Refund:
    """One refund. Raises NotFound."""
    with system.ledger.connect() as connection:
        row = connection.execute(select(refunds).where(refunds.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no refund {id!r}")
    return read(row)


def read(row: RowMapping) -> Refund:
    """A row of `refunds` as a value."""
    return Refund(
        row["id"], row["order"], row["payment"], Money(row["amount"], row["currency"]), row["units"],
        tuple(row["grants"].split()), row["state"], row["provider_id"], row["actor"], row["reason"], row["note"],
        row["created_at"], row["updated_at"],
    )  # fmt: skip


# ── the steps ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _start(
    system: System, by: By, order: Order, money: Money | None, left: Mapping[str, int], states: tuple[str, ...]
) -> Refund:
    """The row, before anything is taken; or that of the same act."""
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        stands = books.locked(connection, order.id)
        known = connection.execute(select(refunds).where(refunds.c.write_id == by.id)).mappings().one_or_none()
        if known is not None:
            return read(known)
        if stands.state not in states:
            raise Conflicting(f"payment {order.id} is {stands.state}, and cannot be refunded")
        check_none(connection, order.id)
        payment, paid = _payment(connection, stands)
        is_ahead = stands.state == CREDITED and fulfilment.withdraw(connection, system, stands, now)
        if stands.state == REVIEW or is_ahead:
            money = money or paid
        _check(stands, paid, money, left)
        row = {
            "id": new_id("rfd_"), "write_id": by.id, "order": order.id, "payment": payment,
            "amount": money.minor if money else 0, "currency": paid.currency, "units": 0,
            "grants": " ".join(sorted(left)), "state": CREATED, "actor": by.actor, "reason": by.reason,
            "created_at": now, "updated_at": now, "next_poll_at": now + SOON,
        }  # fmt: skip
        connection.execute(insert(refunds).values(row))
        is_it = refunds.c.id == row["id"]
        return read(connection.execute(select(refunds).where(is_it)).mappings().one())


def _check(order: Order, paid: Money, money: Money | None, left: Mapping[str, int]) -> None:
    if money is None:
        if not paid.share(*fulfilment.unused(order, left)).minor:
            raise Conflicting(f"payment {order.id}: nothing of it is unused; name the amount that is to be given back")
    elif money.currency != paid.currency or not money.is_payable or money.minor > paid.minor:
        raise RefusedInput(f"amount = {money}: must be up to {paid}, which was paid")


def _go_on(system: System, provider: Provider, made: Refund) -> Refund:
    """The next step of a refund, from wherever it stands. Raises ProviderUnavailable, StoreUnavailable, and
    ProviderRefused where the question alone was refused."""
    if made.state in (SUCCEEDED, FAILED):
        return made
    order = books.find(system.ledger, made.order)
    if not made.provider_id:
        made = _take(system, order, made)
        if not made.money.minor:
            return _fail(system, order, made, "nothing was left of it")
    wanted = RefundWanted(made.id, order, made.payment, made.money, made.reason)
    found, why = _asked(provider, wanted, made.provider_id)
    if found is None:
        return _fail(system, order, made, why)
    match found.state:
        case "succeeded":
            return _succeed(system, order, made, found)
        case "failed":
            return _fail(system, order, made, found.reason or "the provider could not give it back")
    _write(system, made, state=PENDING, provider_id=found.provider_id)
    return find(system, made.id)


def _asked(provider: Provider, wanted: RefundWanted, provider_id: str) -> tuple[RefundFound | None, str]:
    """How a refund stands that is asked for now, or was before. None: the provider refuses it, and why."""
    if not provider_id:
        try:
            return provider.refund(wanted), ""
        except ProviderRefused as refusal:
            # It may refuse the second of two that ask at once: the money goes all the same.
            return provider.fetch_refund(wanted, ""), str(refusal)
    found = provider.fetch_refund(wanted, provider_id)
    if found is None:
        raise ProviderUnclear(f"{provider.name} does not know refund {wanted.id}, which it took")
    return found, ""


def _take(system: System, order: Order, made: Refund) -> Refund:
    """Takes the units, and settles what they had cost."""
    taken = fulfilment.take_back(system, order, made.grants, made.id, f"refund {made.id}")
    with system.ledger.connect() as connection:
        paid = _payment(connection, order)[1]
    money = made.money if made.money.minor else paid.share(*fulfilment.unused(order, taken))
    made = replace(made, money=money, units=sum(taken.values()))
    _write(system, made, amount=money.minor, units=made.units)
    return made


def _succeed(system: System, order: Order, made: Refund, found: RefundFound) -> Refund:
    """The money goes, and with it all that is left of the order: also what open calls held and gave back meanwhile, or
    will."""
    late = sum(fulfilment.left(system, order).values())
    fulfilment.take_back(system, order, fulfilment.grants(system, order), made.id, f"refund {made.id}")
    now = system.now()
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        order = books.locked(connection, made.order)
        ends = {
            "state": SUCCEEDED, "provider_id": found.provider_id, "units": made.units + late, "next_poll_at": None,
            "updated_at": now,
        }  # fmt: skip
        if connection.execute(_open(made).values(ends)).rowcount == 1 and order.state in (CREDITED, REVIEW):
            note = f"{made.money} by {made.actor}: {made.reason}"
            books.move(connection, order, REFUNDED, cause=f"refund {made.id}", now=now, note=note, next_poll_at=None)
    return find(system, made.id)


def _fail(system: System, order: Order, made: Refund, why: str) -> Refund:
    """Nothing goes back: what was taken is the account's again."""
    now = system.now()
    taken = fulfilment.take_back(system, order, made.grants, made.id, f"refund {made.id}")
    log.warning("refund %s of payment %s failed: %s", made.id, order.id, why)
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        ends = {"state": FAILED, "note": why[:1000], "next_poll_at": None, "updated_at": now}
        order = books.locked(connection, order.id)
        if connection.execute(_open(made).values(ends)).rowcount == 1 and order.state == CREDITED:
            payouts.owe(connection, fulfilment.give_back(connection, system, order, taken, made.id, now), now)
    payouts.pay_now(system, fulfilment.cause(order))
    return find(system, made.id)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _by_write(system: System, write_id: str) -> Refund:
    with system.ledger.connect() as connection:
        query = select(refunds).where(refunds.c.write_id == write_id)
        return read(connection.execute(query).mappings().one())


def _payment(connection: Connection, order: Order) -> tuple[str, Money]:
    """The payment that an order is credited for; of the review, the last one that came. By the provider's id."""
    query = select(payments).where(payments.c.order == order.id)
    query = query.order_by(payments.c.counted.desc(), payments.c.seen_at.desc(), payments.c.id).limit(1)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise Conflicting(f"payment {order.id}: the provider names no payment that could be given back")
    return row.id, Money(row.amount, row.currency)


def _open(made: Refund) -> Update:
    """A change of a refund that nobody has ended."""
    return update(refunds).where((refunds.c.id == made.id) & refunds.c.state.in_((CREATED, PENDING)))


def _write(system: System, made: Refund, **values: object) -> None:
    with system.ledger.begin() as connection:
        connection.execute(_open(made).values(updated_at=system.now(), **values))


def _claim(system: System, away: set[str]) -> tuple[Refund, str] | None:
    """The refund that waits longest and its provider, for this caller alone. None: none waits."""
    now = system.now()
    query = select(refunds, orders.c.provider).join_from(refunds, orders, orders.c.id == refunds.c.order)
    is_due = (refunds.c.next_poll_at <= now) & orders.c.provider.not_in(away)
    while True:
        with system.ledger.connect() as connection:
            due = query.where(is_due).order_by(refunds.c.next_poll_at).limit(1)
            row = connection.execute(due).mappings().one_or_none()
        if row is None:
            return None
        made = read(row)
        pause = min(max(now - made.created_at, SOON), LONGEST)
        is_it = (refunds.c.id == made.id) & (refunds.c.next_poll_at == row["next_poll_at"])
        with system.ledger.begin() as connection:
            if connection.execute(update(refunds).where(is_it).values(next_poll_at=now + pause)).rowcount == 1:
                return made, row["provider"]
