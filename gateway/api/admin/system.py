"""How the system stands, and which notices could not be delivered."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import select

from gateway.accounts import figures, reconcile
from gateway.accounts.system import System
from gateway.api.admin.common import OfAccount, ReadsSystem
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Cursor, Limit, Page
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute
from gateway.ledger import migrate, paging
from gateway.ledger.tables import accounts, deliveries, notices
from gateway.payments.standing import standing

router = APIRouter(prefix="/api/admin", tags=["system"], route_class=RepeatableRoute)

#: Accounts that a look at drift compares, when it is not asked about one.
SAMPLE = 20


class PartitionAnswer(Answer):
    name: str
    backlog_events: int = Field(description="Not in the ledger yet.")
    pending_events: int = Field(description="Of those: given to a worker, and not recorded yet.")
    poison_events: int = Field(description="Set aside, as they could not be recorded. Should be 0.")
    lag_ms: int = Field(description="Age of the oldest event that is not in the ledger.")
    open_holds: int
    held_units: int
    epoch: str | None = Field(description="Since when Redis knows what the ledger knows; null: nobody said so.")


class PaymentsAnswer(Answer):
    open_orders: int = Field(description="They can still be paid.")
    in_review: int = Field(description="An operator must decide about them.")
    credits_waiting: int = Field(description="Grants that are decided, and not in Redis yet. Should be 0 in seconds.")
    differences_open: int = Field(description="From the provider's books; nobody has looked at them.")


class SystemAnswer(Answer):
    version: str
    config: str = Field(description="Where the config in force was read from.")
    price_version: str
    ledger_revision: str | None
    newest_revision: str = Field(description="The one that this version of the gateway works with.")
    backlog_events: int
    poison_events: int
    lag_ms: int
    open_holds: int
    held_units: int
    payments: PaymentsAnswer
    partitions: list[PartitionAnswer]


class DriftAnswer(Answer):
    """One difference."""

    account: str
    kind: str = Field(examples=["balance"])
    what: str = Field(description="What it is, in words.")
    about: str = Field(description="A bucket, a total, a grant, a reservation; empty for the account itself.")
    redis: int | None
    ledger: int | None
    holds: list[str] = Field(description="Open holds behind it.")


class Drifts(Answer):
    looked_at: int = Field(description="Accounts that were compared.")
    items: list[DriftAnswer]


class NoticeAnswer(Answer):
    id: str
    kind: str
    account: str
    channel: str
    status: str
    tries: int
    next_try_at: datetime
    last_error: str
    created_at: datetime


@router.get("/system", response_model=SystemAnswer, responses=problems(), summary="How the system stands")
def read_system(admin: ReadsSystem, system: SystemOf) -> SystemAnswer:
    """What is open, what waits for the ledger and for how long, and what could not be recorded."""
    found = [PartitionAnswer(**asdict(each)) for each in figures.partitions(system)]
    return SystemAnswer(
        version=version("quotagate"),
        config=system.config.source,
        price_version=system.config.prices.version,
        ledger_revision=migrate.current(system.ledger),
        newest_revision=migrate.HEAD,
        backlog_events=sum(each.backlog_events for each in found),
        poison_events=sum(each.poison_events for each in found),
        lag_ms=max(each.lag_ms for each in found),
        open_holds=sum(each.open_holds for each in found),
        held_units=sum(each.held_units for each in found),
        payments=PaymentsAnswer(**asdict(standing(system.ledger))),
        partitions=found,
    )


@router.get("/drift", response_model=Drifts, responses=problems(), summary="Compare Redis with the ledger")
def read_drift(admin: ReadsSystem, system: SystemOf, account: OfAccount = None) -> Drifts:
    """Of one account, or of those that were seen last; nothing is mended. `quotagate reconcile` looks at all."""
    sample = [account] if account is not None else _seen_last(system)
    found = [drift for each in sample for drift in reconcile.drift(system, account=each)]
    return Drifts(looked_at=len(sample), items=[DriftAnswer(**asdict(drift)) for drift in found])


@router.get("/notices", response_model=Page[NoticeAnswer], responses=problems(), summary="List notices on their way")
def list_notices(
    admin: ReadsSystem,
    system: SystemOf,
    status: Annotated[Literal["failed", "waiting", "sent"], Query(description="How far they are.")] = "failed",
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[NoticeAnswer]:
    """Those that could not be delivered, unless another status is asked for."""
    rows = (
        select(deliveries, notices.c.kind, notices.c.account, notices.c.created_at)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(deliveries.c.status == status)
    )
    order = (deliveries.c.next_try_at, deliveries.c.id)
    found = paging.page(system.ledger, rows, order, cursor=cursor, limit=limit)
    names = set(NoticeAnswer.model_fields)
    items = [NoticeAnswer(**{name: value for name, value in row.items() if name in names}) for row in found.items]
    return Page[NoticeAnswer](items=items, next_cursor=found.next_cursor)


def _seen_last(system: System) -> list[str]:
    """As the ledger has seen them."""
    query = select(accounts.c.id).where(accounts.c.erased_at.is_(None))
    query = query.order_by(accounts.c.last_seen_at.desc(), accounts.c.id.desc()).limit(SAMPLE)
    with system.ledger.connect() as connection:
        return list(connection.execute(query).scalars())
