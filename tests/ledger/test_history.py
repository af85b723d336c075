"""What one account did: pages that miss and repeat nothing, sums that are those of the rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.domain.errors import RefusedInput
from gateway.domain.event import Entry
from gateway.ledger import history
from gateway.ledger.paging import Page
from gateway.ledger.record import record
from tests.ledger.events import NOON_MS, corrected, grant, opening, usage


def walk(ask: Callable[[str | None], Page]) -> list[Any]:
    """The ids of all pages, one after the other."""
    ids: list[Any] = []
    cursor: str | None = None
    while True:
        page = ask(cursor)
        ids += [row["id"] for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids


def instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


@pytest.fixture
def filled(ledger: Engine) -> Engine:
    """Forty calls, three of them each millisecond; a grant and an opening; and a neighbour's."""
    drawn = random.Random(3)
    events = [
        usage(
            f"r{n:02}", at_ms=NOON_MS + n // 3, operation="embed" if n % 4 == 0 else "chat", model=f"m{n % 3}",
            session="s1" if n % 5 == 0 else "", local_day=f"2026-11-{18 + n // 20}", cost=n,
        )
        for n in range(40)
    ]  # fmt: skip
    events += [opening(at_ms=NOON_MS - 1), grant("g1", at_ms=NOON_MS + 5), usage("x", "bob", session="s1")]
    drawn.shuffle(events)
    record(ledger, events)
    return ledger


@pytest.mark.parametrize("limit", [1, 3, 7, 40, 1000])
def test_pages_hold_every_row_once_newest_first(filled: Engine, limit: int) -> None:
    calls = walk(lambda cursor: history.calls(filled, "alice", cursor=cursor, limit=limit))
    entries = walk(lambda cursor: history.transactions(filled, "alice", cursor=cursor, limit=limit))

    assert calls == [f"r{n:02}" for n in reversed(range(40))]
    assert len(entries) == len(set(entries)) == 39 + 1 + 2
    assert entries[-2:] == ["opening:alice/2", "opening:alice/1"]


def test_the_last_page_says_that_it_is(filled: Engine) -> None:
    assert history.calls(filled, "alice", limit=40).next_cursor is None
    assert history.calls(filled, "alice", limit=39).next_cursor is not None
    assert history.calls(filled, "nobody") == Page((), None)


def test_rows_that_come_meanwhile_move_no_page(filled: Engine) -> None:
    first = history.calls(filled, "alice", limit=10)
    record(filled, [usage("new", at_ms=NOON_MS + 100), usage("late", at_ms=NOON_MS - 100)])

    rest = walk(lambda cursor: history.calls(filled, "alice", cursor=cursor or first.next_cursor, limit=10))

    assert rest == [f"r{n:02}" for n in reversed(range(30))] + ["late"]


def test_calls_are_found_by_what_they_were(filled: Engine) -> None:
    def found(**wanted: Any) -> list[Any]:
        return walk(lambda cursor: history.calls(filled, "alice", cursor=cursor, limit=4, **wanted))

    assert found(operation="embed") == [f"r{n:02}" for n in reversed(range(0, 40, 4))]
    assert found(model="m1") == [f"r{n:02}" for n in reversed(range(1, 40, 3))]
    assert found(session="s1") == [f"r{n:02}" for n in reversed(range(0, 40, 5))]
    assert found(session="s1", operation="embed") == ["r20", "r00"]
    assert found(since=instant(NOON_MS + 12)) == ["r39", "r38", "r37", "r36"]
    assert found(until=instant(NOON_MS + 1)) == ["r02", "r01", "r00"]
    assert found(since=instant(NOON_MS + 1), until=instant(NOON_MS + 2), model="m0") == ["r03"]
    assert found(operation="none") == []


