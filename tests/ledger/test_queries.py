"""Reading the ledger: one account, oldest first, however many pages it takes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from gateway.domain.event import Entry
from gateway.ledger import queries
from gateway.ledger.queries import balance_of, entries_of, usage_of
from gateway.ledger.record import record
from tests.ledger.events import NOON_MS, corrected, grant, opening, usage


def test_an_account_that_nobody_knows_has_nothing(ledger: Engine) -> None:
    record(ledger, [usage("r1", "bob")])

    assert list(usage_of(ledger, "alice")) == list(entries_of(ledger, "alice")) == []
    assert balance_of(ledger, "alice") == 0


def test_only_the_rows_of_the_account_are_read(ledger: Engine) -> None:
    record(ledger, [usage("r1"), usage("r2", "bob"), usage("r3", "alice2"), usage("r4", "Alice"), grant()])

    assert [row["id"] for row in usage_of(ledger, "alice")] == ["r1"]
    assert sorted(row["id"] for row in entries_of(ledger, "alice")) == ["grant:alice:g1/1", "r1/1"]
    assert balance_of(ledger, "alice") == 97


def test_rows_come_oldest_first_whenever_they_were_recorded(ledger: Engine) -> None:
    times = list(range(20))
    random.Random(5).shuffle(times)
    for seconds in times:
        record(ledger, [usage(f"r{seconds:02}", at_ms=NOON_MS + seconds * 1000)])

    assert [row["id"] for row in usage_of(ledger, "alice")] == [f"r{seconds:02}" for seconds in range(20)]
    assert [row["id"] for row in entries_of(ledger, "alice")] == [f"r{seconds:02}/1" for seconds in range(20)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])
def test_no_row_is_missed_or_repeated_where_a_page_ends(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(queries, "PAGE", 4)
    # Three calls an instant: pages end between calls of the same millisecond, too.
    record(ledger, [usage(f"r{number}", at_ms=NOON_MS + number // 3) for number in range(count)])

    assert [row["id"] for row in usage_of(ledger, "alice")] == [f"r{number}" for number in range(count)]
    assert [row["id"] for row in entries_of(ledger, "alice")] == [f"r{number}/1" for number in range(count)]


def test_entries_of_one_millisecond_come_as_they_happened_whatever_their_names(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "PAGE", 2)
    names = ["r9", "opening:r1", "r1", "r5", "a"]
    record(ledger, [replace(usage(name), position=place) for place, name in enumerate(names)])

    assert [row["id"] for row in entries_of(ledger, "alice")] == [f"{name}/1" for name in names]


def test_more_rows_than_a_page_are_read(ledger: Engine) -> None:
    record(ledger, [usage(f"r{number:04}") for number in range(queries.PAGE + 1)])

    assert [row["id"] for row in usage_of(ledger, "alice")] == [f"r{number:04}" for number in range(1001)]


def test_the_balance_is_the_sum_of_all_entries(ledger: Engine) -> None:
    spent = usage("r1", cost=8, entries=(Entry("USAGE", "day:2026-11-20", -5), Entry("USAGE", "credits:signup", -3)))
    refund = replace(corrected("r1", cost=-2), entries=(Entry("REFUND", "credits:signup", 2),))
    written_off = (Entry("USAGE", "overdraft", -4), Entry("WRITE_OFF", "overdraft", 4))

    record(ledger, [opening(), spent, refund, usage("r2", cost=4, written_off=4, entries=written_off), grant()])

    assert balance_of(ledger, "alice") == 15 + 5 - 8 + 2 + 100


def test_the_balance_of_the_largest_amounts_is_exact(ledger: Engine) -> None:
    largest = 2**53 - 1
    record(ledger, [grant(amount=largest), usage("r1", cost=1)])

    balance = balance_of(ledger, "alice")

    assert (balance, type(balance)) == (largest - 1, int)


def test_instants_are_read_in_utc(ledger: Engine) -> None:
    record(ledger, [usage()])

    (row,) = usage_of(ledger, "alice")

    assert row["occurred_at"].isoformat() == "2026-11-20T10:00:00+00:00"
    assert row["started_at"].isoformat() == "2026-11-20T09:59:58.500000+00:00"
