"""The ledger's inbox: a partition's stream of events, read by a consumer group.

The stream is the record, RQ only the wake-up. An entry is deleted after its rows are committed, never before, and the
stream is never trimmed. What a worker was given and did not acknowledge stays pending; once it has been idle for
CLAIM_IDLE_MS another worker claims it.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from typing import Any

import redis

from gateway.store.keys import Keys

GROUP = "ledger"
#: An event that a worker has held for so long without acknowledging it is taken over. Harmless when that worker was
#: only slow: rows are unique by event.
CLAIM_IDLE_MS = 10_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it was delivered."""

    stream_id: str
    fields: dict[str, str]


class Inbox:
    """One partition's inbox, as one consumer sees it. Raises redis.RedisError."""

    def __init__(self, client: redis.Redis, partition: str, consumer: str | None = None) -> None:
        self.partition = partition
        self._client = client
        self._stream = Keys.of_partition(partition, "events")
        self._poison = Keys.of_partition(partition, "poison")
        self._consumer = consumer or consumer_name()

    def open(self) -> None:
        """Makes the stream and its group. A group that was lost begins again with the oldest event."""
        try:
            self._client.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def take(self, count: int) -> list[Delivery]:
        """Up to `count` events: those that another worker left first, then new ones. [] when there is nothing to do."""
        claimed: Any = self._client.xautoclaim(self._stream, GROUP, self._consumer, CLAIM_IDLE_MS, "0", count=count)
        entries = [entry for entry in claimed[1] if entry[1]]
        if not entries:
            found: Any = self._client.xreadgroup(GROUP, self._consumer, {self._stream: ">"}, count=count)
            entries = found[0][1] if found else []
        return [
            Delivery(id.decode(), {_text(name): _text(value) for name, value in fields.items()})
            for id, fields in entries
        ]

    def done(self, deliveries: list[Delivery]) -> None:
        """Their rows are committed: they are acknowledged and deleted, together."""
        if deliveries:
            ids = [delivery.stream_id for delivery in deliveries]
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xack(self._stream, GROUP, *ids)
            pipeline.xdel(self._stream, *ids)
            pipeline.execute()

    def tries(self, delivery: Delivery) -> int:
        """How often an event was delivered, this time included."""
        pending = self._client.xpending_range(self._stream, GROUP, delivery.stream_id, delivery.stream_id, 1)
        return int(pending[0]["times_delivered"]) if pending else 0

    def set_aside(self, delivery: Delivery, why: str) -> None:
        """Moves an event that cannot be recorded to the poison stream, where it is kept for someone to look at."""
        pipeline = self._client.pipeline(transaction=True)
        kept: dict[Any, Any] = {**delivery.fields, "poison_reason": why[:500], "stream_id": delivery.stream_id}
        pipeline.xadd(self._poison, kept)
        pipeline.xack(self._stream, GROUP, delivery.stream_id)
        pipeline.xdel(self._stream, delivery.stream_id)
        pipeline.execute()

    def backlog(self) -> int:
        """Events not yet in the ledger."""
        return int(self._client.xlen(self._stream))

    def poisoned(self) -> int:
        return int(self._client.xlen(self._poison))

    def forget_idle_consumers(self, idle_ms: int = 3_600_000) -> None:
        """Removes consumers of workers that are long gone and left nothing behind."""
        for consumer in self._client.xinfo_consumers(self._stream, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > idle_ms:
                self._client.xgroup_delconsumer(self._stream, GROUP, consumer["name"])


def _text(written: bytes) -> str:
    """Bytes that are no text become marks: an entry written by hand must not stop those behind it."""
    return written.decode("utf-8", "replace")


def consumer_name() -> str:
    """A name that no other worker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
