"""How an account stands, as its owner reads it: known or not, with what its next call opens."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.accounts import epoch
from gateway.accounts.system import System
from gateway.domain.balance import Balance, balance_of
from gateway.domain.principal import Principal
from gateway.domain.reservation import Account, Bucket
from gateway.domain.tier import Tier
from gateway.store import calls


@dataclass(frozen=True, slots=True)
class Overview:
    """An account on its tier."""

    balance: Balance
    tier: Tier
    #: False: nobody ever called from it. It reads as its first call would find it.
    is_open: bool

    @property
    def account(self) -> Account:
        return self.balance.account

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Those that are open, and those that the next call opens."""
        return (*self.account.buckets, *self.balance.due)

    @property
    def left(self) -> int:
        """Units that the next call can draw on."""
        return self.balance.available

    @property
    def limit(self) -> int:
        """What `left` is a part of: what the running periods open with, and what the grants that have something left
        were given. A grant that is used up counts no more, so a full balance is one that nothing was spent of."""
        return sum(bucket.amount for bucket in self.buckets)

    @property
    def is_low(self) -> bool:
        return self.tier.is_low(self.left)

    @property
    def resets_at_ms(self) -> int | None:
        """When the first of its allowances ends; None: its tier has none."""
        return self.balance.resets_at_ms if self.tier.allowances else None


def overview(system: System, principal: Principal) -> Overview:
    """How the principal's account stands, on the tier that its credential names, if any. Changes nothing. Raises
    StoreUnready when Redis knows nothing of it, and must be restored first."""
    account = system.runner.run(calls.peek(system.keys.account(principal.account)))
    if account is None:
        epoch.check_known(system, principal.account)
    tier = system.tier(principal.tier or (account.tier if account is not None else ""))
    known = account or _unopened(principal.account, tier)
    return Overview(balance_of(known, tier), tier, account is not None)


def _unopened(account_id: str, tier: Tier) -> Account:
    """An account as its first call would open it now."""
    now_ms = time.time_ns() // 1_000_000
    grant = Bucket("credits", "signup", tier.signup, tier.signup, None, None)
    return Account(
        id=account_id,
        tier=tier.name,
        zone="",
        status="active",
        version=0,
        granted=0,
        spent=0,
        held=0,
        used_tokens=0,
        requests=0,
        now_ms=now_ms,
        first_seen_ms=now_ms,
        last_seen_ms=now_ms,
        buckets=(grant,) if tier.signup else (),
    )
