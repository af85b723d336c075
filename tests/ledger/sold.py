"""Rows of what accounts bought, for tests of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

INSTANT = datetime(2026, 11, 20, 10, tzinfo=UTC)


def order(name: str) -> dict[str, Any]:
    """One that is not paid yet."""
    return {
        "id": f"o{len(name)}", "write_id": f"w{len(name)}", "account": name, "purpose": "topup", "item": "small",
        "units": 100, "bonus": 0, "valid_days": 0, "price": 100, "currency": "IDR", "provider": "xendit",
        "method": "qris", "channel": "", "state": "pending", "created_at": INSTANT, "updated_at": INSTANT,
    }  # fmt: skip


def subscription(name: str) -> dict[str, Any]:
    """One that is paid for."""
    return {
        "id": f"s{len(name)}", "write_id": f"w{len(name)}", "account": name, "plan": "pro", "state": "active",
        "method": "qris", "channel": "", "cancel_at_end": False, "created_at": INSTANT, "updated_at": INSTANT,
    }  # fmt: skip