def test_entries_are_found_by_what_they_were(filled: Engine) -> None:
    def found(**wanted: Any) -> list[Any]:
        return walk(lambda cursor: history.transactions(filled, "alice", cursor=cursor, limit=4, **wanted))

    assert found(kind="TOP_UP") == ["grant:alice:g1/1"]
    assert found(kind="SIGNUP") == ["opening:alice/1"]
    assert len(found(kind="USAGE")) == 39
    assert found(operation="embed") == [f"r{n:02}/1" for n in reversed(range(4, 40, 4))]
    assert found(kind="USAGE", since=instant(NOON_MS + 13)) == ["r39/1"]
    assert found(until=instant(NOON_MS)) == ["opening:alice/2", "opening:alice/1"]


def test_a_cursor_of_another_list_is_refused(filled: Engine) -> None:
    cursor = history.calls(filled, "alice", limit=1).next_cursor

    with pytest.raises(RefusedInput, match="cursor"):
        history.transactions(filled, "alice", cursor=cursor)


def test_sums_are_those_of_the_calls(filled: Engine) -> None:
    rows = history.calls(filled, "alice", limit=1000).items

    parts = history.breakdown(filled, "alice", "2026-11-01", "2026-11-30")

    for groups, column in ((parts.by_day, "local_day"), (parts.by_model, "model"), (parts.by_operation, "operation")):
        for sums in groups:
            of_group = [row for row in rows if row[column] == sums.name]
            assert sums.requests == len(of_group)
            for name in (*history.SUMMED[1:], "total_tokens"):
                assert getattr(sums, name) == sum(row[name] for row in of_group), (sums.name, name)
                assert type(getattr(sums, name)) is int
    assert parts.total.cost == sum(range(40))
    assert [sums.name for sums in parts.by_day] == ["2026-11-18", "2026-11-19"]
    assert [sums.name for sums in parts.by_model] == ["m0", "m2", "m1"]
    assert [sums.name for sums in parts.by_operation] == ["chat", "embed"]


def test_each_way_by_itself_says_the_same(filled: Engine) -> None:
    days = ("2026-11-19", "2026-11-19")
    parts = history.breakdown(filled, "alice", *days)

    assert history.by_day(filled, "alice", *days) == parts.by_day
    assert history.by_model(filled, "alice", *days) == parts.by_model
    assert history.by_operation(filled, "alice", *days) == parts.by_operation
    assert parts.total.requests == 20


def test_days_without_calls_have_nothing(filled: Engine) -> None:
    parts = history.breakdown(filled, "alice", "2025-01-01", "2025-12-31")

    assert (parts.by_day, parts.by_model, parts.by_operation) == ((), (), ())
    assert (parts.total.requests, parts.total.cost) == (0, 0)


def test_a_session_has_its_totals_and_its_calls(filled: Engine) -> None:
    found = history.session(filled, "alice", "s1", limit=3)

    assert [row["id"] for row in found.calls.items] == ["r35", "r30", "r25"]
    assert found.calls.next_cursor is not None
    assert (found.total.name, found.total.requests, found.total.cost) == ("s1", 8, sum(range(0, 40, 5)))
    assert (found.first_at, found.last_at) == (instant(NOON_MS), instant(NOON_MS + 11))


def test_a_correction_is_part_of_its_session_and_no_call(ledger: Engine) -> None:
    lines = (Entry("USAGE", "day:2026-11-20", -3),)
    record(ledger, [usage("r1", session="s1", entries=lines), corrected("r1", at_ms=NOON_MS + 9)])
    told = usage("p1", outcome="reported", session="s1", cost=0, input_tokens=0, output_tokens=0, reported_tokens=50)
    record(ledger, [told])

    found = history.session(ledger, "alice", "s1")

    assert (found.total.requests, found.total.total_tokens, found.total.reported_tokens) == (1, 15 + 50, 50)


@pytest.mark.parametrize("name", ["none", ""])
def test_a_session_that_nobody_knows_has_nothing(filled: Engine, name: str) -> None:
    found = history.session(filled, "alice", name)

    if name:
        assert (found.first_at, found.last_at, found.calls) == (None, None, Page((), None))
        assert (found.total.requests, found.total.cost) == (0, 0)
