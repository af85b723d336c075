"""One account under test, called as a gateway would call it, at a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import redis

from gateway.domain.acts import UseLine
from gateway.domain.event import Event, read_event
from gateway.domain.policy import Policy
from gateway.domain.reservation import Account, Expired, Opened, Reserved, Stale
from gateway.domain.schedule import anchor_of, schedule
from gateway.domain.tier import Allowance, Tier
from gateway.domain.usage import Usage
from gateway.store import acts, calls
from gateway.store.keys import Keys
from gateway.store.runner import Runner

JAKARTA = ZoneInfo("Asia/Jakarta")
#: The gateway's usual tier: 15 units to begin with, 5 more each day.
FREE = Tier("free", signup=15, allowances=(Allowance("day", 5),), zone=JAKARTA)
#: Every kind of bucket but the rarer periods, each too small for the largest calls of a test.
EVERY_KIND = Tier("every", signup=7, allowances=(Allowance("day", 3), Allowance("month", 4)), zone=JAKARTA)
#: Nothing but what is granted.
PAYG = Tier("payg", zone=JAKARTA)

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1000, 60_000, 3_600_000, 86_400_000
LEASE_MS = MINUTE_MS


def at(text: str) -> int:
    """Milliseconds since 1970 of an instant such as "2026-11-20 12:00+07:00"."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


NOON_MS = at("2026-11-20 12:00+07:00")
MIDNIGHT_MS = at("2026-11-21 00:00+07:00")
MONTH_END_MS = at("2026-12-01 00:00+07:00")


