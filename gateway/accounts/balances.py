"""An account's balance: read as it stands, and granted to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import redis

from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.domain.principal import is_account_id, is_grant_id
from gateway.domain.reservation import Account, Bucket, GrantConflict, Granted, GrantOverflow
from gateway.domain.schedule import Schedule, anchor_of, schedule
from gateway.domain.tier import MAX_UNITS, Tier
from gateway.store import calls
from gateway.store.nudge import nudge

#: The burn order is one number for priority and expiry, which Redis keeps as a double.
MAX_PRIORITY = 1000


@dataclass(frozen=True, slots=True)
class Balance:
    """An account in Redis, and what its next call will open."""

    account: Account
    #: Allowances whose period is not open yet: the next call opens them.
    due: tuple[Bucket, ...]
    #: When the first of its allowances ends, open or due; its local day, when it has none.
    resets_at_ms: int
    #: The Redis keys behind it, those of the account itself.
    redis_keys: tuple[str, ...]

    @property
    def available(self) -> int:
        """What the next call can draw on."""
        return self.account.left + sum(bucket.left for bucket in self.due)


def read(system: System, account_id: str) -> Balance:
    """Raises RefusedInput when the account is unknown."""
    account = system.runner.run(calls.peek(system.keys.account(look_up(account_id))))
    if account is None:
        raise RefusedInput(f"there is no account {account_id}")
    running = _schedule_of(account, system.tier(account.tier))
    due = tuple(_due(account, system.tier(account.tier), running))
    ends = [b.ends_at_ms for b in (*account.buckets, *due) if b.kind != "credits" and b.ends_at_ms is not None]
    names = [f"{b.kind}:{b.id}" for b in account.buckets if b.kind != "credits"] + [
        "credits",
        "credits-order",
        "grants",
    ]
    candidates = [system.keys.account(account_id), *(system.keys.of_account(account_id, name) for name in names)]
    redis_keys = tuple(key for key in candidates if system.redis.exists(key))
    return Balance(account, due, min(ends, default=running.day.ends_ms), redis_keys)


def _schedule_of(account: Account, tier: Tier) -> Schedule:
    anchor = account.anchor or anchor_of(tier, account.first_seen_ms, account.zone)
    return schedule(tier, account.now_ms, account.zone, anchor)


def _due(account: Account, tier: Tier, running: Schedule) -> Iterator[Bucket]:
    open_kinds = {bucket.kind for bucket in account.buckets}
    for allowance, window in zip(tier.allowances, running.allowances, strict=True):
        if allowance.every not in open_kinds:
            amount = allowance.amount + min(account.rests.get(allowance.every, 0), allowance.rollover)
            yield Bucket(allowance.every, window.id, amount, amount, 0, window.ends_ms)


def grant(
    system: System,
    account_id: str,
    amount: int,
    grant_id: str,
    reason: str,
    kind: str = "TOP_UP",
    *,
    priority: int = 0,
    expires_s: int = 0,
) -> int:
    """Credits an account once, however often it is called with this id. Returns what it has left.

    `priority`: grants of a lower one are drawn on first, of one priority that which expires first. `expires_s`: when
    the rest of it lapses, in seconds since 1970; 0: never.

    Raises RefusedInput for bad input, and when the id was used with another amount.
    """
    if not is_account_id(account_id):
        raise RefusedInput(f"{account_id!r} is no account id: 1-200 printable characters without white space")
    if not is_grant_id(grant_id):
        raise RefusedInput(f'{grant_id!r} is no grant id: 1-200 printable characters without white space, "=" and ";"')
    if not 1 <= amount <= MAX_UNITS:
        raise RefusedInput(f"the amount is {amount}, and must be from 1 to {MAX_UNITS}")
    if not 1 <= len(reason) <= 1000 or not reason.isprintable():
        raise RefusedInput("the reason must be 1-1000 printable characters")
    if not 0 <= priority <= MAX_PRIORITY:
        raise RefusedInput(f"the priority is {priority}, and must be from 0 to {MAX_PRIORITY}")
    account_key = system.keys.account(account_id)
    known = system.runner.run(calls.peek(account_key))
    tier = system.tier(known.tier if known else system.config.default_tier)
    call = calls.grant(
        account_key, grant_id, amount, kind=kind, reason=reason, tier=tier, priority=priority, expires_s=expires_s
    )
    outcome = system.runner.run(call)
    match outcome:
        case Granted():
            with contextlib.suppress(redis.RedisError):  # It is credited; the worker's schedule finds its event too.
                nudge(system.redis, [system.keys.partition(account_id)])
            return outcome.left
        case GrantConflict():
            raise RefusedInput(f"grant {grant_id} was credited before with {outcome.amount}, not {amount}")
        case GrantOverflow():
            raise RefusedInput(
                f"account {account_id} was granted {outcome.granted} already; {amount} more cannot be counted"
            )


def all_accounts(system: System, limit: int) -> list[Account]:
    """Up to `limit` accounts, those last seen first. Walks over Redis: for people to look at, not for programs."""
    pattern = "qg:{p*}:account:*"
    found = [
        key.decode() for _, key in zip(range(limit * 50), system.redis.scan_iter(pattern, count=1000), strict=False)
    ]
    peeked = system.runner.run_many([calls.peek(key) for key in found])
    accounts = [account for account in peeked if account is not None]
    accounts.sort(key=lambda account: -account.last_seen_ms)
    return accounts[:limit]
