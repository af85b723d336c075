"""Rebuilds Redis from the ledger: accounts with their balances, grants and running periods, and all keys.
Every account is written by one script, and only where Redis does not know it: so a restore can be interrupted,
repeated and run twice at once, and never undoes what calls have done since. The epoch comes last: until then no script
opens an account that Redis does not know.

What cannot be known: calls whose events Redis lost before a worker had recorded them, and holds. Both count as if they
had not been. Grants that were decided in SQL, such as those of orders, are owed again, and the worker pays them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.accounts import api_keys, licenses, payouts
from gateway.accounts.pending import Pending
from gateway.accounts.system import System
from gateway.accounts.truth import LONGEST_MS, kept, last_periods, plan_of, standing
from gateway.domain.books import Record
from gateway.domain.errors import StoreUnready
from gateway.domain.tier import Tier
from gateway.ledger import books
from gateway.store import epoch
from gateway.store.calls import Call
from gateway.store.repair import ABSENT, OpenHold, Restored, restore

#: Accounts a round trip.
BATCH = 500

#: Called with how many of how many accounts are done.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restore did."""

    #: Accounts that were written.
    restored: int
    #: Accounts that Redis knew already: left as they are.
    known: int
    #: API keys that are valid.
    api_keys: int


def restore_all(
    system: System, progress: Progress = lambda done, all_of_them: None, *, by: str = "quotagate restore"
) -> Restoration:
    """Brings back every account that Redis does not know. Raises StoreUnready when Redis was emptied meanwhile,
    StoreUnavailable, and what redis-py and SQLAlchemy raise; what is written by then stays, and the next one goes on
    from there."""
    partitions = system.keys.all_partitions()
    marks = epoch.begin_restore(system.redis, partitions)
    with system.ledger.connect() as connection:
        total = books.count(connection)
    restored = known = 0
    last = ""
    while batch := _batch(system, last):
        outcomes = restore_some(system, batch)
        restored += outcomes.count("restored")
        known += len(outcomes) - outcomes.count("restored")
        last = batch[-1]
        progress(restored + known, max(total, restored + known))
    published = api_keys.publish_all(system)
    licenses.publish_all(system)
    with system.ledger.connect() as connection:
        lost = payouts.lost(connection, system.now())
    payouts.owe_again(system, lost)
    emptied = [
        partition
        for partition in epoch.unready(system.redis, partitions)
        if not epoch.end_restore(system.redis, partition, marks.get(partition, ""), by)
    ]
    if emptied:
        raise StoreUnready(f"Redis was emptied while it was restored ({', '.join(emptied)}): {epoch.REMEDY} again")
    return Restoration(restored, known, published)


def restore_some(
    system: System, accounts: list[str], holds: Mapping[str, Sequence[OpenHold]] = MappingProxyType({})
) -> list[Restored]:
    """Brings back those of these accounts that Redis does not know. `holds`: by account, those that it knows all the
    same, as after an account alone was deleted by hand: they go on holding what they hold."""
    pending = Pending(system)
    seconds, micros = system.redis.time()
    now_ms = seconds * 1000 + micros // 1000
    # Events that wait are read first: one that is recorded meanwhile is known by its rows.
    pending.look(accounts)
    with books.snapshot(system.ledger) as connection:
        records = books.records(connection, accounts, now_ms - longest_ms(system))
        pending.add_to(connection, records)
    ends: dict[tuple[str, ...], int] = {}
    calls = [
        _restoring(system, record, now_ms, ends, holds.get(record.id, ()))
        for record in records.values()
        if is_opened(record)
    ]
    return system.runner.run_many(calls) if calls else []


def is_opened(record: Record) -> bool:
    """Whether any event told of it. One of which nothing but an e-mail address is known opens with its first call, and
    with the sign-up grant that goes with that."""
    told = record.tier, record.granted, record.requests, record.grants
    return any(told) or record.status != "active"


def _restoring(
    system: System, record: Record, now_ms: int, ends: dict[tuple[str, ...], int], holds: Sequence[OpenHold]
) -> Call[Restored]:
    tier = system.tier(record.tier or system.config.default_tier)
    found = standing(record, last_periods(record, tier, other_tiers(system, tier), now_ms, ends), holds)
    plan = plan_of(found, record, now_ms, system.config.default_tier)
    plan.kept = [kept(hold, found.holds[hold.id], now_ms) for hold in holds]
    if found.entries:
        plan.events.append(("lapsed", f"restored:{record.id}@{now_ms}", 0, "; ".join(found.entries), {}))
    return restore(system.keys.account(record.id), ABSENT, plan)


def other_tiers(system: System, tier: Tier) -> list[Tier]:
    return [other for other in system.config.tiers.values() if other is not tier]


def longest_ms(system: System) -> int:
    """How far back a period may have been opened that is still running."""
    kinds = {allowance.every for tier in system.config.tiers.values() for allowance in tier.allowances}
    if "month" in kinds:
        return LONGEST_MS
    return 9 * 86_400_000 if "week" in kinds else 3 * 86_400_000


def _batch(system: System, after: str) -> list[str]:
    with system.ledger.connect() as connection:
        return books.ids(connection, after, BATCH)
