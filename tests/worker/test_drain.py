"""The drain: rows are committed, then events leave the stream; whatever dies, each event is in the ledger once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from gateway.accounts.system import System
from gateway.domain.event import Event
from gateway.ledger import database
from gateway.ledger.queries import balance_of, entries_of, usage_of
from gateway.ledger.record import record
from gateway.store.inbox import GROUP
from gateway.store.keys import Keys
from tests.conftest import new_postgres_database
from tests.ledger.events import fields_of, grant, opening, usage
from tests.worker.stream import Stream
from worker import drain, runtime
from worker.drain import MAX_TRIES, drain_inbox

Commit = Callable[[Sequence[Event]], int]


class Died(BaseException):
    """Stands for SIGKILL: nothing of the worker runs after it."""


class Log:
    """A ledger of lists, which refuses what a test says."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.refused: dict[str, Exception] = {}

    def __call__(self, events: Sequence[Event]) -> int:
        for event in events:
            if event.id in self.refused:
                raise self.refused[event.id]
        self.batches.append([event.id for event in events])
        return len(events)

    @property
    def ids(self) -> list[str]:
        return [id for batch in self.batches for id in batch]


def refusal() -> DBAPIError:
    """What a database says to rows that it cannot take."""
    return IntegrityError("INSERT", None, ValueError("out of range"))


def calls(count: int, account: str = "alice") -> list[Event]:
    return [usage(f"r{number}", account) for number in range(1, count + 1)]


def recorder(ledger: Engine) -> Commit:
    return lambda events: record(ledger, events)


def recorded(ledger: Engine, account: str = "alice") -> list[str]:
    return [row["id"] for row in usage_of(ledger, account)]


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_event_gets_into_the_ledger_and_leaves_the_stream(stream: Stream, ledger: Engine) -> None:
    stream.add(opening(), *calls(3), grant())

    drained = drain_inbox(stream.worker("one"), recorder(ledger))

    assert drained == 5
    assert recorded(ledger) == ["r1", "r2", "r3"]
    assert balance_of(ledger, "alice") == 15 + 5 - 3 * 3 + 100
    assert (stream.ids(), stream.pending(), stream.poisoned()) == ([], [], [])


def test_events_are_recorded_a_batch_a_transaction(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "BATCH", 3)
    stream.add(*calls(7))
    log = Log()

    assert drain_inbox(stream.worker("one"), log) == 7
    assert log.batches == [["r1", "r2", "r3"], ["r4", "r5", "r6"], ["r7"]]


def test_an_empty_inbox_asks_nothing_of_the_database(stream: Stream) -> None:
    log = Log()

    assert drain_inbox(stream.worker("one"), log) == 0
    assert log.batches == []


def test_events_that_arrive_meanwhile_are_drained_too(stream: Stream) -> None:
    stream.add(usage("r1"))
    log = Log()

    def commit(events: Sequence[Event]) -> int:
        if not log.batches:
            stream.add(usage("r2"))
        return log(events)

    assert drain_inbox(stream.worker("one"), commit) == 2
    assert log.ids == ["r1", "r2"]


def test_a_job_whose_time_is_over_leaves_the_rest_to_the_next(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "BATCH", 2)
    stream.add(*calls(5))
    log = Log()

    assert drain_inbox(stream.worker("one"), log, max_s=-1.0) == 2
    assert (log.ids, stream.ids()) == (["r1", "r2"], ["r3", "r4", "r5"])

    assert drain_inbox(stream.worker("one"), log) == 3
    assert log.ids == ["r1", "r2", "r3", "r4", "r5"]


# ── commit, then acknowledge ─────────────────────────────────────────────────────────────────────────────────────────


def test_no_event_leaves_the_stream_before_its_rows_are_committed(stream: Stream) -> None:
    stream.add(*calls(3))
    seen: list[tuple[list[str], int]] = []

    def commit(events: Sequence[Event]) -> int:
        seen.append((stream.ids(), len(stream.pending())))
        return len(events)

    drain_inbox(stream.worker("one"), commit)

    assert seen == [(["r1", "r2", "r3"], 3)]
    assert stream.ids() == []


