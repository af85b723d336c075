"""A shop that sells plans, its clock, and its worker: both do as a test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import redis
from sqlalchemy import Engine

from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.order import Order
from gateway.domain.reservation import Account, Stale
from gateway.domain.schedule import schedule
from gateway.domain.subscription import Subscription
from gateway.payments import crediting, renewals
from gateway.store import calls
from gateway.subscriptions import rows
from tests.payments.shop import Till
from tests.support.config import config_text

PLANS = """
[payments]
provider = "xendit"
[payments.xendit]
secret_key = "xnd_test"
callback_token = "token"
[tiers.plus]
[tiers.prime]
[plans.plus]
tier = "plus"
price = "30000 IDR"
allowance = 1000
grace_days = 5
[plans.prime]
tier = "prime"
price = "90000 IDR"
allowance = 3000
grace_days = 5
[plans.strict]
tier = "plus"
price = "20000 IDR"
allowance = 500
[plans.yearly]
tier = "prime"
price = "900000 IDR"
every = "year"
allowance = 40_000
grace_days = 5
[notifications]
kinds = ["subscription_started", "renewal_due", "renewal_overdue", "subscription_ended"]
"""


class Club:
    def __init__(self, client: redis.Redis, ledger: Engine, zone: str = "Asia/Jakarta", more: str = "") -> None:
        self.zone = ZoneInfo(zone)
        self.now = datetime(2027, 1, 31, 10, tzinfo=self.zone).astimezone(UTC)
        text = config_text().replace('timezone = "Asia/Jakarta"', f'timezone = "{zone}"')
        self.system = System(parse(text + PLANS + more, "config.toml", {}), client, ledger, clock=lambda: self.now)
        ensure_epoch(self.system, "a test")
        self.till = Till()
        self._writes = 0

    # ── what its owner does ──────────────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, plan: str = "plus", account: str = "ada", write_id: str = "") -> tuple[Subscription, Order]:
        return renewals.subscribe(
            self.system, self.till, account, plan=plan, method="qris", channel="", write_id=write_id or self.write()
        )

    def bill(self, account: str = "ada", method: str = "", channel: str = "") -> Order:
        """The order for the next period."""
        asked = {"method": method, "channel": channel, "write_id": self.write()}
        return renewals.pay(self.system, self.till, account, **asked)[1]

    def pay(self, order: Order | None = None, account: str = "ada") -> Order:
        """Pays an order, or the next period."""
        order = order or self.bill(account)
        self.till.pay(order.id)
        return self.take(order)

    def join(self, plan: str = "plus", account: str = "ada") -> Subscription:
        """Subscribes and pays."""
        _, order = self.subscribe(plan, account)
        assert self.pay(order).state == "credited"
        return self.standing(account)

    def change(self, plan: str, account: str = "ada") -> Order | None:
        return renewals.change(self.system, self.till, account, plan=plan, write_id=self.write())[1]

    def cancel(self, account: str = "ada", *, at_once: bool = False) -> None:
        renewals.cancel(self.system, self.till, self.row(account).id, at_once=at_once, cause="user")

    # ── what others do ───────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, order: Order) -> Order:
        """What a poll makes of what the provider says now."""
        return crediting.take(self.system, order.id, self.till.found[order.id], "poll")

    def work(self) -> int:
        return renewals.act_due(self.system, self.till)

    def write(self) -> str:
        self._writes += 1
        return f"w{self._writes}"

    # ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────

    def at(self, local: str) -> None:
        """ "2027-02-28 00:00" of the local clock, and if no clock showed that, the first instant after it."""
        self.now = self.instant(local)

    def instant(self, local: str) -> datetime:
        return datetime.fromisoformat(local).replace(tzinfo=self.zone).astimezone(UTC)

    def later(self, **how: int) -> None:
        self.now += timedelta(**how)

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def row(self, account: str = "ada") -> Subscription:
        found = rows.newest(self.system.ledger, account)
        assert found is not None
        return found

    def standing(self, account: str = "ada") -> Subscription:
        return renewals.standing(self.system, account)

    def account(self, account: str = "ada") -> Account:
        key = self.system.keys.account(account)
        found = self.system.runner.run(calls.peek(key, now_ms=self.system.script_ms))
        assert found is not None
        return found

    def has(self, account: str = "ada") -> tuple[str, int]:
        """An account's tier, and what is left of its plan's allowance."""
        found = self.account(account)
        return found.tier, sum(bucket.left for bucket in found.buckets if bucket.id.startswith("subscription:"))

    def called(self, account: str = "ada") -> str:
        """The tier that a gateway is told of whose view of the account is out of date."""
        plan = self.system.tier("free")
        now_ms = self.system.script_ms
        assert now_ms is not None
        known = calls.terms("chat", "/v1/chat", "p1", plan, schedule(plan, now_ms))
        key = self.system.keys.account(account)
        outcome = self.system.runner.run(calls.reserve(key, f"call-{now_ms}", 0, known, now_ms=now_ms))
        assert isinstance(outcome, Stale)
        return outcome.tier

    def steps(self, account: str = "ada") -> list[str]:
        return [step.act for step in rows.steps(self.system.ledger, self.row(account).id)]
