"""The invariants of the design, read from raw keys: for every account, from what Redis holds and the ledger has heard.

Nothing here goes through the scripts or their wrappers, so that both stand trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from gateway.domain.event import Event, read_event
from gateway.domain.tier import PERIODS

#: The kinds of entries that say what calls cost.
SPENDING = ("USAGE", "LICENSE_USE", "REFUND", "WRITE_OFF")


class _Key(NamedTuple):
    """A key without its partition: kind "day", name "ada:2026-11-20"."""

    kind: str
    name: str


#: Reads every key in one go: histories of thousands of steps are read after each of them.
READ_ALL = """
    local read = { hash = { "HGETALL" }, zset = { "ZRANGE", 0, -1, "WITHSCORES" }, stream = { "XRANGE", "-", "+" },
      string = { "GET" } }
    local all = {}
    for _, key in ipairs(redis.call("KEYS", "qg:{p*}:*")) do
      local command = read[redis.call("TYPE", key).ok]
      all[#all + 1] = { key, redis.call(command[1], key, unpack(command, 2)) }
    end
    return all
"""


class Books:
    """A snapshot of one partition's keys, in words and numbers."""

    def __init__(self, client: redis.Redis, now_ms: int) -> None:
        self.now_ms = now_ms
        found: Any = client.eval(READ_ALL, 0)
        self._raw = {_Key(*key.decode().partition("}:")[2].partition(":")[::2]): content for key, content in found}

    __hash__ = None  # type: ignore[assignment]  # A snapshot is compared, never looked up.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Books) and self._contents() == other._contents()

    def _contents(self) -> dict[_Key, Any]:
        """All that stands there. The order of a hash's fields says nothing: the server changes it as the hash grows."""
        as_read = ("events", "rate", "epoch")
        return {key: found if key.kind in as_read else _table(found) for key, found in self._raw.items()}

    def names(self, kind: str) -> list[str]:
        """The names of all keys of a kind: names("account") are the accounts."""
        return [key.name for key in self._raw if key.kind == kind]

    def hash(self, kind: str, name: str) -> dict[str, str]:
        """The hash, or sorted set, of this kind and name: hash("day", "ada:2026-11-20")."""
        return _table(self._raw.get(_Key(kind, name), []))

    def period(self, account: str, kind: str, id: str) -> dict[str, int] | None:
        """A period that is still running; None when it has ended or its key is gone."""
        period = {field: int(value) for field, value in self.hash(kind, f"{account}:{id}").items()} if id else {}
        return period if period and self.now_ms < period["ends_at"] else None

    def credits(self, account: str) -> dict[str, int]:
        return {grant: int(left) for grant, left in self.hash("credits", account).items()}

    def burn_order(self, account: str) -> list[str]:
        """The grants of an account in the order in which they burn."""
        return [member.partition("/")[2] for member in self.hash("credits-order", account)]

    def holds(self) -> dict[str, dict[str, str]]:
        """Open holds by id."""
        return {id: self.hash("hold", id) for id in self.names("hold")}

    def leases(self) -> dict[str, float]:
        """When each open hold's lease is over."""
        return {id: float(ends_ms) for id, ends_ms in self.hash("holds", "").items()}

    def events(self) -> list[Event]:
        """Events not yet in the ledger."""
        return [read_event(_table(fields), id.decode()) for id, fields in self._raw.get(_Key("events", ""), [])]


def _table(flat: list[bytes]) -> dict[str, str]:
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def held_parts(hold: dict[str, str]) -> dict[str, int]:
    """What a hold took from where: {"day:2026-11-20": 3}."""
    return {bucket: int(amount) for bucket, _, amount in (part.rpartition("=") for part in hold["parts"].split())}


def audit(books: Books, ledger: Mapping[str, Event] | None = None) -> None:
    """Holds every account to the invariants of the design. `ledger`: the events that were recorded before, by id. One
    of them may still stand in the stream, when the worker that recorded it died; it must then be the same."""
    recorded = dict(ledger or {})
    twice = [id for id, times in Counter(event.id for event in books.events()).items() if times > 1]
    assert not twice, f"event ids are unique for good, but these are not: {twice}"
    for event in books.events():
        assert recorded.setdefault(event.id, event) == event, f"event ids are unique for good: {event.id}"
    events = list(recorded.values())
    ended = Counter(e.usage.reservation_id for e in events if e.usage and e.usage.outcome != "corrected")
    assert all(times == 1 for times in ended.values()), f"each reservation ends once: {ended}"
    assert not ended.keys() & books.holds().keys(), "an ended reservation holds nothing"
    assert books.leases().keys() == books.holds().keys(), "every hold has a lease, every lease a hold"
    for account in books.names("account"):
        _audit_account(books, account, [event for event in events if event.account == account])


def _audit_account(books: Books, id: str, events: list[Event]) -> None:
    fields = books.hash("account", id)
    granted, spent, held = (int(fields[name]) for name in ("granted", "spent", "held"))
    left = lapsed = 0
    for kind in (kind for kind in PERIODS if kind in fields):
        mirrored = int(fields[f"{kind}_left"])
        period = books.period(id, kind, fields[kind])
        if period is None:
            lapsed += mirrored
        else:
            assert period["left"] == mirrored, f"{id}: the mirrored {kind}_left is the {kind} bucket's own"
            assert min(period.values()) >= 0, f"{id}: nothing is negative: {period}"
            left += period["left"]
    credits = books.credits(id)
    assert min(credits.values(), default=1) > 0, f"{id}: an empty grant stands in no bucket: {credits}"
    assert sorted(books.burn_order(id)) == sorted(credits), f"{id}: every grant burns in its turn"
    left += sum(credits.values())

    parts = [held_parts(hold) for hold in books.holds().values() if hold["account"] == id]
    assert min(granted, spent, held, left, lapsed) >= 0, f"{id}: nothing is negative: {fields}"
    assert granted == left + held + spent + lapsed, f"{id}: granted = left + held + spent (+ lapsed): {fields}"
    assert held == sum(sum(amounts.values()) for amounts in parts), f"{id}: what is held, open calls hold"
    entries = [entry for event in events for entry in event.entries]
    assert spent == -sum(e.amount for e in entries if e.kind in SPENDING), f"{id}: spent is what the ledger hears"
    assert granted - spent == sum(e.amount for e in entries), f"{id}: the ledger's sum is left + held + lapsed"
