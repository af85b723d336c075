"""A partition's epoch: the word that this Redis knows what the ledger knows. `lua/README.md` says what hangs on it.

It stands in one key, `qg:{p00}:epoch`: missing (Redis is new, or was emptied), "restoring since …", or "set … by …".
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import redis

from gateway.store.keys import Keys

#: What an operator does when it is missing. Messages end with it.
REMEDY = "run `quotagate restore`"
_RESTORING = "restoring "


def unready(client: redis.Redis, partitions: Sequence[str]) -> list[str]:
    """The partitions of which nobody has said that they know what the ledger knows."""
    return [
        partition for partition, epoch in zip(partitions, _read(client, partitions), strict=True) if is_unready(epoch)
    ]


def is_unready(epoch: str | None) -> bool:
    """Whether an epoch says that this Redis does not know yet what the ledger knows."""
    return epoch is None or epoch.startswith(_RESTORING)


def missing(client: redis.Redis, partitions: Sequence[str]) -> list[str]:
    """The same without those that are being restored."""
    found = _read(client, partitions)
    return [partition for partition, epoch in zip(partitions, found, strict=True) if epoch is None]


def set_where_missing(client: redis.Redis, partitions: Iterable[str], by: str) -> None:
    """Sets it. One that stands, also one that is being restored, is left as it is."""
    for partition in partitions:
        client.set(Keys.of_partition(partition, "epoch"), f"set {_now()} by {by}", nx=True)


def begin_restore(client: redis.Redis, partitions: Sequence[str]) -> dict[str, str]:
    """Marks where it is missing that a restore has begun, so that nobody takes half of one for all of it. Returns the
    marks that stand, by partition: this one's, or those of others that have begun and not ended."""
    mark = f"{_RESTORING}since {_now()} ({secrets.token_hex(4)})"
    for partition in partitions:
        client.set(Keys.of_partition(partition, "epoch"), mark, nx=True)
    found = zip(partitions, _read(client, partitions), strict=True)
    return {partition: epoch for partition, epoch in found if epoch is not None and epoch.startswith(_RESTORING)}


def end_restore(client: redis.Redis, partition: str, mark: str, by: str) -> bool:
    """Sets it, when a restore has come to its end. Returns False when the mark of its beginning stands there no more:
    Redis was emptied meanwhile, and what was restored before that is gone again."""
    key = Keys.of_partition(partition, "epoch")
    with client.pipeline(transaction=True) as pipeline:
        try:
            pipeline.watch(key)  # type: ignore[no-untyped-call]
            found: Any = pipeline.get(key)
            if found != mark.encode():
                return found is not None and not found.startswith(_RESTORING.encode())
            pipeline.multi()
            pipeline.set(key, f"set {_now()} by {by}")
            pipeline.execute()
        except redis.WatchError:  # Another restore has ended, or Redis was emptied.
            return not unready(client, [partition])
    return True


def _read(client: redis.Redis, partitions: Sequence[str]) -> list[str | None]:
    pipeline = client.pipeline(transaction=False)
    for partition in partitions:
        pipeline.get(Keys.of_partition(partition, "epoch"))
    found: list[Any] = pipeline.execute()
    return [None if epoch is None else epoch.decode("utf-8", "replace") for epoch in found]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
