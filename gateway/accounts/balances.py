"""An account's balance: read as it stands, and granted to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import redis

from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.domain.period import day_windows, month_windows
from gateway.domain.principal import is_account_id, is_grant_id
from gateway.domain.reservation import Account, Bucket, GrantConflict, Granted, GrantOverflow
from gateway.domain.tier import MAX_UNITS
from gateway.store import calls
from gateway.store.nudge import nudge


@dataclass(frozen=True, slots=True)
class Balance:
    """An account in Redis, and what its next call will open."""

    account: Account
    #: Allowances whose period is not open yet: the next call opens them.
    due: tuple[Bucket, ...]
    #: When the account's local day ends.
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
    tier = system.tier(account.tier)
    zone = ZoneInfo(account.zone) if account.zone else tier.zone
    day, month = day_windows(account.now_ms, zone), month_windows(account.now_ms, zone)
    open_kinds = {bucket.kind for bucket in account.buckets}
    due = [
        Bucket(kind, window.id, amount, amount, 0, window.ends_ms)
        for kind, amount, window in (("day", tier.day_amount, day), ("month", tier.month_amount, month))
        if amount and kind not in open_kinds
    ]
    names = [f"{b.kind}:{b.id}" for b in account.buckets if b.kind != "credits"] + [
        "credits",
        "credits-order",
        "grants",
    ]
    candidates = [system.keys.account(account_id), *(system.keys.of_account(account_id, name) for name in names)]
    return Balance(account, tuple(due), day.ends_ms, tuple(key for key in candidates if system.redis.exists(key)))


def grant(system: System, account_id: str, amount: int, grant_id: str, reason: str, kind: str = "TOP_UP") -> int:
    """Credits an account once, however often it is called with this id. Returns what it has left.

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
    account_key = system.keys.account(account_id)
    known = system.runner.run(calls.peek(account_key))
    tier = system.tier(known.tier if known else system.config.default_tier)
    outcome = system.runner.run(calls.grant(account_key, grant_id, amount, kind=kind, reason=reason, tier=tier))
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
