"""Where the provider's books and ours differ: noted once, shown until an operator has looked at it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select, update

from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import NotFound
from gateway.ledger import bulk, paging
from gateway.ledger.paging import Page
from gateway.ledger.sales import payment_differences


def note(
    connection: Connection, kind: str, provider: str, *, now: datetime, text: str, order: str = "", payment: str = "",
    mended_by: str = "",
) -> bool:  # fmt: skip
    """Writes a difference down, unless it is. Returns whether it was new.

    `mended_by`: what has put it right already; nobody needs to look at it then.
    """
    id = f"{kind} {provider} {payment or order}"
    row = {
        "id": id, "kind": kind, "provider": provider, "order": order, "payment": payment, "note": text[:1000],
        "found_at": now, "resolved_at": now if mended_by else None, "resolved_by": mended_by,
    }  # fmt: skip
    return bulk.insert_once(connection, payment_differences, row)


def listed(engine: Engine, *, resolved: bool = False, cursor: str | None = None, limit: int = 50) -> Page:
    """Those that somebody has looked at, or nobody; the newest first. Raises RefusedInput for a bad cursor or limit."""
    is_resolved = payment_differences.c.resolved_at.is_not(None)
    rows = select(payment_differences).where(is_resolved if resolved else ~is_resolved)
    return paging.page(
        engine, rows, (payment_differences.c.found_at, payment_differences.c.id), cursor=cursor, limit=limit
    )


def resolve(system: System, by: By, id: str) -> dict[str, Any]:
    """An operator has looked at a difference, and done what was to be done; noted once by the act's id. Returns its
    row. Raises NotFound, RefusedInput without a reason."""
    is_it = payment_differences.c.id == id

    def look() -> dict[str, Any]:
        with system.ledger.connect() as connection:
            row = connection.execute(select(payment_differences).where(is_it)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no difference {id!r}")
        return dict(row)

    def act() -> None:
        is_open = is_it & payment_differences.c.resolved_at.is_(None)
        with system.ledger.begin() as connection:
            bulk.begin(connection)
            connection.execute(
                update(payment_differences).where(is_open).values(resolved_at=system.now(), resolved_by=by.actor)
            )

    look()
    once(system, by, "payment.resolve_difference", f"difference:{id}"[:220], look, act, needs_reason=True)
    return look()
