"""The report of holds: percentiles by nearest rank, group by group, the same on each kind of database."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.domain.event import Event
from gateway.ledger.record import record
from gateway.ledger.reports import HOLD_GROUPS, HoldReport, holds
from tests.ledger.events import NOON_MS, corrected, opening, usage

NOON = datetime.fromtimestamp(NOON_MS / 1000, UTC)


def call(number: int, held: int, cost: int, first_held: int | None = None, **facts: Any) -> Event:
    began_with = held if first_held is None else first_held
    return usage(f"r{number}", held=held, first_held=began_with, cost=cost, **facts)


def report(ledger: Engine, by: str = "route", since: datetime = NOON) -> list[HoldReport]:
    return list(holds(ledger, by, since))


def test_nothing_is_reported_of_no_calls(ledger: Engine) -> None:
    assert report(ledger) == []


def test_a_group_is_told_by_its_means_its_percentiles_and_its_outgrown_holds(ledger: Engine) -> None:
    calls = [call(number, held=200, cost=number, output_tokens=number) for number in range(1, 101)]
    random.Random(3).shuffle(calls)
    record(ledger, calls)

    assert report(ledger) == [
        HoldReport(
            group="/v1/x", calls=100, mean_held=200, mean_cost=51, used_p50_percent=25, used_p95_percent=48,
            used_p99_percent=50, outgrew_percent=0, suggested_default_output_tokens=128, suggested_max_hold=99,
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("held", "cost", "first_held"), [(9, 5, 4), (9, 10, 9), (9, 10, 4)])
def test_a_call_that_held_more_than_at_first_or_cost_more_has_outgrown_its_hold(
    ledger: Engine, held: int, cost: int, first_held: int
) -> None:
    record(ledger, [call(1, held, cost, first_held), call(2, 9, 9), call(3, 9, 1)])

    assert report(ledger)[0].outgrew_percent == 34


def test_the_percentiles_of_few_calls_are_calls_of_theirs(ledger: Engine) -> None:
    record(ledger, [call(1, 10, 1), call(2, 10, 7), call(3, 10, 20)])

    (found,) = report(ledger)

    assert (found.used_p50_percent, found.used_p95_percent, found.used_p99_percent) == (70, 200, 200)
    assert found.suggested_max_hold == 20


@pytest.mark.parametrize(
    ("by", "groups"), [("route", ["/a", "/b"]), ("model", ["m1", "m2"]), ("operation", ["o1", "o2"])]
)
def test_calls_are_grouped_by_what_was_asked_the_larger_group_first(ledger: Engine, by: str, groups: list[str]) -> None:
    facts: list[dict[str, Any]] = [
        {"route": "/a", "model": "m1", "operation": "o1"},
        {"route": "/b", "model": "m2", "operation": "o2"},
    ]
    record(ledger, [call(1, 10, 1, **facts[1]), call(2, 10, 2, **facts[0]), call(3, 30, 3, **facts[0])])

    assert [(found.group, found.calls, found.mean_held) for found in report(ledger, by)] == [
        (groups[0], 2, 20),
        (groups[1], 1, 10),
    ]


def test_tiers_are_those_that_the_accounts_are_on(ledger: Engine) -> None:
    record(ledger, [opening("alice", tier="free"), opening("bob", tier="pro")])
    record(ledger, [call(1, 10, 1, account="alice"), call(2, 10, 2, account="bob"), call(3, 10, 3, account="carol")])

    assert {found.group for found in report(ledger, "tier")} == {"", "free", "pro"}


def test_only_settled_calls_that_held_something_since_then_are_counted(ledger: Engine) -> None:
    record(
        ledger,
        [
            call(1, 10, 5),
            call(2, 0, 0),
            call(3, 10, 0, outcome="released"),
            call(4, 10, 3, outcome="lost"),
            corrected("r4", cost=2),
            call(5, 10, 9, at_ms=NOON_MS - 1),
        ],
    )

    (found,) = report(ledger)
    assert (found.calls, found.mean_cost) == (1, 5)
    (earlier,) = report(ledger, since=NOON - timedelta(seconds=1))
    assert earlier.calls == 2


def test_the_largest_amounts_are_exact(ledger: Engine) -> None:
    record(ledger, [call(1, 2**53 - 1, 2**53 - 1, output_tokens=2**50)])

    (found,) = report(ledger)

    assert (found.mean_held, found.mean_cost, found.used_p99_percent) == (2**53 - 1, 2**53 - 1, 100)
    assert found.suggested_default_output_tokens == 2**50


@pytest.mark.parametrize("by", HOLD_GROUPS)
def test_percentiles_are_those_of_a_sorted_list(ledger: Engine, by: str) -> None:
    chance = random.Random(11)
    costs = [chance.randrange(1, 500) for _ in range(37)]
    record(ledger, [call(number, 100, cost) for number, cost in enumerate(costs)])

    (found,) = report(ledger, by)

    ranked = sorted(costs)
    assert found.used_p50_percent == ranked[19 - 1]
    assert found.used_p95_percent == ranked[36 - 1]
    assert found.used_p99_percent == found.suggested_max_hold == ranked[37 - 1]
