"""Orders in SQL: made once, moved only where they can go, each step a row. Nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.domain.errors import NotFound
from gateway.domain.money import Money
from gateway.domain.order import TRANSITIONS, Instruction, Order
from gateway.ledger import bulk
from gateway.ledger.sales import order_steps, orders


def add(engine: Engine, order: Order, write_id: str, *, cause: str, next_poll_at: datetime) -> Order:
    """Writes an order, or finds the one that this request made before."""
    try:
        with engine.begin() as connection:
            connection.execute(insert(orders).values(_row(order, write_id, next_poll_at)))
            _note(connection, order.id, "", order.state, cause, "", order.created_at)
    except IntegrityError:
        known = by_write(engine, write_id)
        if known is None:
            raise
        return known
    return order


def find(engine: Engine, id: str) -> Order:
    """One order. Raises NotFound."""
    with engine.connect() as connection:
        row = connection.execute(select(orders).where(orders.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no payment {id!r}")
    return read(row)


def by_write(engine: Engine, write_id: str) -> Order | None:
    """The order that a request made, if it did."""
    with engine.connect() as connection:
        row = connection.execute(select(orders).where(orders.c.write_id == write_id)).mappings().one_or_none()
    return None if row is None else read(row)


def locked(connection: Connection, id: str) -> Order:
    """An order that nobody else moves until this transaction ends; begin it with `bulk.begin`. Raises NotFound."""
    row = connection.execute(select(orders).where(orders.c.id == id).with_for_update()).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no payment {id!r}")
    return read(row)


def move(
    connection: Connection, order: Order, state: str, *, cause: str, now: datetime, note: str = "", **values: Any
) -> Order:
    """Moves a locked order to a state that it can go to, with other columns that change. Returns it as it is then."""
    if state not in TRANSITIONS[order.state]:
        raise ValueError(f"order {order.id} cannot go from {order.state} to {state}")
    change(connection, order, now=now, state=state, note=note[:1000], **values)
    _note(connection, order.id, order.state, state, cause, note, now)
    return locked(connection, order.id)


def change(connection: Connection, order: Order, *, now: datetime, **values: Any) -> None:
    """Changes columns of a locked order, but its state: that is `move`'s."""
    connection.execute(update(orders).where(orders.c.id == order.id).values(updated_at=now, **values))


def poll_at(engine: Engine, id: str, at: datetime | None) -> None:
    """Says when the provider is asked about an order next; None: no more."""
    with engine.begin() as connection:
        bulk.begin(connection)
        connection.execute(update(orders).where(orders.c.id == id).values(next_poll_at=at))


def read(row: RowMapping | Mapping[str, Any]) -> Order:
    """A row of `orders` as an order."""
    instruction = json.loads(row["instruction"]) if row["instruction"] else {}
    return Order(
        id=row["id"], account=row["account"], purpose=row["purpose"], item=row["item"], units=row["units"],
        bonus=row["bonus"], valid_days=row["valid_days"], price=Money(row["price"], row["currency"]),
        provider=row["provider"], method=row["method"], channel=row["channel"], state=row["state"],
        created_at=row["created_at"], updated_at=row["updated_at"], provider_id=row["provider_id"],
        instruction=Instruction(**instruction), expires_at=row["expires_at"], paid_at=row["paid_at"],
        credited_at=row["credited_at"], subscription=row["subscription"], period=row["period"], note=row["note"],
    )  # fmt: skip


def instruction_text(instruction: Instruction) -> str:
    """As the table keeps it: only what is there."""
    said = {"qr_string": instruction.qr_string, "va_number": instruction.va_number, "url": instruction.url}
    return json.dumps({name: value for name, value in said.items() if value})


def _row(order: Order, write_id: str, next_poll_at: datetime) -> dict[str, Any]:
    return {
        "id": order.id, "write_id": write_id, "account": order.account, "purpose": order.purpose, "item": order.item,
        "units": order.units, "bonus": order.bonus, "valid_days": order.valid_days, "price": order.price.minor,
        "currency": order.price.currency, "provider": order.provider, "method": order.method,
        "channel": order.channel, "state": order.state, "subscription": order.subscription, "period": order.period,
        "expires_at": order.expires_at, "created_at": order.created_at, "updated_at": order.updated_at,
        "next_poll_at": next_poll_at,
    }  # fmt: skip


def _note(connection: Connection, id: str, before: str, state: str, cause: str, note: str, now: datetime) -> None:
    is_it = order_steps.c.order == id
    number = connection.execute(select(func.coalesce(func.max(order_steps.c.number), 0)).where(is_it)).scalar_one() + 1
    connection.execute(
        insert(order_steps).values(
            order=id, number=number, at=now, state_before=before, state=state, cause=cause[:200], note=note[:1000]
        )
    )
