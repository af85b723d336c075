"""Where the provider's books and ours differ: noted once, shown until an operator has looked at it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from gateway.ledger.sales import payment_differences


def note(
    connection: Connection, kind: str, provider: str, *, now: datetime, text: str, order: str = "", payment: str = ""
) -> bool:
    """Writes a difference down, unless it is. Returns whether it was new. Begin the transaction with `bulk.begin`."""
    id = f"{kind} {provider} {payment or order}"
    if connection.execute(select(payment_differences.c.id).where(payment_differences.c.id == id)).one_or_none():
        return False
    connection.execute(
        insert(payment_differences).values(
            id=id, kind=kind, provider=provider, order=order, payment=payment, note=text[:1000], found_at=now
        )
    )
    return True
