"""What an account has, as its next call would find it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.domain.reservation import Account, Bucket
from gateway.domain.schedule import Schedule, anchor_of, schedule
from gateway.domain.tier import Tier


@dataclass(frozen=True, slots=True)
class Balance:
    """An account, and what its next call will open."""

    account: Account
    #: Allowances whose period is not open yet: the next call opens them.
    due: tuple[Bucket, ...]
    #: When the first of its allowances ends, open or due; its local day, when it has none.
    resets_at_ms: int

    @property
    def available(self) -> int:
        """What the next call can draw on."""
        return self.account.left + sum(bucket.left for bucket in self.due)


def balance_of(account: Account, tier: Tier) -> Balance:
    anchor = account.anchor or anchor_of(tier, account.first_seen_ms, account.zone)
    running = schedule(tier, account.now_ms, account.zone, anchor)
    due = tuple(_due(account, tier, running))
    ends = [b.ends_at_ms for b in (*account.buckets, *due) if b.kind != "credits" and b.ends_at_ms is not None]
    return Balance(account, due, min(ends, default=running.day.ends_ms))


def _due(account: Account, tier: Tier, running: Schedule) -> Iterator[Bucket]:
    open_kinds = {bucket.kind for bucket in account.buckets}
    for allowance, window in zip(tier.allowances, running.allowances, strict=True):
        if allowance.every not in open_kinds:
            amount = allowance.amount + min(account.rests.get(allowance.every, 0), allowance.rollover)
            yield Bucket(allowance.every, window.id, amount, amount, 0, window.ends_ms)
