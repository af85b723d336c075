"""How the system stands, in numbers: what is open, what waits, what could not be recorded."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis

from gateway.accounts.system import System
from gateway.store.inbox import GROUP
from gateway.store.keys import Keys

#: Of more open holds the units are not summed up one by one: as many are read in a round trip.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class PartitionFigures:
    name: str
    #: Events that are not in the ledger yet, and those among them that a worker was given.
    backlog_events: int
    pending_events: int
    #: Events that could not be recorded, and were set aside.
    poison_events: int
    #: Age of the oldest event that is not in the ledger.
    lag_ms: int
    open_holds: int
    held_units: int
    #: Whether this Redis knows what the ledger knows, and since when; None: nobody said so.
    epoch: str | None


def partitions(system: System) -> list[PartitionFigures]:
    """One round trip for all, and one more a thousand open holds. Raises redis.RedisError."""
    names = system.keys.all_partitions()
    pipeline = system.redis.pipeline(transaction=False)
    for name in names:
        events = Keys.of_partition(name, "events")
        pipeline.xlen(events)
        pipeline.xrange(events, count=1)
        pipeline.xlen(Keys.of_partition(name, "poison"))
        pipeline.zcard(Keys.of_partition(name, "holds"))
        pipeline.get(Keys.of_partition(name, "epoch"))
        pipeline.xpending(events, GROUP)  # Last, as it fails where no worker has been.
    found: list[Any] = pipeline.execute(raise_on_error=False)
    return [
        _figures(system.redis, name, found[n : n + 6]) for name, n in zip(names, range(0, len(found), 6), strict=True)
    ]


def _figures(client: redis.Redis, name: str, found: list[Any]) -> PartitionFigures:
    for reply in found[:5]:
        if isinstance(reply, Exception):
            raise reply
    backlog, oldest, poison, open_holds, epoch, pending = found
    return PartitionFigures(
        name=name,
        backlog_events=backlog,
        pending_events=0 if isinstance(pending, redis.ResponseError) else int(pending["pending"]),
        poison_events=poison,
        lag_ms=_age_ms(oldest),
        open_holds=open_holds,
        held_units=_held(client, name) if open_holds else 0,
        epoch=None if epoch is None else epoch.decode("utf-8", "replace"),
    )


def _held(client: redis.Redis, partition: str) -> int:
    members: Any = client.zrange(Keys.of_partition(partition, "holds"), 0, -1)
    held = 0
    for start in range(0, len(members), _PAGE):
        pipeline = client.pipeline(transaction=False)
        for member in members[start : start + _PAGE]:
            pipeline.hget(Keys.of_partition(partition, f"hold:{member.decode()}"), "amount")
        held += sum(int(amount or 0) for amount in pipeline.execute())
    return held


def _age_ms(oldest: list[tuple[bytes, Any]]) -> int:
    if not oldest:
        return 0
    return max(0, time.time_ns() // 1_000_000 - int(oldest[0][0].partition(b"-")[0]))
