"""A system that gives rewards: its clock, its accounts, and what it owes and has paid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
import redis
from sqlalchemy import Engine, insert, select

from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.errors import StoreUnavailable
from gateway.ledger.sales import credits_due, orders
from gateway.ledger.tables import accounts
from gateway.store import acts, calls
from gateway.store.runner import Runner
from tests.support.config import config_text

T = TypeVar("T")

REWARDS = """
[rewards]
priority = 40
[rewards.check_in]
amount = 3
streaks = { 3 = 10 }
[rewards.once.survey]
title = "Thank you"
amount = 25
by = "user"
valid_days = 90
[rewards.once.bug]
amount = 100
[rewards.referral]
referrer = 20
referred = 10
most = 2
"""
NOON = datetime(2026, 11, 20, 5, tzinfo=UTC)  # In Jakarta.


class Giving:
    def __init__(self, client: redis.Redis, ledger: Engine, more: str = REWARDS) -> None:
        self.now = NOON
        config = parse(config_text(more=more), "config.toml", {})
        self.system = System(config, client, ledger, clock=lambda: self.now)

    def ruled_by(self, *changes: tuple[str, str]) -> System:
        """The same by another config."""
        more = REWARDS
        for before, after in changes:
            assert before in more
            more = more.replace(before, after)
        return replace(self.system, config=parse(config_text(more=more), "config.toml", {}))

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, account: str, zone: str = "", *, move: bool = False) -> None:
        call = calls.open_account(
            self.system.keys.account(account), self.system.tier("payg"), zone=zone, move=move,
            now_ms=self.system.script_ms,
        )  # fmt: skip
        self.system.runner.run(call)

    def suspend(self, account: str) -> None:
        self.system.runner.run(acts.set_status(self.system.keys.account(account), "suspended"))

    def recorded(self, account: str, requests: int = 0, status: str = "active") -> None:
        """As the worker records it."""
        seen = {"first_seen_at": self.now, "last_seen_at": self.now}
        with self.system.ledger.begin() as connection:
            connection.execute(insert(accounts).values(id=account, requests=requests, status=status, **seen))

    def order(self, account: str, state: str = "credited") -> None:
        """As payments leave one."""
        paid_at = None if state in ("created", "pending") else self.now
        row = {
            "id": f"ord_{account}", "write_id": f"w-{account}", "account": account, "purpose": "topup", "item": "small",
            "units": 10, "bonus": 0, "valid_days": 0, "price": 100, "currency": "IDR", "provider": "xendit",
            "method": "qris", "channel": "", "state": state, "created_at": self.now, "updated_at": self.now,
            "paid_at": paid_at,
        }  # fmt: skip
        with self.system.ledger.begin() as connection:
            connection.execute(insert(orders).values(row))

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def credits(self, account: str = "ada") -> dict[str, int]:
        """What each grant of an account has left, but for its sign-up's."""
        found = self.system.runner.run(calls.peek(self.system.keys.account(account), now_ms=self.system.script_ms))
        if found is None:
            return {}
        return {b.id: b.left for b in found.buckets if b.kind == "credits" and b.id != "signup"}

    def owed(self) -> list[tuple[str, str, int, bool]]:
        """Account, grant, amount, and whether it is paid."""
        with self.system.ledger.connect() as connection:
            rows = connection.execute(select(credits_due).order_by(credits_due.c.account, credits_due.c.id)).all()
        return [(row.account, row.id, row.amount, row.granted_at is not None) for row in rows]

    def rows(self, table: Any) -> list[Any]:
        with self.system.ledger.connect() as connection:
            return list(connection.execute(select(table)).all())


def away(monkeypatch: pytest.MonkeyPatch, script: str = "grant") -> None:
    """From now on the process dies, or loses Redis, before it runs a script of this name."""
    run = Runner.run

    def fail(self: Runner, call: Any) -> Any:
        if call.script == script:
            raise StoreUnavailable("away")
        return run(self, call)

    monkeypatch.setattr(Runner, "run", fail)


def together(acts: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What each came to, all begun at once."""

    def one(act: Callable[[], T]) -> T | Exception:
        try:
            return act()
        except Exception as error:  # noqa: BLE001  each test says which it expects
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


HOUR = timedelta(hours=1)
