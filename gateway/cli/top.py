"""`quotagate top`: live balances, those last seen first."""

from __future__ import annotations

import time
from typing import Any

from gateway.accounts.balances import all_accounts
from gateway.accounts.system import System
from gateway.cli import show
from gateway.domain.reservation import Account


def watch(system: System, limit: int, every_s: float, *, once: bool, json: bool) -> None:
    """Prints until interrupted; with `once`, one look."""
    if json or once:
        while True:
            show.rows("accounts", (_row(account, system) for account in all_accounts(system, limit)), json)
            if once:
                return
            time.sleep(every_s)
    from rich.live import Live

    with Live(console=show.console(), refresh_per_second=max(1.0, 1 / every_s), screen=True) as live:
        while True:
            live.update(_table(all_accounts(system, limit), system))
            time.sleep(every_s)


def _row(account: Account, system: System) -> dict[str, Any]:
    return {
        "account": account.id,
        "tier": account.tier,
        "left": account.left,
        "held": account.held,
        "spent": account.spent,
        "requests": account.requests,
        "used_tokens": account.used_tokens,
        "idle_s": (account.now_ms - account.last_seen_ms) // 1000,
    }


def _table(accounts: list[Account], system: System) -> Any:
    from rich.table import Table

    table = Table(title=f"live balances, in {system.config.unit}s", title_justify="left")
    for name in ("account", "tier", "left", "held", "spent", "requests", "used_tokens", "idle_s"):
        table.add_column(name, justify="left" if name in ("account", "tier") else "right")
    for account in accounts:
        table.add_row(*(show.shown(value) for value in _row(account, system).values()))
    return table