def test_a_worker_that_dies_before_its_commit_loses_nothing(stream: Stream, ledger: Engine) -> None:
    stream.add(*calls(3))

    def die(events: Sequence[Event]) -> int:
        raise Died

    with pytest.raises(Died):
        drain_inbox(stream.worker("dead"), die)
    stream.age()
    drained = drain_inbox(stream.worker("heir"), recorder(ledger))

    assert drained == 3
    assert recorded(ledger) == ["r1", "r2", "r3"]
    assert stream.ids() == []


def test_a_worker_that_dies_after_its_commit_doubles_nothing(stream: Stream, ledger: Engine) -> None:
    stream.add(*calls(3), grant())

    def commit_and_die(events: Sequence[Event]) -> int:
        record(ledger, events)
        raise Died

    with pytest.raises(Died):
        drain_inbox(stream.worker("dead"), commit_and_die)
    assert stream.ids() == ["r1", "r2", "r3", "grant:alice:g1"]
    stream.age()
    drain_inbox(stream.worker("heir"), recorder(ledger))

    assert recorded(ledger) == ["r1", "r2", "r3"]
    assert len(list(entries_of(ledger, "alice"))) == 4
    assert balance_of(ledger, "alice") == 100 - 3 * 3
    with ledger.connect() as connection:
        assert connection.execute(text("SELECT requests, cost FROM usage_daily")).all() == [(3, 9)]
        assert connection.execute(text("SELECT requests, used_tokens FROM accounts")).all() == [(3, 45)]
    assert (stream.ids(), stream.pending()) == ([], [])


def test_a_worker_that_was_only_slow_doubles_nothing(stream: Stream, ledger: Engine) -> None:
    stream.add(*calls(2))
    slow = stream.worker("slow")
    drain_others: list[int] = []

    def commit_late(events: Sequence[Event]) -> int:
        stream.age()
        drain_others.append(drain_inbox(stream.worker("quick"), recorder(ledger)))
        return record(ledger, events)

    drain_inbox(slow, commit_late)

    assert drain_others == [2]
    assert recorded(ledger) == ["r1", "r2"]
    assert balance_of(ledger, "alice") == -6
    assert (stream.ids(), stream.pending()) == ([], [])


def test_what_a_worker_has_in_hand_is_not_taken_from_it(stream: Stream) -> None:
    stream.add(*calls(2))
    stream.worker("busy").take(10)
    log = Log()

    assert drain_inbox(stream.worker("other"), log) == 0
    assert log.batches == []
    assert {entry["consumer"] for entry in stream.pending()} == {b"busy"}


# ── events that cannot be recorded ───────────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_fails_is_recorded_event_by_event(stream: Stream) -> None:
    stream.add(*calls(4))
    log = Log()
    log.refused["r2"] = refusal()

    assert drain_inbox(stream.worker("one"), log) == 3
    assert log.batches == [["r1"], ["r3"], ["r4"]]
    assert stream.ids() == ["r2"]


