"""Recording: each event is in the ledger at most once, and every sum equals the sum of the events."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, Table, select, text
from sqlalchemy.exc import DBAPIError

from gateway.domain.event import Entry, Event
from gateway.ledger.record import record
from gateway.ledger.tables import accounts, ledger_entries, usage_daily, usage_events
from tests.ledger.events import NOON_MS, corrected, grant, moved, opening, usage

MAX = 2**53 - 1
SECOND_MS = 1000


def rows(ledger: Engine, table: Table) -> list[dict[str, Any]]:
    """Every row of a table, in the order of its key."""
    with ledger.connect() as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def row(ledger: Engine, table: Table) -> dict[str, Any]:
    (only,) = rows(ledger, table)
    return only


def ids(ledger: Engine, table: Table = usage_events) -> list[str]:
    return [row["id"] for row in rows(ledger, table)]


def everything(ledger: Engine) -> list[list[dict[str, Any]]]:
    return [rows(ledger, table) for table in (usage_events, ledger_entries, usage_daily, accounts)]


def instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_becomes_a_usage_row_and_an_entry_a_bucket(ledger: Engine) -> None:
    entries = (Entry("USAGE", "day:2026-11-20", -2), Entry("USAGE", "credits:signup", -1))

    assert record(ledger, [usage(entries=entries)]) == 3

    assert row(ledger, usage_events) == {
        "id": "r1", "reservation_id": "r1", "account": "alice", "outcome": "settled", "operation": "chat",
        "model": "gpt-4o", "route": "/v1/x", "key_prefix": "qg_AbCdEfGh", "input_tokens": 10, "cached_tokens": 4,
        "cache_write_tokens": 2, "output_tokens": 5, "reasoning_tokens": 1, "total_tokens": 15, "cost": 3,
        "written_off": 0, "estimated": False, "status": 200, "price_version": "0123456789ab",
        "local_day": "2026-11-20", "latency_ms": 1500, "started_at": instant(NOON_MS - 1500),
        "occurred_at": instant(NOON_MS), "audio_ms": 12_300, "images": 2, "held": 9, "first_held": 4, "shadow": "",
        "session": "", "purpose": "", "details": "", "reported_tokens": 0,
    }  # fmt: skip
    common = {
        "account": "alice",
        "kind": "USAGE",
        "reservation_id": "r1",
        "reason": None,
        "position": 0,
        "operation": "chat",
    }
    assert rows(ledger, ledger_entries) == [
        common | {"id": "r1/1", "bucket": "day:2026-11-20", "amount": -2, "occurred_at": instant(NOON_MS)},
        common | {"id": "r1/2", "bucket": "credits:signup", "amount": -1, "occurred_at": instant(NOON_MS)},
    ]


def test_a_grant_becomes_an_entry_with_its_reason(ledger: Engine) -> None:
    record(ledger, [grant("g1", amount=100, reason="invoice 7, «paid»")])

    assert rows(ledger, usage_events) == rows(ledger, usage_daily) == []
    assert row(ledger, ledger_entries) == {
        "id": "grant:alice:g1/1", "account": "alice", "kind": "TOP_UP", "bucket": "credits:g1", "amount": 100,
        "reservation_id": None, "reason": "invoice 7, «paid»", "occurred_at": instant(NOON_MS), "position": 0,
        "operation": "",
    }  # fmt: skip


def test_milliseconds_are_kept(ledger: Engine) -> None:
    record(ledger, [usage(at_ms=NOON_MS + 7, started_at_ms=NOON_MS - 1)])

    recorded = row(ledger, usage_events)
    assert recorded["occurred_at"] == instant(NOON_MS + 7)
    assert recorded["started_at"] == instant(NOON_MS - 1)
    assert recorded["latency_ms"] == 8


def test_the_largest_amounts_and_the_longest_texts_are_kept(ledger: Engine) -> None:
    account, id, model = "å" * 200, "i" * 100, "模" * 200
    event = usage(
        id, account, reservation_id=id, model=model, route="/" * 300, operation="o" * 64, key="k" * 32,
        price_version="p" * 32, input_tokens=MAX, output_tokens=MAX, cost=MAX,
        entries=(Entry("USAGE", "credits:" + "g" * 200, -MAX),),
    )  # fmt: skip

    assert record(ledger, [event, replace(grant("x" * 200, account, MAX), reason="r" * 1000)]) == 3

    recorded = row(ledger, usage_events)
    assert (recorded["cost"], recorded["total_tokens"], recorded["model"]) == (MAX, 2 * MAX, model)
    assert sorted(entry["amount"] for entry in rows(ledger, ledger_entries)) == [-MAX, MAX]
    assert row(ledger, accounts)["used_tokens"] == 2 * MAX


def test_text_that_looks_like_sql_is_text(ledger: Engine) -> None:
    nasty = """'; DROP TABLE accounts; -- % %s :x {a,"b"} \\ ? NULL"""

    record(ledger, [usage(model=nasty), usage("r2", model="NULL"), usage("r3", model="")])

    assert [row["model"] for row in rows(ledger, usage_events)] == [nasty, "NULL", ""]


