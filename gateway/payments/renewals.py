"""Subscriptions and money: what is to be paid for which period, and who is asked for it when.

Each period is an order of its own, as QRIS and virtual accounts take no money by themselves. The worker makes it some
days before a period ends (`act`), or its owner does so at any time (`pay`). What a payment then changes is decided in
`subscriptions.course`, whoever hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from gateway.accounts import epoch, payouts
from gateway.accounts.system import System
from gateway.domain.catalog import Plan
from gateway.domain.errors import Conflicting, NotFound, QuotagateError, RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import OPEN, SUBSCRIPTION, Order
from gateway.domain.principal import is_license
from gateway.domain.schedule import zone_of
from gateway.domain.subscription import (
    ACTIVE,
    ENDED,
    GRACE,
    PENDING,
    Subscription,
    is_upgrade,
    next_look,
    notices,
    reminder,
    upgrade,
)
from gateway.ledger import bulk
from gateway.ledger.notices import insert as tell
from gateway.ledger.sales import orders as orders_table
from gateway.payments import books, crediting, orders
from gateway.payments.provider import Provider, ProviderRefused, ProviderUnavailable
from gateway.store import calls
from gateway.subscriptions import applying, course, rows

log = logging.getLogger("quotagate")

#: When one that cannot go on is tried again.
RETRY = timedelta(minutes=1)


def subscribe(
    system: System, provider: Provider, account: str, *, plan: str, method: str, channel: str, write_id: str
) -> tuple[Subscription, Order]:
    """A subscription that begins when its first order is paid, and that order. One that was never paid gives way to it.

    `write_id`: the request's own; a repeat answers with the same two. Raises RefusedInput for a plan that is not sold;
    Conflicting when the account has a subscription; and as `orders.top_up` does.
    """
    wanted = _plan(system, plan)
    if is_license(account):
        raise RefusedInput("a license has no subscription: its owner can have one")
    known = rows.by_write(system.ledger, write_id)
    if known is None:
        _make_way(system, provider, account)
        known = _new(system, account, wanted, method, channel, write_id)
    order = _order(system, provider, known, wanted.name, wanted.price, wanted.allowance, 1)
    return known, orders.place(system, provider, order, write_id)


def pay(
    system: System, provider: Provider, account: str, *, method: str, channel: str, write_id: str
) -> tuple[Subscription, Order]:
    """The order by which the next period of an account's subscription is paid: its first one, the one after the one
    that runs, or the one that is overdue. One that is open already is shown again, unless it is to be paid in another
    way from now on. `method` "": as before. Raises NotFound, Conflicting, and as `orders.top_up` does."""
    it = standing(system, account)
    if not it.renews:
        why = "has ended" if it.state == ENDED else "is paid for, or canceled: nothing is to be paid"
        raise Conflicting(f"subscription {it.id} {why}")
    if method and (method, channel) != (it.method, it.channel):
        it = _choose_method(system, it, method, channel)
    return it, _period_order(system, provider, it, write_id, "request")


def cancel(system: System, provider: Provider | None, id: str, *, at_once: bool, cause: str, note: str = "") -> None:
    """Ends a subscription with the period that is paid, or at once. Its open orders are called off. What was paid is
    not paid back by this. Raises NotFound, Conflicting."""
    it = course.cancel(system, id, at_once=at_once, cause=cause, note=note)
    _call_off(system, provider, open_orders(system, it))
    _follow(system, it)


def resume(system: System, id: str) -> None:
    """Takes back a cancellation that has not come about yet. Raises NotFound, Conflicting."""
    _follow(system, course.resume(system, id, cause="user"))


def change(
    system: System, provider: Provider, account: str, *, plan: str, write_id: str
) -> tuple[Subscription, Order | None]:
    """Another plan: a dearer one of the same length as soon as the difference for the rest of the period is paid, by
    the order that is returned; any other with the next period. Raises RefusedInput, NotFound, Conflicting, and as
    `orders.top_up` does."""
    to = _plan(system, plan)
    it = standing(system, account)
    repeated = books.by_write(system.ledger, write_id)
    if repeated is not None:
        return it, orders.place(system, provider, repeated, write_id)
    order = _upgrade_order(system, provider, it, to)
    it = course.choose(system, it.id, plan, cause="user", upgrade_order="" if order is None else order.id)
    _call_off(system, provider, (open for open in open_orders(system, it) if not _is_wanted(it, open)))
    return it, None if order is None else orders.place(system, provider, order, write_id)


def standing(system: System, account: str) -> Subscription:
    """An account's subscription as it is now, whatever the worker has come to. Raises NotFound where there is none."""
    found = rows.newest(system.ledger, account)
    if found is None:
        raise NotFound(f"account {account} has no subscription")
    it = course.catch_up(system, found.id)
    return it if it.is_followed_up else _follow(system, it)