def test_an_event_is_set_aside_after_five_tries(stream: Stream, caplog: pytest.LogCaptureFixture) -> None:
    event = grant("g1", reason="paid – «twice»")
    id = stream.add_fields(fields_of(event))
    log = Log()
    log.refused[event.id] = refusal()

    for _ in range(MAX_TRIES - 1):
        drain_inbox(stream.worker("one"), log)
        stream.age()
    assert (stream.ids(), stream.poisoned()) == ([event.id], [])
    assert [r.levelno for r in caplog.records if r.name == "quotagate.worker"] == [logging.WARNING] * (MAX_TRIES - 1)
    drain_inbox(stream.worker("one"), log)

    assert MAX_TRIES == 5
    assert (stream.ids(), stream.pending(), log.ids) == ([], [], [])
    (kept,) = stream.read(Keys.of_partition("p00", "poison"))
    assert "out of range" in kept.pop("poison_reason")
    assert kept == fields_of(event) | {"stream_id": id}
    assert caplog.records[-1].levelno == logging.ERROR
    assert id in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"at": "soon"}, id="no number"),
        pytest.param({"entries": "GIFT credits:g 5"}, id="a kind that nobody knows"),
        pytest.param({"entries": "USAGE"}, id="half an entry"),
        pytest.param({"account": None}, id="a field too few"),
    ],
)
def test_an_event_that_cannot_be_read_is_set_aside_and_the_others_pass(
    stream: Stream, change: dict[str, str | None]
) -> None:
    fields: dict[str, str | None] = {**fields_of(usage("bad")), **change}
    stream.add(usage("r1"))
    stream.add_fields({name: value for name, value in fields.items() if value is not None})
    stream.add(usage("r2"))
    log = Log()

    drained = drain_inbox(stream.worker("one"), log)
    assert (drained, log.ids, stream.ids()) == (2, ["r1", "r2"], ["bad"])
    for _ in range(MAX_TRIES - 1):
        stream.age()
        drain_inbox(stream.worker("one"), log)

    assert (log.ids, stream.ids(), stream.poisoned()) == (["r1", "r2"], [], ["bad"])


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(usage("bad", input_tokens=2**63), id="more tokens than 64 bits hold"),
        pytest.param(usage("bad", at_ms=10**15), id="an instant past the year 9999"),
        pytest.param(usage("bad", at_ms=10**20), id="an instant past all clocks"),
    ],
)
def test_an_event_that_the_ledger_cannot_hold_is_set_aside_and_the_others_pass(
    stream: Stream, ledger: Engine, bad: Event
) -> None:
    stream.add(usage("r1"), bad, usage("r2"))

    assert drain_inbox(stream.worker("one"), recorder(ledger)) == 2
    assert (recorded(ledger), stream.ids()) == (["r1", "r2"], ["bad"])
    for _ in range(MAX_TRIES - 1):
        stream.age()
        drain_inbox(stream.worker("one"), recorder(ledger))

    assert (recorded(ledger), stream.ids(), stream.poisoned()) == (["r1", "r2"], [], ["bad"])


def test_text_that_postgresql_cannot_hold_is_set_aside_and_the_others_pass(stream: Stream, postgres_url: str) -> None:
    with_tables = migrated(new_postgres_database(postgres_url))
    stream.add(usage("r1"), usage("bad", model="gpt\0"), usage("r2"), replace(grant(), account="a" * 201))

    for _ in range(MAX_TRIES):
        drain_inbox(stream.worker("one"), recorder(with_tables))
        stream.age()

    assert recorded(with_tables) == ["r1", "r2"]
    assert (stream.ids(), stream.poisoned()) == ([], ["bad", "grant:alice:g1"])
    with_tables.dispose()


# ── a database that is away ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_database_that_is_away_is_told_and_every_event_kept(stream: Stream, kind: type[DBAPIError]) -> None:
    stream.add(*calls(3))
    log = Log()
    log.refused["r1"] = kind("INSERT", None, ValueError("the connection was closed"))

    for _ in range(2 * MAX_TRIES):  # However long it is away.
        with pytest.raises(kind):
            drain_inbox(stream.worker("one"), log)
        stream.age()
    assert (stream.ids(), stream.poisoned()) == (["r1", "r2", "r3"], [])

    log.refused.clear()
    assert drain_inbox(stream.worker("one"), log) == 3
    assert log.batches == [["r1", "r2", "r3"]]


def test_a_server_that_cannot_be_reached_keeps_every_event(stream: Stream) -> None:
    stream.add(*calls(2))
    nowhere = database.connect("postgresql://user@127.0.0.1:1/ledger")

    with pytest.raises(OperationalError):
        drain_inbox(stream.worker("one"), recorder(nowhere))

    assert (stream.ids(), stream.poisoned()) == (["r1", "r2"], [])