def test_nothing_is_recorded_of_no_events(ledger: Engine) -> None:
    assert record(ledger, []) == 0
    assert everything(ledger) == [[], [], [], []]


# ── at most once ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_batch_twice_changes_nothing(ledger: Engine) -> None:
    batch = [opening(), usage("r1"), usage("r2", cost=0), corrected("r1", cost=2), grant(), moved(tier="pro")]
    assert record(ledger, batch) == 3 + 5
    before = everything(ledger)

    assert record(ledger, batch) == 0

    assert everything(ledger) == before


def test_of_duplicates_in_one_batch_one_is_recorded(ledger: Engine) -> None:
    assert record(ledger, [usage("r1"), usage("r2"), usage("r1"), grant(), grant(), usage("r1")]) == 5

    assert ids(ledger) == ["r1", "r2"]
    assert ids(ledger, ledger_entries) == ["grant:alice:g1/1", "r1/1", "r2/1"]
    assert row(ledger, usage_daily)["requests"] == 2
    assert (row(ledger, accounts)["requests"], row(ledger, accounts)["used_tokens"]) == (2, 30)


def test_of_a_batch_that_overlaps_an_older_one_the_new_events_are_recorded(ledger: Engine) -> None:
    record(ledger, [usage("r1"), usage("r2")])

    assert record(ledger, [usage("r2"), usage("r3"), usage("r1")]) == 2

    assert ids(ledger) == ["r1", "r2", "r3"]
    daily = row(ledger, usage_daily)
    assert (daily["requests"], daily["cost"]) == (3, 9)
    assert row(ledger, accounts)["requests"] == 3


def test_a_row_that_stands_is_never_changed(ledger: Engine) -> None:
    record(ledger, [usage("r1"), grant("g1", amount=100)])
    before = everything(ledger)

    assert record(ledger, [usage("r1", cost=9, model="other"), grant("g1", amount=7)]) == 0

    assert everything(ledger) == before


def test_a_batch_that_is_refused_leaves_nothing(ledger: Engine) -> None:
    record(ledger, [usage("r1")])
    before = everything(ledger)
    too_much: Any = object()

    with pytest.raises((DBAPIError, TypeError)):
        record(ledger, [usage("r2"), usage("r3", "bob"), grant("zz", amount=too_much)])

    assert everything(ledger) == before


def test_a_worker_that_dies_between_its_inserts_leaves_nothing(ledger: Engine) -> None:
    with ledger.begin() as connection:
        connection.execute(text("ALTER TABLE accounts RENAME TO elsewhere"))

    with pytest.raises(DBAPIError):  # The last of the inserts fails: all others are taken back with it.
        record(ledger, [usage("r1"), grant()])

    with ledger.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO accounts"))
    assert everything(ledger) == [[], [], [], []]


