"""Orders as people look at them: in pages, summed up, and one with all that happened to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Column, Engine, Row, Select, func, or_, select

from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import Order
from gateway.domain.period import EPOCH, day_windows
from gateway.ledger import paging
from gateway.ledger.sales import order_steps, orders, payments, refunds
from gateway.payments import books, events

#: Days that are summed up one by one, at the most, and how many are without a word.
MAX_DAYS, USUAL_DAYS = 366, 30

By = Literal["day", "method", "state"]
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of orders, the newest first."""

    items: tuple[Order, ...]
    #: None: there are no more.
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Total:
    """Orders of one day, method or state, in one currency."""

    #: Such as "2026-11-20", "qris" or "credited".
    name: str
    count: int
    #: What they cost together.
    money: Money


@dataclass(frozen=True, slots=True)
class Whole:
    """One order and all that happened to it: rows by column, each list in the order in which it happened."""

    order: Order
    steps: Rows
    payments: Rows
    refunds: Rows
    events: Rows


def of_account(
    engine: Engine, account: str, *, state: str | None = None, cursor: str | None = None, limit: int = 50
) -> Listed:
    """An account's orders. Raises RefusedInput for a bad cursor or limit."""
    return listed(engine, account=account, state=state, cursor=cursor, limit=limit)


def listed(
    engine: Engine,
    *,
    account: str | None = None,
    state: str | None = None,
    method: str | None = None,
    provider: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    q: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Listed:
    """Orders that were made in that time, `until` excluded. `q`: the whole id, ours or the provider's; "": any. Raises
    RefusedInput for a bad cursor or limit."""
    rows = _within(select(orders), since, until)
    wanted = {orders.c.account: account, orders.c.state: state, orders.c.method: method, orders.c.provider: provider}
    rows = rows.where(*(column == value for column, value in wanted.items() if value is not None))
    if q:
        rows = rows.where(or_(orders.c.id == q, orders.c.provider_id == q))
    page = paging.page(engine, rows, (orders.c.created_at, orders.c.id), cursor=cursor, limit=limit)
    return Listed(tuple(books.read(row) for row in page.items), page.next_cursor)


def totals(system: System, by: By, *, since: datetime | None = None, until: datetime | None = None) -> list[Total]:
    """Orders that were made in that time, summed up, each currency by itself: those of a day (of the default tier's
    zone) or a method as far as money came for them, those of a state all.

    Left out, `until` is now, and of days `since` is 30 days before it. Raises RefusedInput for more than 366 days, and
    for those that no calendar has.
    """
    if by == "state":
        return _sums(system.ledger, _within(_summed(orders.c.state), since, until))
    is_paid = orders.c.paid_at.is_not(None)
    if by == "method":
        return _sums(system.ledger, _within(_summed(orders.c.method).where(is_paid), since, until))
    until = until or system.now()
    try:
        since = since or until - timedelta(days=USUAL_DAYS)
        if until - since > timedelta(days=MAX_DAYS):
            raise RefusedInput(f"totals by day are of at most {MAX_DAYS} days")
        days = list(_days(since, until, system.tier(system.config.default_tier).zone))
    except OverflowError:
        raise RefusedInput(f"the days before {until.isoformat()} go beyond the calendar") from None
    found = []
    for name, begins, ends in days:
        rows = _within(_summed().where(is_paid), begins, ends)
        found += [Total(name, each.count, each.money) for each in _sums(system.ledger, rows)]
    return found


def whole(engine: Engine, order: Order) -> Whole:
    """An order with every step, payment, refund and webhook."""
    given_back = select(refunds).where(refunds.c.order == order.id).order_by(refunds.c.created_at, refunds.c.id)
    steps = select(order_steps).where(order_steps.c.order == order.id).order_by(order_steps.c.number)
    paid = select(payments).where(payments.c.order == order.id).order_by(payments.c.seen_at, payments.c.id)
    with engine.connect() as connection:

        def rows(query: Select[Any]) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query).mappings()]

        back = rows(given_back)
        told = events.about((order.id, *(refund["id"] for refund in back)))
        return Whole(order, rows(steps), rows(paid), back, rows(told))


def _within(rows: Select[Any], since: datetime | None, until: datetime | None) -> Select[Any]:
    if since is not None:
        rows = rows.where(orders.c.created_at >= since)
    return rows if until is None else rows.where(orders.c.created_at < until)


def _summed(*names: Column[str]) -> Select[Any]:
    columns = (orders.c.currency, func.count().label("orders"), func.sum(orders.c.price).label("price"))
    return select(*columns, *(name.label("name") for name in names)).group_by(orders.c.currency, *names)


def _sums(engine: Engine, rows: Select[Any]) -> list[Total]:
    with engine.connect() as connection:
        found = connection.execute(rows).all()
    return sorted((_total(row) for row in found), key=lambda total: (total.name, total.money.currency))


def _total(row: Row[Any]) -> Total:
    return Total(getattr(row, "name", ""), row.orders, Money(int(row.price), row.currency))


def _days(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[tuple[str, datetime, datetime]]:
    """The local days of a time, each with its date; the first and the last perhaps not whole."""
    while since < until:
        day = day_windows(_ms(since), zone)
        ends = min(EPOCH + timedelta(milliseconds=day.ends_ms), until)
        yield day.id, since.astimezone(UTC), ends
        since = ends


def _ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)
