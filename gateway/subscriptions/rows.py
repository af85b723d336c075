"""Subscriptions in SQL: one that lives an account, each step a row. Nothing is decided here."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, RowMapping, Select, func, insert, select, update

from gateway.domain.errors import NotFound
from gateway.domain.subscription import ENDED, Subscription
from gateway.ledger import bulk
from gateway.ledger.paging import Page, page
from gateway.ledger.sales import subscription_steps, subscriptions

_NAMES = tuple(field.name for field in fields(Subscription))


class Step(NamedTuple):
    """What happened to a subscription, and who made it."""

    number: int
    at: datetime
    act: str
    cause: str
    note: str


def add(connection: Connection, it: Subscription, write_id: str, cause: str) -> None:
    """Writes one. Raises IntegrityError when the account has one that lives, or the request made one before."""
    row = {name: getattr(it, name) for name in _NAMES}
    connection.execute(insert(subscriptions).values(row | {"write_id": write_id}))
    _note(connection, it.id, "subscribed", cause, "", it.created_at)


def find(engine: Engine, id: str) -> Subscription:
    """One subscription. Raises NotFound."""
    found = _one(engine, select(subscriptions).where(subscriptions.c.id == id))
    if found is None:
        raise NotFound(f"there is no subscription {id!r}")
    return found


def by_write(engine: Engine, write_id: str) -> Subscription | None:
    """The subscription that a request made, if it did."""
    return _one(engine, select(subscriptions).where(subscriptions.c.write_id == write_id))


def newest(engine: Engine, account: str) -> Subscription | None:
    """An account's subscription: the one that lives, else the one that was made last."""
    order = (subscriptions.c.state == ENDED, subscriptions.c.created_at.desc(), subscriptions.c.id.desc())
    return _one(engine, select(subscriptions).where(subscriptions.c.account == account).order_by(*order).limit(1))


def living(connection: Connection, account: str) -> str | None:
    """The id of the account's subscription that has not ended."""
    lives = (subscriptions.c.account == account) & (subscriptions.c.state != ENDED)
    return connection.execute(select(subscriptions.c.id).where(lives)).scalar_one_or_none()


def due(engine: Engine, now: datetime, limit: int) -> list[str]:
    """The ids of those about which something is to be done by now, the longest overdue first."""
    is_due = subscriptions.c.next_act_at <= now
    query = select(subscriptions.c.id).where(is_due).order_by(subscriptions.c.next_act_at).limit(limit)
    with engine.connect() as connection:
        return list(connection.execute(query).scalars())


def listed(
    engine: Engine,
    *,
    account: str | None = None,
    state: str | None = None,
    plan: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """A page of rows, the newest first. Raises RefusedInput."""
    query = select(subscriptions)
    wanted = {subscriptions.c.account: account, subscriptions.c.state: state, subscriptions.c.plan: plan}
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    return page(engine, query, (subscriptions.c.created_at, subscriptions.c.id), cursor=cursor, limit=limit)


def steps(engine: Engine, id: str) -> list[Step]:
    """All that happened to a subscription, the first step first."""
    columns = [subscription_steps.c[name] for name in Step._fields]
    query = select(*columns).where(subscription_steps.c.subscription == id).order_by(subscription_steps.c.number)
    with engine.connect() as connection:
        return [Step(*row) for row in connection.execute(query)]


def locked(connection: Connection, id: str) -> Subscription:
    """A subscription that nobody else moves until this transaction ends; begin it with `bulk.begin`. Raises
    NotFound."""
    query = select(subscriptions).where(subscriptions.c.id == id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no subscription {id!r}")
    return read(row)


def move(
    connection: Connection, it: Subscription, act: str, *, cause: str, now: datetime, note: str = "", **values: Any
) -> Subscription:
    """Changes a locked subscription, and writes down why. What the step asks for is due at once."""
    values |= {"updated_at": now, "next_act_at": now}
    connection.execute(update(subscriptions).where(subscriptions.c.id == it.id).values(values))
    _note(connection, it.id, act, cause, note, now)
    return locked(connection, it.id)


def look_again(engine: Engine, it: Subscription, at: datetime | None) -> bool:
    """Says when something is to be done about it next, unless it has changed. Returns whether it had not."""
    with engine.begin() as connection:
        bulk.begin(connection)
        if locked(connection, it.id) != it:
            return False
        connection.execute(update(subscriptions).where(subscriptions.c.id == it.id).values(next_act_at=at))
    return True


def read(row: RowMapping | Any) -> Subscription:
    """A row of `subscriptions` as a subscription."""
    return Subscription(**{name: row[name] for name in _NAMES})


def _one(engine: Engine, query: Select[Any]) -> Subscription | None:
    with engine.connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else read(row)


def _note(connection: Connection, id: str, act: str, cause: str, note: str, now: datetime) -> None:
    is_it = subscription_steps.c.subscription == id
    last = connection.execute(select(func.coalesce(func.max(subscription_steps.c.number), 0)).where(is_it)).scalar_one()
    connection.execute(
        insert(subscription_steps).values(
            subscription=id, number=last + 1, at=now, act=act, cause=cause[:200], note=note[:1000]
        )
    )
