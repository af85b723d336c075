"""Events that are not in the ledger yet: those that wait in the streams, and those that were set aside."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from gateway.accounts.system import System
from gateway.domain.books import Record
from gateway.domain.event import Event, MalformedEvent, read_event
from gateway.ledger import books
from gateway.store.keys import Keys

_PAGE = 1000


class Pending:
    """Reads on from where it stopped: an event that was recorded since is known by its rows."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._read_to: dict[str, str] = {}
        self._by_account: dict[str, dict[str, Event]] = {}

    def look(self, accounts: Collection[str]) -> None:
        """Reads what has come in, in the partitions of these accounts."""
        for partition in sorted({self._system.keys.partition(account) for account in accounts}):
            for name in ("events", "poison"):
                for event in self._read(Keys.of_partition(partition, name)):
                    self._by_account.setdefault(event.account, {})[event.id] = event

    def of(self, account: str) -> list[Event]:
        """What is known to have waited, oldest first; some of it may be recorded by now."""
        return sorted(self._by_account.get(account, {}).values(), key=lambda event: event.position)

    def add_to(
        self, connection: Connection, records: Mapping[str, Record], until: Mapping[str, int] | None = None
    ) -> None:
        """Adds to what the ledger knows what it does not know yet. `until`: by account, the position after which
        nothing counts."""
        waiting = [event for record in records.values() for event in self.of(record.id)]
        known = books.recorded(connection, waiting)
        for event in waiting:
            if event.id in known:
                del self._by_account[event.account][event.id]
            elif until is None or event.position <= until[event.account]:
                records[event.account].add(event)

    def _read(self, stream: str) -> Iterator[Event]:
        is_poison = stream.endswith(":poison")
        while True:
            after = self._read_to.get(stream)
            found: Any = self._system.redis.xrange(stream, min=f"({after}" if after else "-", count=_PAGE)
            for id, fields in found:
                self._read_to[stream] = id.decode()
                words = {_text(name): _text(value) for name, value in fields.items()}
                try:
                    yield read_event(words, words.get("stream_id", "") if is_poison else id.decode())
                except MalformedEvent:
                    continue  # Nobody knows what it says; the worker has shouted about it.
            if len(found) < _PAGE:
                return


def _text(written: bytes) -> str:
    return written.decode("utf-8", "replace")
