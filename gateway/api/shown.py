"""How balances and instants are shown, wherever they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.api.models import Answer
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Bucket


class BucketAnswer(Answer):
    kind: str
    id: str
    amount: int
    left: int
    ends_at: datetime | None


def bucket(shown: Bucket) -> dict[str, Any]:
    return {
        "kind": shown.kind, "id": shown.id, "amount": shown.amount, "left": shown.left,
        "ends_at": instant(shown.ends_at_ms),
    }  # fmt: skip


def instant(ms: int | None) -> str | None:
    """Whole seconds, in UTC."""
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def aware(named: datetime | None) -> datetime | None:
    """An instant that a query names, in UTC. Raises RefusedInput for one without its zone: it could be any of many."""
    if named is None:
        return None
    try:
        if named.tzinfo is not None:
            return named.astimezone(UTC)
    except OverflowError:
        raise RefusedInput(f"{named.isoformat()} is beyond the calendar") from None
    raise RefusedInput(f"{named.isoformat()} has no zone: write it as 2026-11-20T00:00:00Z, or with +07:00")
