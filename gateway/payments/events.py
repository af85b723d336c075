"""Webhooks in SQL: each that told something of its own is one row, however often it came. Nothing is decided here.

waiting → applied    what it told of was done
    └──→ ignored     there is nothing to do about it: `note` says why
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, Select, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.ledger import bulk
from gateway.ledger.sales import webhook_events
from gateway.payments.provider import Notification

WAITING: Final = "waiting"
APPLIED: Final = "applied"
IGNORED: Final = "ignored"

#: How long what providers told is kept. None of them repeats a webhook for longer than some days.
KEPT = timedelta(days=90)
#: How many rows one statement deletes, so that no other has to wait for long.
_BATCH = 5000


def heard(engine: Engine, provider: str, told: Notification, now: datetime) -> tuple[str, str]:
    """Writes a webhook down, or counts that it came again. Returns its row's id, and what became of it so far."""
    id = f"{provider} {told.id}"
    row = {
        "id": id, "provider": provider, "event": told.event, "reference_id": told.refund_id or told.reference_id,
        "provider_id": told.provider_id, "payment_id": told.payment_id, "received_at": now, "times": 1,
        "outcome": WAITING, "note": "",
    }  # fmt: skip
    with engine.begin() as connection:
        bulk.begin(connection)
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        insertion = dialect.insert(webhook_events).values(row)
        counted = insertion.on_conflict_do_update(
            index_elements=["id"], set_={"times": webhook_events.c.times + 1}
        ).returning(webhook_events.c.outcome)
        outcome: str = connection.execute(counted).scalar_one()
    return id, outcome


def end(engine: Engine, id: str, outcome: str, note: str) -> None:
    """Says what became of a webhook."""
    _set(engine, webhook_events.c.id == id, outcome, note)


def caught_up(engine: Engine, reference_id: str) -> None:
    """What was told of an order or a refund has been asked for since."""
    waits = (webhook_events.c.reference_id == reference_id) & (webhook_events.c.outcome == WAITING)
    _set(engine, waits, APPLIED, "asked for later")


def waiting(engine: Engine, order: str) -> list[str]:
    """The provider's ids, in webhooks of an order that wait."""
    waits = (webhook_events.c.reference_id == order) & (webhook_events.c.outcome == WAITING)
    with engine.connect() as connection:
        return [id for id in connection.execute(select(webhook_events.c.provider_id).where(waits)).scalars() if id]


def about(references: Sequence[str]) -> Select[Any]:
    """The rows of what was told of some orders and refunds, the first first."""
    is_one = webhook_events.c.reference_id.in_(references)
    return select(webhook_events).where(is_one).order_by(webhook_events.c.received_at, webhook_events.c.id)


def forget(engine: Engine, now: datetime) -> int:
    """Deletes what was told so long ago that nobody repeats it. Returns how many rows that were."""
    is_old = webhook_events.c.received_at < now - KEPT
    some = select(webhook_events.c.id).where(is_old).limit(_BATCH)
    deleted = 0
    while True:
        with engine.begin() as connection:
            count = connection.execute(delete(webhook_events).where(webhook_events.c.id.in_(some))).rowcount
        deleted += count
        if count < _BATCH:
            return deleted


def _set(engine: Engine, which: object, outcome: str, note: str) -> None:
    change = update(webhook_events).where(which).values(outcome=outcome, note=note[:500])  # type: ignore[arg-type]
    with engine.begin() as connection:
        connection.execute(change)
