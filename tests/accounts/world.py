"""A system under test: calls as a gateway makes them, and a worker that records them when a test says so."""

from __future__ import annotations

from typing import Any

from gateway.accounts import balances, epoch
from gateway.accounts.drift import Drift
from gateway.accounts.reconcile import reconcile
from gateway.accounts.system import System
from gateway.domain.reservation import Account, Reserved, Settled, Stale
from gateway.domain.schedule import anchor_of, schedule
from gateway.domain.usage import Usage
from gateway.ledger.record import record
from gateway.store import calls
from gateway.store.inbox import Inbox
from tests.lua.books import Books
from worker.drain import drain_inbox


class World:
    def __init__(self, system: System) -> None:
        self.system = system
        #: Any: redis-py's types promise less than it does.
        self.redis: Any = system.redis
        epoch.ensure_epoch(system, "a test")

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def reserve(self, id: str, amount: int, account: str = "ada", tier: str = "free", model: str = "m1") -> None:
        outcome = self.try_reserve(id, amount, account, tier, model)
        assert isinstance(outcome, Reserved), outcome

    def try_reserve(
        self, id: str, amount: int, account: str = "ada", tier: str = "free", model: str = "m1"
    ) -> calls.ReserveOutcome:
        version, zone, anchor = 0, "", ""
        while True:
            plan = self.system.tier(tier)
            terms = calls.terms("chat", "/v1/chat", "p1", plan, schedule(plan, self.now_ms(), zone, anchor))
            outcome = self.system.runner.run(
                calls.reserve(self.key(account), id, amount, terms, version=version, zone=zone, model=model)
            )
            if not isinstance(outcome, Stale):
                return outcome
            version, tier, zone = outcome.version, outcome.tier, outcome.zone
            anchor = outcome.anchor or anchor_of(self.system.tier(tier), outcome.first_seen_ms, zone)

    def settle(self, id: str, cost: int, account: str = "ada") -> None:
        usage = Usage(input=10, output=cost)
        outcome = self.system.runner.run(calls.settle(self.key(account), id, cost, usage))
        assert isinstance(outcome, Settled), outcome

    def call(self, id: str, cost: int, account: str = "ada", tier: str = "free") -> None:
        """A call from its beginning to its end."""
        self.reserve(id, cost, account, tier)
        self.settle(id, cost, account)

    def grant(self, id: str, amount: int, account: str = "ada", **terms: Any) -> None:
        balances.grant(self.system, account, amount, id, "paid", **terms)

    def drain(self) -> int:
        """Records what waits, as the worker does."""
        drained = 0
        for partition in self.system.keys.all_partitions():
            inbox = Inbox(self.redis, partition, "test")
            inbox.open()
            drained += drain_inbox(inbox, lambda events: record(self.system.ledger, events))
        return drained

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def key(self, account: str = "ada") -> str:
        return self.system.keys.account(account)

    def now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def account(self, id: str = "ada") -> Account:
        found = self.system.runner.run(calls.peek(self.key(id)))
        assert found is not None
        return found

    def left(self, id: str = "ada") -> dict[str, int]:
        """What each bucket has left; periods by their kinds."""
        return {
            bucket.kind if bucket.kind != "credits" else bucket.id: bucket.left for bucket in self.account(id).buckets
        }

    def of(self, name: str, id: str = "ada") -> str:
        """A key of an account: name is "credits", or "day" for the day opened last."""
        if name in ("hour", "day", "week", "month"):
            found: Any = self.redis.hget(self.key(id), name)
            name = f"{name}:{found.decode()}"
        return self.system.keys.of_account(id, name)

    def partition(self, name: str, id: str = "ada") -> str:
        return self.system.keys.of_partition(self.system.keys.partition(id), name)

    # ── reconciling ──────────────────────────────────────────────────────────────────────────────────────────────────

    def drifts(self, **options: Any) -> list[Drift]:
        return [drift for drift, _ in reconcile(self.system, **options)]

    def kinds(self) -> set[str]:
        return {drift.kind for drift in self.drifts()}

    def fix(self) -> list[Drift]:
        """Mends, and shows that nothing differs then, before and after the ledger has heard of it."""
        found = list(reconcile(self.system, fix=True, actor="cli:tester"))
        assert all(mended for _, mended in found), found
        assert self.drifts() == []
        self.audit()
        self.drain()
        assert self.drifts() == []
        return [drift for drift, _ in found]

    def audit(self) -> None:
        """granted = left + held + spent for every account, read from raw keys."""
        books = Books(self.redis, self.now_ms())
        for id in books.names("account"):
            fields = books.hash("account", id)
            granted, spent, held = (int(fields[name]) for name in ("granted", "spent", "held"))
            left = sum(books.credits(id).values())
            for kind in ("hour", "day", "week", "month"):
                if kind in fields:
                    period = books.period(id, kind, fields[kind])
                    left += period["left"] if period else int(fields[f"{kind}_left"])
            assert granted == left + held + spent, fields
            assert min(granted, left, held, spent) >= 0, fields
