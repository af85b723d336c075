"""What the owner of an account is told of its balance, and when: decided from the account as it stands.

Each notice has an id that says what it is about; one of the same id is never told again. So "once a period" is in the
id: the period of the allowance that ends next, or, for an account that has none, the total it was ever granted, which
changes with each refill.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.domain.balance import Balance
from gateway.domain.principal import LICENSE, is_license
from gateway.domain.reservation import Bucket
from gateway.domain.tier import Tier

LOW_BALANCE, EXHAUSTED, THRESHOLD, RESET = "low_balance", "exhausted", "threshold", "reset"
LICENSE_INACTIVE = "license_inactive"
#: Of subscriptions: `domain.subscription` decides these.
RENEWAL_DUE, RENEWAL_OVERDUE = "renewal_due", "renewal_overdue"
SUBSCRIPTION_STARTED, SUBSCRIPTION_ENDED = "subscription_started", "subscription_ended"

#: In the order in which they stand in messages of faults.
KINDS = (
    LOW_BALANCE, EXHAUSTED, THRESHOLD, RESET, LICENSE_INACTIVE, SUBSCRIPTION_STARTED, RENEWAL_DUE, RENEWAL_OVERDUE,
    SUBSCRIPTION_ENDED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. Amounts are units."""

    #: "KIND ACCOUNT PERIOD".
    id: str
    kind: str
    #: The account it is about; of a license, the license's own.
    account: str
    facts: Mapping[str, int | str] = field(default_factory=dict)
    #: When it is to be told, in milliseconds since 1970; None: at once.
    due_ms: int | None = None


def notices_of(balance: Balance, tier: Tier, kinds: Collection[str], thresholds: Sequence[int]) -> list[Notice]:
    """All that an account in this state is told, if it was not told before. `thresholds`: in thousandths.

    What open calls hold counts as left: they may give it back.
    """
    account = balance.account
    found = _of_license(balance) if is_license(account.id) else _of_account(balance, tier, thresholds)
    return [notice for notice in found if notice.kind in kinds]


def _of_account(balance: Balance, tier: Tier, thresholds: Sequence[int]) -> Iterator[Notice]:
    account, rest = balance.account, _rest(balance)
    period = _period(balance)
    facts: dict[str, int | str] = {"left": rest, "tier": account.tier}
    if rest == 0 and account.granted > 0:
        yield Notice(f"{EXHAUSTED} {account.id} {period}", EXHAUSTED, account.id, facts)
    elif tier.warn_below is not None and rest <= tier.warn_below and account.granted > 0:
        facts["warn_below"] = tier.warn_below
        yield Notice(f"{LOW_BALANCE} {account.id} {period}", LOW_BALANCE, account.id, facts)
    for bucket in account.buckets:
        if bucket.kind != "credits" and bucket.amount:
            yield from _of_allowance(account.id, bucket, tier, thresholds)


def _of_allowance(account: str, bucket: Bucket, tier: Tier, thresholds: Sequence[int]) -> Iterator[Notice]:
    period = f"{bucket.kind}:{bucket.id}"
    used = bucket.amount - bucket.left - (bucket.held or 0)
    reached = [share for share in thresholds if used * 1000 >= share * bucket.amount]
    facts: dict[str, int | str] = {"allowance": bucket.kind, "period": bucket.id, "amount": bucket.amount, "used": used}
    if reached:  # The highest alone: one call may pass several.
        share = max(reached)
        told = facts | {"percent": _percent(share)}
        yield Notice(f"{THRESHOLD} {account} {period}/{share}", THRESHOLD, account, told)
    next_amount = next((each.amount for each in tier.allowances if each.every == bucket.kind), 0)
    if used == bucket.amount and next_amount and bucket.ends_at_ms is not None:
        # Told when the next one begins, to those who had used this one up.
        told = {"allowance": bucket.kind, "period": bucket.id, "amount": next_amount}
        yield Notice(f"{RESET} {account} {period}", RESET, account, told, due_ms=bucket.ends_at_ms)


def _of_license(balance: Balance) -> Iterator[Notice]:
    account = balance.account
    if _rest(balance) == 0 and account.granted > 0:
        facts: dict[str, int | str] = {"license": account.id.removeprefix(LICENSE), "left": 0}
        yield Notice(f"{LICENSE_INACTIVE} {account.id} {_period(balance)}", LICENSE_INACTIVE, account.id, facts)


def _rest(balance: Balance) -> int:
    return balance.available + balance.account.held


def _period(balance: Balance) -> str:
    """The allowance that ends next, open or due; without one, the total that was ever granted."""
    allowances = [b for b in (*balance.account.buckets, *balance.due) if b.kind != "credits" and b.ends_at_ms]
    if not allowances:
        return f"granted:{balance.account.granted}"
    ends_next = min(allowances, key=lambda bucket: bucket.ends_at_ms or 0)
    return f"{ends_next.kind}:{ends_next.id}"


def _percent(share: int) -> str:
    """Thousandths as people write them: "80", "99.5"."""
    whole, rest = divmod(share, 10)
    return f"{whole}.{rest}" if rest else str(whole)