def test_a_database_that_goes_away_between_two_events_loses_and_doubles_none(stream: Stream, ledger: Engine) -> None:
    stream.add(*calls(3))
    tries: list[list[str]] = []

    def commit(events: Sequence[Event]) -> int:
        tries.append([event.id for event in events])
        if len(events) > 1:
            raise refusal()
        if len(tries) == 3:
            raise OperationalError("INSERT", None, ValueError("gone"))
        return record(ledger, events)

    with pytest.raises(OperationalError):
        drain_inbox(stream.worker("one"), commit)
    assert (recorded(ledger), stream.ids()) == (["r1"], ["r1", "r2", "r3"])
    stream.age()
    drain_inbox(stream.worker("one"), recorder(ledger))

    assert recorded(ledger) == ["r1", "r2", "r3"]
    assert balance_of(ledger, "alice") == -9
    assert stream.ids() == []


@pytest.fixture
def broken_postgres(postgres_url: str) -> Iterator[Engine]:
    engine = migrated(new_postgres_database(postgres_url))
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        pytest.param(
            "ALTER DATABASE {name} SET default_transaction_read_only = on",
            "SET default_transaction_read_only = off; ALTER DATABASE {name} RESET default_transaction_read_only",
            id="read only, as a standby is",
        ),
        pytest.param(
            "ALTER TABLE usage_events RENAME TO gone", "ALTER TABLE gone RENAME TO usage_events", id="without a table"
        ),
    ],
)
def test_a_database_that_takes_no_event_at_all_is_to_blame_and_no_event_is_set_aside(
    stream: Stream, broken_postgres: Engine, breaks: str, mends: str
) -> None:
    stream.add(*calls(3))
    name = broken_postgres.url.database
    with broken_postgres.begin() as connection:
        connection.execute(text(breaks.format(name=name)))
    broken_postgres.dispose()

    for _ in range(MAX_TRIES + 1):
        with contextlib.suppress(DBAPIError):
            drain_inbox(stream.worker("one"), recorder(broken_postgres))
        stream.age()

    assert (stream.ids(), stream.poisoned()) == (["r1", "r2", "r3"], [])
    with broken_postgres.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in mends.format(name=name).split("; "):
            connection.execute(text(statement))
    broken_postgres.dispose()
    assert drain_inbox(stream.worker("one"), recorder(broken_postgres)) == 3
    assert recorded(broken_postgres) == ["r1", "r2", "r3"]


def test_a_stream_that_was_flushed_under_a_job_is_told(stream: Stream) -> None:
    inbox = stream.worker("one")
    stream.client.delete(stream.key)

    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        drain_inbox(inbox, Log())


# ── the job ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_job_drains_its_own_partition(system: System) -> None:
    first, second = Stream(system.redis, "p00"), Stream(system.redis, "p01")
    first.add(usage("r1"))
    second.add(usage("r2", "bob"))

    assert drain.drain("p00") == 1

    assert (recorded(system.ledger, "alice"), recorded(system.ledger, "bob")) == (["r1"], [])
    assert (first.ids(), second.ids()) == ([], ["r2"])


def test_the_job_begins_with_the_oldest_event_when_the_group_was_lost(system: System) -> None:
    stream = Stream(system.redis)
    stream.add(usage("r1"))
    drain.drain("p00")
    stream.add(usage("r2"), usage("r3"))
    stream.worker("other").take(1)
    system.redis.xgroup_destroy(stream.key, GROUP)

    assert drain.drain("p00") == 2

    assert recorded(system.ledger) == ["r1", "r2", "r3"]


def test_all_jobs_of_a_process_are_one_consumer(system: System) -> None:
    for number in range(3):
        Stream(system.redis).add(usage(f"r{number}"))
        drain.drain("p00")

    consumers: Any = system.redis.xinfo_consumers(Keys.of_partition("p00", "events"), GROUP)
    assert [consumer["name"].decode() for consumer in consumers] == [runtime.consumer()]


def test_a_job_outside_a_worker_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_system", None)

    with pytest.raises(RuntimeError, match="quotagate worker"):
        drain.drain("p00")


def migrated(url: str) -> Engine:
    from gateway.ledger.migrate import migrate

    engine = database.connect(url)
    migrate(engine)
    return engine
