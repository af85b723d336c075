"""What the scripts are meant to do, in plain Python, written from the design and not from the Lua.

A model of one partition: accounts with their buckets, and reservations from their hold to their end. It knows nothing
of Redis, of keys or of repeats; those are the machine's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

from gateway.domain.period import Windows
from gateway.domain.schedule import Schedule, anchor_of, schedule
from gateway.domain.tier import PERIODS, Allowance, Tier


@dataclass
class Period:
    """One period of an allowance, once it is open. It stays when it has ended: its rest may roll over."""

    id: str
    left: int
    ends_ms: int
    #: Its key was deleted by hand: it takes and gives nothing any more.
    deleted: bool = False
    #: It was opened in place of one that was deleted: of holds made before that, it does not know.
    reopened: bool = False


@dataclass
class Grant:
    """Credits."""

    priority: int
    expires_s: int
    granted_at_ms: int
    left: int
    #: It was taken back: it takes and gives nothing any more.
    voided: bool = False


@dataclass
class Hold:
    """An open reservation. `parts`: what it took from which bucket, in the order in which it did."""

    account: str
    amount: int
    parts: dict[str, int]
    order: tuple[str, ...]
    lease_ends_ms: int
    on_lost: str
    counted: int = 0
    #: The number and the answer of the last renewal.
    renewal: tuple[int, str] = (0, "")


@dataclass
class End:
    """How a reservation ended. After an expiry, `parts` and `order` are what a late settlement goes by."""

    account: str
    how: str
    cost: int
    written_off: int
    parts: dict[str, int]
    order: tuple[str, ...]


@dataclass
class ModelAccount:
    tier: Tier
    first_seen_ms: int
    zone: str = ""
    #: The local date on which it was opened, once an anchored tier has asked for it.
    anchor: str = ""
    version: int = 1
    spent: int = 0
    periods: dict[str, Period] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)


class Model:
    """All accounts of a partition, at a clock that only goes forward."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.accounts: dict[str, ModelAccount] = {}
        self.holds: dict[str, Hold] = {}
        self.ends: dict[str, End] = {}

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def left(self, account: str) -> int:
        """What calls can draw on now."""
        return sum(amount for _, amount in self._wallet(self.accounts[account], (*PERIODS, "credits")))

    def held(self, account: str) -> int:
        return sum(hold.amount for hold in self.holds.values() if hold.account == account)

    def running(self, account: str, kind: str) -> Period | None:
        period = self.accounts[account].periods.get(kind)
        return period if period and not period.deleted and self.now_ms < period.ends_ms else None

    def schedule(self, account_id: str, tier: Tier) -> Schedule:
        account = self.accounts.get(account_id) or ModelAccount(tier, self.now_ms)
        return schedule(tier, self.now_ms, account.zone, self._anchor(account, tier))

    def resets_at_ms(self, account_id: str, tier: Tier) -> int:
        """When the first open period ends, or the local day."""
        periods = [period for kind in PERIODS if (period := self.running(account_id, kind))]
        return min((period.ends_ms for period in periods), default=self.schedule(account_id, tier).day.ends_ms)

    def opportunities(self, account_id: str, tier: Tier, amount: int) -> tuple[int, set[str]] | None:
        """When a call will fit that does not now, and whose resets are at that instant: found by waiting."""
        resets: dict[int, set[str]] = {}
        for allowance in tier.allowances:
            waiting = deepcopy(self)
            for _ in range(4):
                period = waiting.running(account_id, allowance.every) if account_id in self.accounts else None
                window = waiting._window(account_id, tier, allowance)
                waiting.now_ms = period.ends_ms if period else window.ends_ms
                resets.setdefault(waiting.now_ms, set()).add(allowance.every)
        for at_ms in sorted(resets):
            then = deepcopy(self)
            then.now_ms = at_ms
            if then.would_have(account_id, tier) >= amount:
                return at_ms, resets[at_ms]
        return None

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, id: str, tier: Tier) -> ModelAccount:
        account = self.accounts[id] = ModelAccount(tier, self.now_ms)
        if tier.signup:
            account.grants["signup"] = Grant(0, 0, self.now_ms, tier.signup)
        return account

    def grant(self, account_id: str, tier: Tier, id: str, amount: int, priority: int, expires_s: int) -> None:
        account = self.accounts.get(account_id) or self.open(account_id, tier)
        account.grants[id] = Grant(priority, expires_s, self.now_ms, amount)

    def would_have(self, account_id: str, tier: Tier) -> int:
        """What a call made now could draw on: due allowances are opened for it."""
        then = deepcopy(self)
        account = then.accounts.get(account_id) or then.open(account_id, tier)
        then._open_due(account_id, account, tier)
        return sum(left for _, left in then._wallet(account, tier.burn_order))

    def reserve(self, account_id: str, tier: Tier, id: str, amount: int, lease_ms: int, on_lost: str) -> Hold:
        """Holds an amount that the account covers."""
        account = self._admit(account_id, tier)
        parts = self._take(account, tier.burn_order, amount)
        hold = Hold(account_id, amount, parts, tier.burn_order, self.now_ms + lease_ms, on_lost)
        self.holds[id] = hold
        return hold

    def use(self, account_id: str, tier: Tier, amount: int) -> None:
        """Spends an amount that the account covers."""
        account = self._admit(account_id, tier)
        self._take(account, tier.burn_order, amount)
        account.spent += amount

    def adjust(self, account_id: str, amount: int) -> None:
        """Takes an amount that is free."""
        self._take(self.accounts[account_id], (*PERIODS, "credits"), amount)

    def void(self, account_id: str, grant_id: str) -> int:
        """Ends a grant. Returns what it still had."""
        grant = self.accounts[account_id].grants[grant_id]
        amount = 0 if self.has_expired(grant) else grant.left
        grant.left, grant.voided = 0, True
        return amount

    def renew(self, id: str, renewal: int, counted: int, more: int, lease_ms: int) -> bool:
        """Reserves more, all or nothing; the lease is longer in either case."""
        hold = self.holds[id]
        hold.counted, hold.lease_ends_ms = counted, self.now_ms + lease_ms
        enough = more <= self.left(hold.account)
        if enough:
            _merge(hold.parts, self._take(self.accounts[hold.account], hold.order, more))
            hold.amount += more
        hold.renewal = (renewal, "renewed" if enough else "refused")
        return enough

    def end(self, id: str, how: str, cost: int) -> End:
        """Ends an open hold, or corrects one that has expired."""
        if id in self.holds:
            hold = self.holds.pop(id)
            account_id, parts, order = hold.account, dict(hold.parts), hold.order
        else:
            expired = self.ends[id]
            account_id, parts, order = expired.account, dict(expired.parts), expired.order
            self.accounts[account_id].spent -= sum(parts.values())
        account = self.accounts[account_id]
        excess = max(0, cost - sum(parts.values()))
        _merge(parts, self._take(account, order, min(excess, self.left(account_id))))
        charged: dict[str, int] = {}
        rest = cost
        for bucket, amount in parts.items():
            kept = min(amount, rest)
            rest -= kept
            charged |= {bucket: kept} if kept else {}
            self._give_back(account_id, bucket, amount - kept)
        account.spent += cost - rest
        self.ends[id] = End(account_id, how, cost, rest, charged, order)
        return self.ends[id]

    def overdue(self) -> list[str]:
        """The holds whose leases are over, the oldest first."""
        late = [
            (hold.lease_ends_ms, id.encode()) for id, hold in self.holds.items() if hold.lease_ends_ms <= self.now_ms
        ]
        return [id.decode() for _, id in sorted(late)]

    def expire(self, id: str) -> End:
        hold = self.holds[id]
        return self.end(id, "expired", {"charge_hold": hold.amount, "release": 0}.get(hold.on_lost, hold.counted))

    # ── periods ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _anchor(self, account: ModelAccount, tier: Tier) -> str:
        return account.anchor or anchor_of(tier, account.first_seen_ms, account.zone)

    def _window(self, account_id: str, tier: Tier, allowance: Allowance) -> Windows:
        return self.schedule(account_id, tier).allowances[tier.allowances.index(allowance)]

    def _admit(self, account_id: str, tier: Tier) -> ModelAccount:
        """The account of a call that passes, with its periods open."""
        account = self.accounts.get(account_id) or self.open(account_id, tier)
        if tier.is_anchored:
            account.anchor = self._anchor(account, tier)
        self._open_due(account_id, account, tier)
        return account

    def _open_due(self, account_id: str, account: ModelAccount, tier: Tier) -> None:
        for allowance in tier.allowances:
            if self.running(account_id, allowance.every) is None:
                opened = self._opens(account_id, account, tier, allowance)
                if opened is not None:
                    account.periods[allowance.every] = opened

    def _opens(self, account_id: str, account: ModelAccount, tier: Tier, allowance: Allowance) -> Period | None:
        """The period that a call made now opens; None while the date is one that the account had already."""
        before = account.periods.get(allowance.every)
        if before and self.now_ms < before.ends_ms:
            return Period(before.id, allowance.amount, before.ends_ms, reopened=True)
        window = self._window(account_id, tier, allowance)
        if before and len(before.id) == len(window.id) and window.id <= before.id:
            return None
        rolled = min(before.left, allowance.rollover) if before else 0
        return Period(window.id, allowance.amount + rolled, window.ends_ms)

    # ── buckets ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wallet(self, account: ModelAccount, order: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        """The buckets that calls can draw on, in burn order, and what each has left."""
        for kind in order:
            if kind == "credits":
                grants = sorted(account.grants.items(), key=_burns)
                yield from ((f"credits:{id}", g.left) for id, g in grants if not self.has_expired(g))
            else:
                period = account.periods.get(kind)
                if period and not period.deleted and self.now_ms < period.ends_ms:
                    yield f"{kind}:{period.id}", period.left

    def _take(self, account: ModelAccount, order: tuple[str, ...], amount: int) -> dict[str, int]:
        parts: dict[str, int] = {}
        for bucket, left in list(self._wallet(account, order)):
            took = min(left, amount)
            if took:
                parts[bucket] = took
                amount -= took
                self._change(account, bucket, -took)
        assert amount == 0, "the caller has looked before it takes"
        return parts

    def _give_back(self, account_id: str, bucket: str, amount: int) -> None:
        kind, _, id = bucket.partition(":")
        account = self.accounts[account_id]
        if kind == "credits":
            returns = not self.has_expired(account.grants[id])
        else:
            period = self.running(account_id, kind)
            returns = period is not None and period.id == id
        if returns:
            self._change(account, bucket, amount)

    def _change(self, account: ModelAccount, bucket: str, by: int) -> None:
        kind, _, id = bucket.partition(":")
        holder = account.grants[id] if kind == "credits" else account.periods[kind]
        holder.left += by

    def has_expired(self, grant: Grant) -> bool:
        return grant.voided or 0 < grant.expires_s * 1000 <= self.now_ms


def _burns(item: tuple[str, Grant]) -> tuple[int, bool, int, int, str]:
    """Priority, then soonest expiry, then age; of two of an instant, in the order of their ids."""
    id, grant = item
    return grant.priority, grant.expires_s == 0, grant.expires_s, grant.granted_at_ms, id


def _merge(parts: dict[str, int], more: dict[str, int]) -> None:
    for bucket, amount in more.items():
        parts[bucket] = parts.get(bucket, 0) + amount