class Caller:
    """An account, its tier, and the gateway in front of it. `now_ms` is the store's clock and the gateway's."""

    def __init__(self, runner: Runner, tier: Tier = FREE, id: str = "ada", *, now_ms: int = NOON_MS) -> None:
        self.runner = runner
        self.client = runner.client
        self.tier = tier
        self.id = id
        self.now_ms = now_ms
        #: What the gateway believes, as it learns it from replies.
        self.version, self.zone, self.anchor = 0, "", ""
        self._seen = "-"

    @property
    def key(self) -> str:
        return Keys().account(self.id)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def reserve(self, id: str, amount: int, **options: Any) -> calls.ReserveOutcome:
        """Reserves as the gateway does: once more when the store knows a newer version of the account."""
        outcome = self.try_reserve(id, amount, **options)
        if isinstance(outcome, Stale):
            self._learn(outcome)
            outcome = self.try_reserve(id, amount, **options)
        return outcome

    def try_reserve(
        self,
        id: str,
        amount: int,
        *,
        operation: str = "chat",
        model: str = "m1",
        on_lost: str = "charge_counted",
        lease_ms: int = LEASE_MS,
        gateway_ms: int | None = None,
        policies: Sequence[Policy] = (),
        api_key: str = "qg_12345678",
        **who: Any,
    ) -> calls.ReserveOutcome:
        """Reserves with one call. `gateway_ms`: the gateway's clock where it differs from the store's. `who`: what
        policies ask for, `input_tokens`, `team` …"""
        outcome = self.runner.run(
            calls.reserve(
                self.key,
                id,
                amount,
                self._terms(operation, gateway_ms, policies, on_lost),
                model=model,
                api_key=api_key,
                version=self._believed(),
                zone=self.zone,
                lease_ms=lease_ms,
                now_ms=self.now_ms,
                **who,
            )
        )
        if isinstance(outcome, Reserved):
            self.version = outcome.version
        return outcome

    def use(self, id: str, *lines: int | UseLine, **options: Any) -> acts.UseOutcome:
        """Uses as the API does: once more when the store knows a newer version of the account."""
        outcome = self.try_use(id, *lines, **options)
        if isinstance(outcome, Stale):
            self._learn(outcome)
            outcome = self.try_use(id, *lines, **options)
        return outcome

    def try_use(
        self,
        id: str,
        *lines: int | UseLine,
        operation: str = "tool",
        gateway_ms: int | None = None,
        policies: Sequence[Policy] = (),
        **options: Any,
    ) -> acts.UseOutcome:
        """Uses with one call. `lines`: amounts, where nothing else is said."""
        return self.runner.run(
            acts.use(
                self.key,
                id,
                [UseLine(line) if isinstance(line, int) else line for line in lines],
                self._terms(operation, gateway_ms, policies),
                version=self._believed(),
                zone=self.zone,
                now_ms=self.now_ms,
                **options,
            )
        )

    def settle(self, id: str, cost: int, usage: Usage = Usage(), **options: Any) -> calls.SettleOutcome:  # noqa: B008
        return self.runner.run(calls.settle(self.key, id, cost, usage, now_ms=self.now_ms, **options))

    def release(self, id: str, **options: Any) -> calls.ReleaseOutcome:
        return self.runner.run(calls.release(self.key, id, now_ms=self.now_ms, **options))

    def renew(self, id: str, renewal: int, **options: Any) -> calls.RenewOutcome:
        return self.runner.run(
            calls.renew(self.key, id, renewal, now_ms=self.now_ms, **{"lease_ms": LEASE_MS} | options)
        )

    def expire(self, **options: Any) -> Expired:
        return self.runner.run(calls.expire(self.partition_key("holds"), now_ms=self.now_ms, **options))

    def grant(
        self, id: str, amount: int, *, kind: str = "TOP_UP", reason: str = "paid", **terms: Any
    ) -> calls.GrantOutcome:
        return self.runner.run(
            calls.grant(self.key, id, amount, kind=kind, reason=reason, tier=self.tier, now_ms=self.now_ms, **terms)
        )

    def adjust(self, id: str, amount: int, reason: str = "mistake", **options: Any) -> acts.AdjustOutcome:
        return self.runner.run(acts.adjust(self.key, id, amount, reason, now_ms=self.now_ms, **options))

    def void(
        self, grant_id: str, reason: str = "paid back", *, id: str = "void", kind: acts.VoidKind = "ADJUSTMENT"
    ) -> acts.VoidOutcome:
        return self.runner.run(acts.void(self.key, id, grant_id, reason, kind=kind, now_ms=self.now_ms))

    def set_status(self, status: str) -> acts.StatusOutcome:
        return self.runner.run(acts.set_status(self.key, status, now_ms=self.now_ms))

    def report(self, id: str, total: int, *, gateway_ms: int | None = None, **options: Any) -> acts.ReportOutcome:
        clock_ms = self.now_ms if gateway_ms is None else gateway_ms
        day = schedule(self.tier, clock_ms, self.zone, self.anchor).day
        return self.runner.run(
            acts.report(self.key, id, total, self.tier, day, zone=self.zone, now_ms=self.now_ms, **options)
        )

    def reset(self, id: str) -> acts.ResetOutcome:
        """Resets as a worker does: once more when the store knows a newer version of the account."""
        outcome = self.try_reset(id)
        if isinstance(outcome, Stale):
            self._learn(outcome)
            outcome = self.try_reset(id)
        return outcome

    def try_reset(self, id: str, *, gateway_ms: int | None = None) -> acts.ResetOutcome:
        clock_ms = self.now_ms if gateway_ms is None else gateway_ms
        running = schedule(self.tier, clock_ms, self.zone, self.anchor)
        return self.runner.run(
            acts.reset(self.key, id, self.tier, running, version=self._believed(), now_ms=self.now_ms)
        )

    def open(self, tier: Tier | None = None, **options: Any) -> Opened:
        opened = self.runner.run(calls.open_account(self.key, tier or self.tier, now_ms=self.now_ms, **options))
        assert isinstance(opened, Opened)
        return opened

    def lose(self, id: str, amount: int, **options: Any) -> Expired:
        """A call whose gateway dies: held, and expired when its lease is over."""
        self.reserve(id, amount, **options)
        self.now_ms += LEASE_MS
        return self.expire()

    def _learn(self, stale: Stale) -> None:
        self.version, self.zone = stale.version, stale.zone
        self.anchor = stale.anchor or anchor_of(self.tier, stale.first_seen_ms, stale.zone)

    def _believed(self) -> int:
        """The version to call with. An account on an anchored tier is asked for its anchor: by being out of date."""
        return self.version if self.anchor or not self.tier.is_anchored else 0

    def _terms(
        self, operation: str, gateway_ms: int | None, policies: Sequence[Policy], on_lost: str = "charge_counted"
    ) -> calls.Terms:
        clock_ms = self.now_ms if gateway_ms is None else gateway_ms
        running = schedule(self.tier, clock_ms, self.zone, self.anchor)
        return calls.terms(operation, "/v1/chat", "prices-1", self.tier, running, policies=policies, on_lost=on_lost)

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def account(self) -> Account:
        account = self.runner.run(calls.peek(self.key, now_ms=self.now_ms))
        assert account is not None
        return account

    def left(self) -> dict[str, int]:
        """What each bucket has left: {"day:2026-11-20": 5, "credits:signup": 15}."""
        return {f"{bucket.kind}:{bucket.id}": bucket.left for bucket in self.account().buckets}

    def hold(self, id: str) -> dict[str, str]:
        return self.hash(self.partition_key(f"hold:{id}"))

    def done(self, id: str) -> dict[str, str]:
        return self.hash(self.partition_key(f"done:{id}"))

    def hash(self, key: str) -> dict[str, str]:
        found: Any = self.client.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    def period_key(self, period: str) -> str:
        """The key of a period such as "day:2026-11-20"."""
        return Keys().of_account(self.id, period)

    def partition_key(self, name: str) -> str:
        return Keys.of_partition(Keys().partition(self.id), name)

    # ── what the ledger will hear ────────────────────────────────────────────────────────────────────────────────────

    def events(self) -> list[Event]:
        """The events since this was last asked, oldest first."""
        found: Any = self.client.xrange(self.partition_key("events"), min=self._seen)
        if found:
            self._seen = f"({found[-1][0].decode()}"
        return [read_event({k.decode(): v.decode() for k, v in fields.items()}, id.decode()) for id, fields in found]

    def event(self) -> Event:
        """The one event since the last asking."""
        (event,) = self.events()
        return event

    def entries(self) -> list[str]:
        """The entries of the events since the last asking: ["SIGNUP credits:signup +15", …]."""
        return [f"{entry.kind} {entry.bucket} {entry.amount:+d}" for event in self.events() for entry in event.entries]


def contents(client: redis.Redis) -> dict[str, Any]:
    """Everything that stands in Redis, TTLs and the epoch aside: to show that a call changed nothing."""
    read: dict[Any, Any] = {
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
    }
    keys: Any = client.keys()
    return {key.decode(): read[client.type(key)](key) for key in sorted(keys) if not key.endswith(b":epoch")}