def test_workers_that_record_the_same_events_at_once_record_each_once(ledger: Engine) -> None:
    events = [usage(f"r{number:03}", f"user-{number % 7}") for number in range(120)]
    batches = [events[0:60], events[30:90], events[60:120], events[0:120]]
    start = threading.Barrier(len(batches))
    counts: list[int] = []
    faults: list[Exception] = []

    def work(batch: Sequence[Event], seed: int) -> None:
        shuffled = random.Random(seed).sample(batch, len(batch))
        start.wait()
        try:
            counts.extend(record(ledger, shuffled[first : first + 20]) for first in range(0, len(shuffled), 20))
        except Exception as error:  # noqa: BLE001  what it is, the test tells
            faults.append(error)

    threads = [threading.Thread(target=work, args=(batch, seed)) for seed, batch in enumerate(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)

    assert faults == []
    assert sum(counts) == 2 * 120
    assert ids(ledger) == [event.id for event in events]
    assert sum(row["requests"] for row in rows(ledger, usage_daily)) == 120
    assert sum(row["requests"] for row in rows(ledger, accounts)) == 120


# ── roll-ups ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_are_rolled_up_by_account_day_model_and_operation(ledger: Engine) -> None:
    record(ledger, [usage("r1"), usage("r2"), usage("r3", model="o1"), usage("r4", operation="image")])
    record(ledger, [usage("r5"), usage("r6", local_day="2026-11-21"), usage("r7", "bob")])

    assert [
        (row["account"], row["local_day"], row["model"], row["operation"], row["requests"], row["cost"])
        for row in rows(ledger, usage_daily)
    ] == [
        ("alice", "2026-11-20", "gpt-4o", "chat", 3, 9),
        ("alice", "2026-11-20", "gpt-4o", "image", 1, 3),
        ("alice", "2026-11-20", "o1", "chat", 1, 3),
        ("alice", "2026-11-21", "gpt-4o", "chat", 1, 3),
        ("bob", "2026-11-20", "gpt-4o", "chat", 1, 3),
    ]


def test_every_count_of_the_roll_up_is_the_sum_of_its_own_column(ledger: Engine) -> None:
    counts: dict[str, Any] = {
        "input_tokens": 1, "cached_tokens": 20, "cache_write_tokens": 300, "output_tokens": 4000,
        "reasoning_tokens": 50_000, "cost": 600_000, "written_off": 7_000_000,
        "audio_ms": 80_000_000, "images": 900_000_000,
    }  # fmt: skip

    for number in range(3):
        record(ledger, [usage(f"r{number}", **counts)])

    daily = row(ledger, usage_daily)
    assert {name: daily[name] for name in counts} == {name: 3 * count for name, count in counts.items()}
    assert daily["requests"] == 3


def test_a_correction_adds_its_differences_and_is_no_request(ledger: Engine) -> None:
    lost = usage("r1", outcome="lost", input_tokens=10, output_tokens=40, cost=50, estimated=True)
    late = corrected("r1", input_tokens=2, output_tokens=-15, cost=-13, at_ms=NOON_MS + 90 * SECOND_MS)
    late = replace(late, entries=(Entry("REFUND", "day:2026-11-20", 13),))
    record(ledger, [lost])

    record(ledger, [late])

    daily, account = row(ledger, usage_daily), row(ledger, accounts)
    assert (daily["requests"], daily["input_tokens"], daily["output_tokens"], daily["cost"]) == (1, 12, 25, 37)
    assert (account["requests"], account["used_tokens"]) == (1, 37)
    assert [(row["id"], row["reservation_id"], row["outcome"]) for row in rows(ledger, usage_events)] == [
        ("r1", "r1", "lost"),
        ("r1:late", "r1", "corrected"),
    ]
    assert [(row["reservation_id"], row["kind"], row["amount"]) for row in rows(ledger, ledger_entries)] == [
        ("r1", "USAGE", -50),
        ("r1", "REFUND", 13),
    ]


def test_a_released_call_is_a_request_that_cost_nothing(ledger: Engine) -> None:
    record(ledger, [usage("r1", outcome="released", cost=0, input_tokens=0, output_tokens=0, status=502)])

    assert rows(ledger, ledger_entries) == []
    daily = row(ledger, usage_daily)
    assert (daily["requests"], daily["cost"]) == (1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_however_events_are_batched_and_repeated_the_sums_are_those_of_the_events(ledger: Engine, seed: int) -> None:
    chance = random.Random(seed)
    events = [_any_call(f"r{number}", chance) for number in range(60)]
    events += [
        corrected(f"r{number}", chance.choice(("alice", "bob")), cost=chance.randint(-3, 3)) for number in range(9)
    ]
    deliveries = events + chance.choices(events, k=60)
    chance.shuffle(deliveries)

    while deliveries:
        size = chance.randint(1, 25)
        record(ledger, deliveries[:size])
        deliveries = deliveries[size:]

    expected: Counter[tuple[str, str, str, str, str]] = Counter()
    for event in events:
        facts = event.usage
        assert facts is not None
        key = (event.account, facts.local_day, facts.model, facts.operation)
        expected[*key, "requests"] += facts.outcome != "corrected"
        for name in SUMMED:
            expected[*key, name] += getattr(facts, name)
    found = {
        (row["account"], row["local_day"], row["model"], row["operation"], name): row[name]
        for row in rows(ledger, usage_daily)
        for name in ("requests", *SUMMED)
    }
    assert found == dict(expected)
    assert len(rows(ledger, usage_events)) == len(events)
    assert sum(entry["amount"] for entry in rows(ledger, ledger_entries)) == sum(
        entry.amount for event in events for entry in event.entries
    )
    for account in rows(ledger, accounts):
        of_account = [event.usage for event in events if event.account == account["id"] and event.usage is not None]
        assert account["used_tokens"] == sum(facts.total_tokens for facts in of_account)
        assert account["requests"] == sum(facts.outcome != "corrected" for facts in of_account)


SUMMED = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost", "written_off",
    "audio_ms", "images",
)  # fmt: skip


def _any_call(id: str, chance: random.Random) -> Event:
    counts: dict[str, Any] = {name: chance.randint(0, 1000) for name in SUMMED}
    return usage(
        id,
        chance.choice(("alice", "bob", "carol")),
        at_ms=NOON_MS + chance.randint(0, 10**8),
        local_day=chance.choice(("2026-11-20", "2026-11-21")),
        model=chance.choice(("gpt-4o", "o1")),
        operation=chance.choice(("chat", "image")),
        outcome=chance.choice(("settled", "released", "lost")),
        **counts,
    )


def test_a_thousand_events_are_one_batch(ledger: Engine) -> None:
    events = [usage(f"r{number:04}", f"user-{number % 50:02}") for number in range(1000)]
    random.Random(1).shuffle(events)

    assert record(ledger, events) == 2000
    assert record(ledger, events) == 0

    assert len(ids(ledger)) == len(ids(ledger, ledger_entries)) == 1000
    assert [row["requests"] for row in rows(ledger, usage_daily)] == [20] * 50
    assert [(row["requests"], row["used_tokens"]) for row in rows(ledger, accounts)] == [(20, 300)] * 50


# ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def at(event: Event, seconds: int) -> Event:
    """The same event, so many seconds after noon."""
    return replace(event, at_ms=NOON_MS + seconds * SECOND_MS)


def test_an_opening_makes_the_account_known(ledger: Engine) -> None:
    record(ledger, [opening("alice", tier="pro", zone="Asia/Jakarta")])

    assert row(ledger, accounts) == {
        "id": "alice", "tier": "pro", "zone": "Asia/Jakarta", "tier_set_at": instant(NOON_MS), "status": "active",
        "used_tokens": 0, "requests": 0, "first_seen_at": instant(NOON_MS), "last_seen_at": instant(NOON_MS),
        "status_set_at": None, "granted": 20, "spent": 0, "email": "", "erased_at": None,
    }  # fmt: skip


def test_an_account_whose_opening_comes_later_is_known_without_its_tier(ledger: Engine) -> None:
    record(ledger, [usage()])
    assert (row(ledger, accounts)["tier"], row(ledger, accounts)["zone"]) == (None, None)

    record(ledger, [opening(tier="free")])

    assert (row(ledger, accounts)["tier"], row(ledger, accounts)["zone"]) == ("free", "")
    assert row(ledger, accounts)["requests"] == 1


def test_a_move_changes_tier_and_zone_and_calls_leave_them(ledger: Engine) -> None:
    record(ledger, [opening(tier="free", zone="Asia/Jakarta")])

    record(ledger, [at(moved(tier="pro", zone=""), 1)])
    record(ledger, [at(usage(), 2), at(grant(), 3)])

    assert (row(ledger, accounts)["tier"], row(ledger, accounts)["zone"]) == ("pro", "")


def _opened(seconds: int, tier: str) -> Event:
    """As `lua/open.lua` names it."""
    event = at(opening(tier=tier), seconds)
    return replace(event, id=f"opened:alice@{event.at_ms}")


def _moved(version: int, seconds: int, tier: str) -> Event:
    """As `lua/open.lua` names it."""
    event = at(moved(tier=tier), seconds)
    return replace(event, id=f"moved:alice:{version}@{event.at_ms}")


def test_an_account_opened_and_moved_in_one_batch_is_on_its_newer_tier(ledger: Engine) -> None:
    record(ledger, [_opened(0, "free"), _moved(2, 1, "pro")])

    assert row(ledger, accounts)["tier"] == "pro"


def test_of_many_moves_in_one_batch_the_last_stands(ledger: Engine) -> None:
    record(ledger, [_moved(version, version, f"tier-{version}") for version in range(2, 13)])

    assert row(ledger, accounts)["tier"] == "tier-12"


def test_an_opening_that_is_delivered_again_does_not_undo_a_move(ledger: Engine) -> None:
    """As after a worker's death: its batch is claimed ten seconds later, when newer events are in the ledger."""
    first, second = _opened(0, "free"), _moved(2, 1, "pro")
    record(ledger, [first])
    record(ledger, [second])

    record(ledger, [first])

    assert row(ledger, accounts)["tier"] == "pro"


def test_a_move_that_arrives_after_a_newer_one_does_not_undo_it(ledger: Engine) -> None:
    record(ledger, [_moved(3, 2, "pro")])

    record(ledger, [_moved(2, 1, "free")])

    assert row(ledger, accounts)["tier"] == "pro"


def test_an_account_was_last_seen_at_its_newest_event(ledger: Engine) -> None:
    record(ledger, [at(usage("r1"), 5), at(usage("r2"), 9), at(usage("r3"), 7)])
    record(ledger, [at(usage("r4"), 8)])

    assert row(ledger, accounts)["last_seen_at"] == instant(NOON_MS + 9 * SECOND_MS)

    record(ledger, [at(grant(), 10)])

    assert row(ledger, accounts)["last_seen_at"] == instant(NOON_MS + 10 * SECOND_MS)


def test_an_account_was_first_seen_at_its_oldest_event(ledger: Engine) -> None:
    record(ledger, [at(usage("r1"), 5), at(usage("r2"), 3)])
    assert row(ledger, accounts)["first_seen_at"] == instant(NOON_MS + 3 * SECOND_MS)

    record(ledger, [at(opening(), 1), at(usage("r3"), 6)])

    assert row(ledger, accounts)["first_seen_at"] == instant(NOON_MS + 1 * SECOND_MS)
