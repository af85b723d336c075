"""An account's credits: what it has, what it ever gained and lost, and the grants behind both.

What is left is Redis' to say, and exact. What was gained and lost is the ledger's, which hears of it within seconds:
then bought + given + subscription + adjusted - used - expired - refunded = left + held.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounts.overview import overview
from gateway.accounts.system import System
from gateway.domain.principal import Principal
from gateway.domain.reservation import Bucket
from gateway.ledger import credits as rows


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Units since the account was opened, as far as the ledger has heard."""

    bought: int
    #: At the sign-up, as rewards and for referrals.
    given: int
    #: Allowances of plans.
    subscription: int
    #: Operators' corrections: less than 0 when they took more than they gave.
    adjusted: int
    used: int
    expired: int
    #: Taken back because what was paid for them went back.
    refunded: int


@dataclass(frozen=True, slots=True)
class LiveGrant:
    """A grant that has something left."""

    bucket: Bucket
    #: None: the ledger has not heard of it yet.
    kind: str | None
    #: What it was made for, such as "order:ord_…"; None: an operator made it, or the sign-up.
    cause: str | None


@dataclass(frozen=True, slots=True)
class Credits:
    """What an account has, beside the allowances of its tier."""

    left: int
    #: Of calls under way; of a period that has ended since, too.
    held: int
    lifetime: Lifetime
    #: In the order in which calls draw on them.
    grants: tuple[LiveGrant, ...]


def credits_of(system: System, principal: Principal) -> Credits:
    """The principal's credits. Changes nothing. Raises StoreUnready when Redis must be restored first."""
    account = overview(system, principal).account
    buckets = [bucket for bucket in account.buckets if bucket.kind == "credits"]
    with system.ledger.connect() as connection:
        named = rows.named_grants(connection, account.id, [bucket.id for bucket in buckets])
        totals = rows.totals(connection, account.id)
    return Credits(
        left=sum(bucket.left for bucket in buckets),
        held=account.held - sum(bucket.held or 0 for bucket in account.buckets),
        lifetime=_lifetime(totals),
        grants=tuple(LiveGrant(bucket, *named.get(bucket.id, _unheard(bucket.id))) for bucket in buckets),
    )


def _unheard(grant: str) -> tuple[str | None, None]:
    return "SIGNUP" if grant == "signup" else None, None


def _lifetime(totals: dict[str, int]) -> Lifetime:
    def of(*kinds: str) -> int:
        return sum(totals.get(kind, 0) for kind in kinds)

    return Lifetime(
        bought=of("TOP_UP"),
        given=of("SIGNUP", "REWARD", "REFERRAL"),
        subscription=of("SUBSCRIPTION"),
        adjusted=of("ADJUSTMENT"),
        used=-of("USAGE", "LICENSE_USE", "REFUND"),
        expired=-of("EXPIRY"),
        refunded=-of("REVERSAL"),
    )
