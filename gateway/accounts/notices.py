"""What owners of accounts were told, and what could not be delivered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.ledger import notices

#: Of one page.
MOST = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a notice fares on one way."""

    #: "webhook" or "email".
    channel: str
    #: "waiting", "sent" or "failed": given up.
    status: str
    tries: int
    next_try_at: datetime
    sent_at: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice, as it stands."""

    id: str
    kind: str
    account: str
    created_at: datetime
    #: What is told: amounts in units, names.
    facts: dict[str, Any]
    deliveries: tuple[Delivery, ...]


def listed(
    system: System,
    account: str | None = None,
    *,
    failed: bool = False,
    limit: int = 100,
    before: Notice | None = None,
) -> list[Notice]:
    """Up to `limit` notices, the newest first. `failed`: only those with a delivery whose last try failed. `before`:
    the last one of the page before. Raises RefusedInput."""
    if not 1 <= limit <= MOST:
        raise RefusedInput(f"the limit is {limit}, and must be from 1 to {MOST}")
    rows = notices.listed(
        system.ledger,
        account=None if account is None else look_up(account),
        failed_only=failed,
        limit=limit,
        before=None if before is None else (before.created_at, before.id),
    )
    return [
        Notice(
            row["id"], row["kind"], row["account"], row["created_at"], row["body"],
            tuple(Delivery(**delivery) for delivery in row["deliveries"]),
        )
        for row in rows
    ]  # fmt: skip
