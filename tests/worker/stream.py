"""A partition's stream as the scripts fill it and dying workers leave it, at ages that only the test decides."""

from __future__ import annotations

from typing import Any

import redis

from gateway.domain.event import Event
from gateway.store.inbox import CLAIM_IDLE_MS, GROUP, Inbox
from gateway.store.keys import Keys
from tests.ledger.events import fields_of


class Stream:
    def __init__(self, client: redis.Redis, partition: str = "p00") -> None:
        self.client = client
        self.partition = partition
        self.key = Keys.of_partition(partition, "events")

    def add(self, *events: Event) -> None:
        for event in events:
            self.add_fields(fields_of(event))

    def add_fields(self, fields: dict[Any, Any]) -> str:
        id: Any = self.client.xadd(self.key, fields)
        return str(id.decode())

    def worker(self, name: str) -> Inbox:
        """The inbox as a worker of this name sees it."""
        inbox = Inbox(self.client, self.partition, name)
        inbox.open()
        return inbox

    def age(self, idle_ms: int = CLAIM_IDLE_MS) -> None:
        """Time passes in which nobody touches what was delivered."""
        for entry in self.pending():
            self.client.xclaim(
                self.key, GROUP, entry["consumer"], 0, [entry["message_id"]], idle=idle_ms, justid=True
            )  # fmt: skip

    def pending(self) -> list[dict[str, Any]]:
        """What was delivered and not acknowledged."""
        found: Any = self.client.xpending_range(self.key, GROUP, "-", "+", 10_000)
        return list(found)

    def ids(self) -> list[str]:
        """The ids of the events that stand in the stream, oldest first."""
        return self._ids_of(self.key)

    def poisoned(self) -> list[str]:
        """The ids of the events that were set aside."""
        return self._ids_of(Keys.of_partition(self.partition, "poison"))

    def read(self, key: str) -> list[dict[str, str]]:
        """The fields of all entries of a stream, oldest first."""
        found: Any = self.client.xrange(key)
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in found]

    def _ids_of(self, key: str) -> list[str]:
        return [fields["id"] for fields in self.read(key)]
