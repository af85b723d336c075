"""Reservations as they stand in Redis: open holds, how others ended, and events that still wait for the ledger."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from gateway.store.keys import Keys

#: Holds, and entries of a stream, that one round trip reads.
PAGE = 500
#: How many entries of a stream are looked at for one event, the newest first.
MOST_WAITING = 50_000


class Place(NamedTuple):
    """Where a list of open holds goes on: behind this one."""

    lease_until_ms: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class CountedIn:
    """A rate policy that a call counts in."""

    #: "tokens", "input", "output" or "cost".
    measure: str
    #: What it was counted with, until its true use is known.
    weight: int
    #: Whom it counts, and its name: "rate:tokens" for the account itself, "team:red:tokens" for others.
    where: str


@dataclass(frozen=True, slots=True)
class OpenHold:
    """One open reservation. Amounts are units, instants milliseconds since 1970."""

    id: str
    account: str
    amount: int
    first_amount: int
    #: What it took from where: bucket, units.
    parts: tuple[tuple[str, int], ...]
    operation: str
    model: str
    route: str
    key: str
    price_version: str
    opened_at_ms: int
    lease_until_ms: int
    #: What an expiry charges: "charge_counted", "charge_hold" or "release".
    on_lost: str
    #: Units and tokens that its gateway has counted so far.
    counted: int
    counted_input: int
    counted_output: int
    #: Policies whose count is put right at its end, and those that it has a slot of.
    rates: tuple[CountedIn, ...]
    slots: tuple[str, ...]
    #: Policies in shadow mode that would have denied it.
    shadow: tuple[str, ...]

    @property
    def place(self) -> Place:
        return Place(self.lease_until_ms, self.id)


@dataclass(frozen=True, slots=True)
class EndedHold:
    """How a reservation ended: the answer to every repeat."""

    id: str
    #: "" when it was called off before it was ever held.
    account: str
    #: "settled", "released" or "expired".
    how: str
    cost: int
    charged: int
    written_off: int
    #: What the account had left then.
    left: int
    #: For how long this is still remembered.
    remembered_ms: int
    #: Known of one that expired, which may still be settled late.
    rates: tuple[CountedIn, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is not in the ledger yet."""

    stream_id: str
    #: "events", or "poison": it could not be recorded, and was set aside.
    stream: str
    fields: dict[str, str]


def find(client: redis.Redis, keys: Keys, id: str) -> tuple[OpenHold | None, EndedHold | None]:
    """The hold of this id, or how it ended, whatever account it is of."""
    partitions = keys.all_partitions()
    pipeline = client.pipeline(transaction=False)
    for partition in partitions:
        pipeline.hgetall(Keys.of_partition(partition, f"hold:{id}"))
        pipeline.zscore(Keys.of_partition(partition, "holds"), id)
        pipeline.hgetall(Keys.of_partition(partition, f"done:{id}"))
        pipeline.pttl(Keys.of_partition(partition, f"done:{id}"))
    found: list[Any] = pipeline.execute()
    ended = None
    for n in range(0, len(found), 4):
        hold, lease, done, ttl_ms = found[n : n + 4]
        if hold:
            return _hold(id, int(lease or 0), _table(hold)), None
        if done:
            ended = _ended(id, _table(done), max(0, ttl_ms))
    return None, ended


def open_holds(client: redis.Redis, partitions: list[str], after: Place = Place()) -> Iterator[OpenHold]:  # noqa: B008
    """Open holds, the oldest lease first. One that is renewed meanwhile moves to the end, and may be seen twice."""
    return heapq.merge(*(_of_partition(client, each, after) for each in partitions), key=lambda hold: hold.place)


def waiting(client: redis.Redis, partition: str, reservation: str) -> list[Waiting]:
    """A reservation's events that stand in the partition's streams, oldest first."""
    found = [
        Waiting(stream_id, stream, fields)
        for stream in ("events", "poison")
        for stream_id, fields in _newest(client, Keys.of_partition(partition, stream))
        if fields.get("reservation") == reservation
    ]
    return sorted(found, key=lambda each: tuple(map(int, each.stream_id.split("-"))))


def _of_partition(client: redis.Redis, partition: str, after: Place) -> Iterator[OpenHold]:
    holds = Keys.of_partition(partition, "holds")
    last, passed = after, 0
    while True:
        # From the last lease on, as several holds may share it; those at or before the last place are passed over.
        found: Any = client.zrangebyscore(holds, last.lease_until_ms, "+inf", start=passed, num=PAGE, withscores=True)
        if not found:
            return
        places = [Place(int(score), member.decode()) for member, score in found]
        pipeline = client.pipeline(transaction=False)
        fresh = [place for place in places if place > last]
        for place in fresh:
            pipeline.hgetall(Keys.of_partition(partition, f"hold:{place.id}"))
        for place, fields in zip(fresh, pipeline.execute(), strict=True):
            if fields:  # Else it has ended since.
                yield _hold(place.id, place.lease_until_ms, _table(fields))
        if places[-1].lease_until_ms > last.lease_until_ms:
            last, passed = places[-1], 0
        else:
            passed += len(places)


def _newest(client: redis.Redis, stream: str) -> Iterator[tuple[str, dict[str, str]]]:
    end, seen = "+", 0
    while seen < MOST_WAITING:
        entries: Any = client.xrevrange(stream, max=end, min="-", count=PAGE)
        for stream_id, fields in entries:
            yield stream_id.decode(), _table(fields)
        if len(entries) < PAGE:
            return
        seen += len(entries)
        end = "(" + entries[-1][0].decode()


def _hold(id: str, lease_until_ms: int, fields: dict[str, str]) -> OpenHold:
    amount = int(fields["amount"])
    return OpenHold(
        id=id,
        account=fields["account"],
        amount=amount,
        first_amount=int(fields.get("first_amount", amount)),
        parts=_parts(fields["parts"]),
        operation=fields["operation"],
        model=fields["model"],
        route=fields["route"],
        key=fields["key"],
        price_version=fields["price_version"],
        opened_at_ms=int(fields["opened_at"]),
        lease_until_ms=lease_until_ms,
        on_lost=fields["on_lost"],
        counted=int(fields.get("counted", 0)),
        counted_input=int(fields.get("counted_input", 0)),
        counted_output=int(fields.get("counted_output", 0)),
        rates=_rates(fields.get("rates", "")),
        slots=tuple(fields.get("slots", "").splitlines()),
        shadow=tuple(fields.get("shadow", "").split()),
    )


def _ended(id: str, fields: dict[str, str], remembered_ms: int) -> EndedHold:
    cost, charged, written_off, left = (int(fields.get(n, 0)) for n in ("cost", "charged", "written_off", "left"))
    rates = _rates(fields.get("rates", ""))
    account = fields.get("account", "")
    return EndedHold(id, account, fields["how"], cost, charged, written_off, left, remembered_ms, rates)


def _parts(text: str) -> tuple[tuple[str, int], ...]:
    pairs = (part.rpartition("=") for part in text.split())
    return tuple((bucket, int(amount)) for bucket, _, amount in pairs)


def _rates(text: str) -> tuple[CountedIn, ...]:
    """As `lua/lib/admitted.lua` writes them: "MEASURE WEIGHT STEPS/STEP_MS DRAINED_AT WHERE", one a line."""
    found = (line.split(" ", 4) for line in text.splitlines())
    return tuple(CountedIn(measure, int(weight), where) for measure, weight, _, _, where in found)


def _table(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()}
