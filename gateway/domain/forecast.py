"""When a balance runs out, if it goes on as in the last hours."""

from __future__ import annotations

from gateway.domain.reservation import Account

#: A rate is told from no shorter time: a burst of a minute says nothing about the day.
SHORTEST_MS = 5 * 60_000
_HOUR_MS = 3_600_000
#: Nobody plans beyond this.
FARTHEST_MS = 366 * 24 * _HOUR_MS


def units_per_hour(account: Account) -> int | None:
    """What was spent per hour lately, rounded up; None when too little time has passed to say."""
    since_ms, spent_then = account.spent_since
    passed_ms = account.now_ms - since_ms
    if since_ms == 0 or passed_ms < SHORTEST_MS:
        return None
    # A call that was charged then may have been refunded since.
    return -(-max(0, account.spent - spent_then) * _HOUR_MS // passed_ms)


def runs_out_at_ms(account: Account, available: int) -> int | None:
    """When `available` units will be spent at that rate; None: not within a year, or nobody can say."""
    since_ms, spent_then = account.spent_since
    spent = account.spent - spent_then
    if units_per_hour(account) is None or spent <= 0:
        return None
    after_ms = available * (account.now_ms - since_ms) // spent
    return account.now_ms + after_ms if after_ms <= FARTHEST_MS else None
