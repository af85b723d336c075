"""Whether Redis knows what the ledger knows. Where nobody has said so, no unknown account is opened: it may have a
balance in the ledger, and a second sign-up grant would be a gift.

A gateway only asks. The worker says it at its start, `quotagate up` and every other command do when they find it
missing, `quotagate restore` when it has brought all accounts back. So an application that embeds the gateway (`govern`)
needs one of them once; it has a worker anyhow, for the ledger.
"""

from __future__ import annotations

import logging

from sqlalchemy import select

from gateway.accounts.system import System
from gateway.domain.errors import StoreUnready
from gateway.ledger.tables import accounts
from gateway.store import epoch

log = logging.getLogger("quotagate")

#: How many of the accounts that the ledger saw last are looked for in Redis.
_SAMPLE = 20


def ensure_epoch(system: System, by: str = "the command line") -> bool:
    """Says of each partition that it is up to date, where nobody has and it is: the ledger knows no account of it, or
    the accounts it saw last are in Redis, as after an upgrade. Returns False, and logs an error, where they are not."""
    partitions = system.keys.all_partitions()
    missing = epoch.missing(system.redis, partitions)
    if missing:
        samples = _seen_last(system, missing)
        keys = [system.keys.account(account) for sample in samples.values() for account in sample]
        known = {key for key in keys if system.redis.exists(key)}
        good = [p for p in missing if all(system.keys.account(account) in known for account in samples[p])]
        epoch.set_where_missing(system.redis, good, by)
    unready = epoch.unready(system.redis, partitions)
    if unready:
        log.error(
            "Redis has no epoch (%s): it does not know the accounts that the ledger knows, and calls of accounts that "
            "it does not know are refused; %s", ", ".join(unready), epoch.REMEDY,
        )  # fmt: skip
    return not unready


def check_known(system: System, account_id: str) -> None:
    """For an account that Redis does not know. Raises StoreUnready when that says nothing about the ledger."""
    if epoch.unready(system.redis, [system.keys.partition(account_id)]):
        raise StoreUnready(
            f"Redis does not know account {account_id}, and it was emptied or never filled from the ledger: "
            f"{epoch.REMEDY}"
        )


def _seen_last(system: System, partitions: list[str]) -> dict[str, list[str]]:
    """The accounts of these partitions that the ledger saw last, a few of each."""
    found: dict[str, list[str]] = {partition: [] for partition in partitions}
    query = select(accounts.c.id).order_by(accounts.c.last_seen_at.desc(), accounts.c.id)
    with system.ledger.connect() as connection:
        for account in connection.execution_options(yield_per=1000).execute(query).scalars():
            sample = found.get(system.keys.partition(account))
            if sample is not None and len(sample) < _SAMPLE:
                sample.append(account)
            if all(len(sample) == _SAMPLE for sample in found.values()):
                break
    return found