def open_orders(system: System, it: Subscription) -> list[Order]:
    """The orders of a subscription that its owner may still pay, the newest first."""
    return [order for order in orders_of(system, it) if order.state in OPEN]


def orders_of(system: System, it: Subscription) -> list[Order]:
    """All orders that were ever made for a subscription, the newest first."""
    is_its = (orders_table.c.subscription == it.id) & (orders_table.c.subscription != "")
    query = select(orders_table).where(is_its).order_by(orders_table.c.created_at.desc(), orders_table.c.id.desc())
    with system.ledger.connect() as connection:
        return [books.read(row) for row in connection.execute(query).mappings()]


def act_due(system: System, provider: Provider | None, limit: int = 200) -> int:
    """Does what is due by now. Returns for how many subscriptions that was. What is wrong with one is logged, and holds
    up no other. Periods come before orders: what begins does not wait for a provider that is slow, nor behind those
    that do."""
    due = rows.due(system.ledger, system.now(), limit)
    tried = [_tried(system, id, partial(_keep_time, system, id)) for id in due]
    well = [it for it in tried if it is not None]
    for number, it in enumerate(well):
        try:
            _tried(system, it.id, partial(act, system, provider, it.id))
        except ProviderUnavailable as error:
            log.warning("orders for next periods are made later: %s", error)
            for waiting in well[number:]:
                rows.look_again(system.ledger, waiting, system.now() + RETRY)
            break
    return len(due)


def act(system: System, provider: Provider | None, id: str) -> Subscription:
    """All that is to be done about a subscription by now: periods that begin or end, Redis, what its owner is told, the
    order for the next period. As often as it is called. `provider`: None when nothing can be paid.

    Raises ProviderUnavailable, and what Redis and the database raise when they cannot be asked: all the same is to be
    done then.
    """
    while True:
        it = _keep_time(system, id)
        now, config = system.now(), system.config
        told, remind_days = config.notifications, config.subscriptions.remind_days
        found = [notice for notice in notices(it, remind_days, now) if notice.kind in told.kinds]
        tell(system.ledger, found, told.channels, now)
        if provider is not None and _is_to_be_asked(system, it, now):
            _ask(system, provider, it)
        if rows.look_again(system.ledger, it, next_look(it, remind_days, now)):
            return it


def _keep_time(system: System, id: str) -> Subscription:
    """What the clock makes of a subscription, in SQL and in Redis."""
    it = course.catch_up(system, id)
    if not it.is_followed_up:
        applying.apply(system, it.id)
    return it


def _tried(system: System, id: str, act: Callable[[], Subscription]) -> Subscription | None:
    """As it is then; None: it did not go well. What Redis, the database or the provider keep from being done is not
    this one's fault."""
    try:
        return act()
    except (*payouts.UNPAID_FOR_NOW, ProviderUnavailable):
        raise
    except QuotagateError as error:
        log.error("subscription %s stands still: %s", id, error)
        it = rows.find(system.ledger, id)
        if it.is_followed_up:
            rows.look_again(system.ledger, it, system.now() + RETRY)
        return None


def _follow(system: System, it: Subscription) -> Subscription:
    """Brings a step into Redis at once, where that can be asked: else the worker does."""
    try:
        applying.apply(system, it.id)
    except payouts.UNPAID_FOR_NOW as error:
        log.warning("subscription %s reaches Redis later: %s", it.id, error)
    return it


def _make_way(system: System, provider: Provider, account: str) -> None:
    found = rows.newest(system.ledger, account)
    if found is None:
        return
    it = course.catch_up(system, found.id)
    if it.state in (ACTIVE, GRACE):
        raise Conflicting(f"the account has subscription {it.id} to {it.plan} already: change or pay that")
    if it.state == PENDING:
        cancel(system, provider, it.id, at_once=True, cause="user", note="another one was asked for")


def _new(system: System, account: str, plan: Plan, method: str, channel: str, write_id: str) -> Subscription:
    now, config = system.now(), system.config
    known = system.runner.run(calls.peek(system.keys.account(account), now_ms=system.script_ms))
    if known is None:
        epoch.check_known(system, account)
    before = config.first_tier(account) if known is None else known.tier_after or known.tier
    tier = config.tier(plan.tier)
    it = Subscription(
        id=orders.new_id("sub_"), account=account, plan=plan.name, state=PENDING, method=method, channel=channel,
        anchor="", zone=zone_of(tier, known.zone if known else "").key, reset_hour=tier.reset_hour, period=0,
        period_starts_at=None, period_ends_at=None, tier_ends_at=None,
        tier_after=config.subscriptions.tier_after or before, cancel_at_end=False, next_plan="", next_order="",
        upgrade_order="", created_at=now, updated_at=now, ended_at=None, next_act_at=now,
    )  # fmt: skip
    try:
        with system.ledger.begin() as connection:
            bulk.begin(connection)
            rows.add(connection, it, write_id, "user")
    except IntegrityError:
        made = rows.by_write(system.ledger, write_id)
        if made is None:
            raise Conflicting(f"account {account} has a subscription already") from None
        return made
    return it


def _choose_method(system: System, it: Subscription, method: str, channel: str) -> Subscription:
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        it = rows.locked(connection, it.id)
        note = f"by {method} {channel}".strip()
        return rows.move(
            connection, it, "changed", cause="user", now=system.now(), note=note, method=method, channel=channel
        )


def _period_order(system: System, provider: Provider, it: Subscription, write_id: str, cause: str) -> Order:
    """The open order for the period that is to be paid next, or another one; those that are out of date are called
    off."""
    now = system.now()
    found = None
    for order in open_orders(system, it):
        is_current = order.expires_at is None or order.expires_at > now
        if found is None and is_current and order.period == it.period + 1 and _is_wanted(it, order):
            found = order
        elif order.id != it.upgrade_order:
            _call_off(system, provider, [order])
    if found is not None:
        return found if found.provider_id else orders.send(system, provider, found)
    plan = _plan(system, it.coming_plan)
    order = _order(system, provider, it, plan.name, plan.price, plan.allowance, it.period + 1)
    return orders.place(system, provider, order, write_id, cause)


def _is_wanted(it: Subscription, order: Order) -> bool:
    """Whether an order is still for what its subscription is to become, and paid in the way that was chosen."""
    if order.id == it.upgrade_order:
        return True
    return order.item == it.coming_plan and (order.method, order.channel) == (it.method, it.channel)


def _upgrade_order(system: System, provider: Provider, it: Subscription, to: Plan) -> Order | None:
    plan = system.config.plans.get(it.plan)
    if plan is None or it.state != ACTIVE or it.next_order or not is_upgrade(plan, to):
        return None
    starts_at, ends_at = it.period_starts_at, it.period_ends_at
    assert starts_at is not None
    assert ends_at is not None
    more = upgrade(plan, to, starts_at, ends_at, system.now())
    return _order(system, provider, it, to.name, more.price, more.units, it.period)


def _order(
    system: System, provider: Provider, it: Subscription, plan: str, price: Money, units: int, period: int
) -> Order:
    return orders.new_order(
        system, provider, it.account, SUBSCRIPTION, plan, price, method=it.method, channel=it.channel, units=units,
        subscription=it.id, period=period,
    )  # fmt: skip


def _is_to_be_asked(system: System, it: Subscription, now: datetime) -> bool:
    if it.coming_plan not in system.config.plans:
        return False
    return it.state == GRACE or reminder(it, system.config.subscriptions.remind_days, now) is not None


def _ask(system: System, provider: Provider, it: Subscription) -> None:
    """Makes the order for the next period, so that a reminder has something to be paid. Two workers make one: the
    order's id of writing says how many there were before. Raises ProviderUnavailable."""
    number = sum(order.period == it.period + 1 for order in orders_of(system, it))
    try:
        write_id = f"renew-{it.id}-{it.period + 1}-{number}"
        _period_order(system, provider, it, write_id, "clock")
    except ProviderRefused as error:
        log.warning("subscription %s: no order for its next period could be made: %s", it.id, error)


def _call_off(system: System, provider: Provider | None, unwanted: Iterable[Order]) -> None:
    """Ends orders with the provider, as far as it lets us: what is paid all the same is decided when it is."""
    for order in unwanted:
        if provider is None or not order.provider_id or order.provider != provider.name:
            continue
        try:
            found = provider.cancel(order)
        except (ProviderRefused, ProviderUnavailable) as error:
            log.warning("payment %s could not be called off: %s", order.id, error)
        else:
            crediting.take(system, order.id, found, "called off")


def _plan(system: System, name: str) -> Plan:
    if name not in system.config.plans:
        names = ", ".join(sorted(system.config.plans))
        raise RefusedInput(f"plan {name!r}: there is none; " + (f"there are {names}" if names else "none is sold here"))
    return system.config.plans[name]
