"""The whole story of a call, whatever stage it is at."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.accounts import balances, holds, payouts
from gateway.accounts.explain import NoSuchReservation, PaidBy, explain
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.policy import Policy, parse_rate
from gateway.domain.usage import Usage
from gateway.store import calls
from tests.accounts.calls_made import drain, expire, hold, open_account, settle

USAGE = Usage(input=100, cached=40, cache_write=0, output=50, reasoning=10)
LATER_MS = 4_000_000_000_000


@pytest.fixture
def pro(system: System) -> System:
    """An account of a tier that pays tokens."""
    open_account(system, "ada", "pro")
    return system


def test_an_open_call_tells_its_hold_and_the_policies_it_counts_in(pro: System) -> None:
    policies = (
        Policy("spend", parse_rate("500 tokens/minute"), by=("account",)),
        Policy("streams", parse_rate("4 concurrent"), by=("account",)),
    )
    hold(pro, "r1", amount=9, policies=policies, input_tokens=70, api_key="qg_AbCdEfGh")

    found = explain(pro, "r1")

    assert (found.state, found.account, found.tier) == ("open", "ada", "pro")
    assert found.hold is not None
    assert (found.hold.amount, found.hold.key) == (9, "qg_AbCdEfGh")
    assert [(rate.measure, rate.weight, rate.where) for rate in found.hold.rates] == [("tokens", 70, "rate:spend")]
    assert len(found.hold.slots) == 1
    assert found.hold.slots[0].endswith(":streams")
    assert (found.events, found.price, found.price_in_force) == ((), None, True)


def test_a_settled_call_tells_its_event_before_and_after_the_ledger_has_it(pro: System) -> None:
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 500, USAGE)

    waits = explain(pro, "r1")
    drain(pro)
    recorded = explain(pro, "r1")

    assert [each.stream for each in waits.waiting] == ["events"]
    assert (waits.events, waits.entries) == ((), ())
    assert recorded.waiting == ()
    assert [event["cost"] for event in recorded.events] == [500]
    assert [(entry["kind"], entry["amount"]) for entry in recorded.entries] == [("USAGE", -500)]
    assert waits.state == recorded.state == "settled"
    assert recorded.ended is not None
    assert recorded.ended.charged == 500
    assert waits.price == recorded.price is not None


def test_the_price_is_told_line_by_line_and_rounded_up_once(pro: System) -> None:
    # gpt-4o*: 2.5 a token in, 1.25 cached, 10 out: 60 × 2.5 + 41 × 1.25 + 50 × 10 = 701.25
    usage = Usage(input=101, cached=41, output=50, reasoning=10)
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 702, usage)

    price = explain(pro, "r1").price

    assert price is not None
    assert [(line.what, line.count, line.price, line.millionths) for line in price.call.lines] == [
        ("input", 60, 2_500_000, 150_000_000),
        ("cached input", 41, 1_250_000, 51_250_000),
        ("output", 40, 10_000_000, 400_000_000),
        ("reasoning", 10, 10_000_000, 100_000_000),
    ]
    assert price.call.units == 702
    assert price.agrees


def test_a_charge_that_the_prices_do_not_give_is_said_to_differ(pro: System) -> None:
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 900, USAGE)

    price = explain(pro, "r1").price

    assert price is not None
    assert (price.cost, price.agrees) == (900, False)


def test_a_price_version_that_is_no_longer_in_force_has_no_lines(pro: System) -> None:
    hold(pro, "r1", amount=900, price_version="an-old-one")
    settle(pro, "r1", 500, USAGE)

    found = explain(pro, "r1")

    assert (found.price, found.price_version, found.price_in_force) == (None, "an-old-one", False)


def test_a_call_that_settles_late_tells_both_events_and_the_price_of_their_sum(pro: System) -> None:
    hold(pro, "r1", amount=900)
    expire(pro, LATER_MS)
    assert explain(pro, "r1").state == "expired"
    settle(pro, "r1", 650, Usage(input=100, output=40))
    drain(pro)

    found = explain(pro, "r1")

    assert [event["id"] for event in found.events] == ["r1", "r1:late"]
    assert found.state == "settled"
    assert found.price is not None
    assert (found.price.cost, found.price.call.units, found.price.agrees) == (650, 650, True)


def test_a_call_is_explained_from_the_ledger_when_redis_has_forgotten_it(pro: System) -> None:
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 500, USAGE)
    hold(pro, "r2", amount=900)
    pro.runner.run(calls.release(pro.keys.account("ada"), "r2"))
    drain(pro)
    pro.redis.flushall()

    found, released = explain(pro, "r1"), explain(pro, "r2")

    assert (found.state, found.account, found.tier, found.ended) == ("settled", "ada", "", None)
    assert (released.state, released.price) == ("released", None)


def test_an_event_that_was_set_aside_is_told(pro: System) -> None:
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 500, USAGE)
    entries: Any = pro.redis.xrange("qg:{p00}:events")
    for id, fields in entries:
        pro.redis.xadd("qg:{p00}:poison", fields)
        pro.redis.xdel("qg:{p00}:events", id)

    assert [each.stream for each in explain(pro, "r1").waiting] == ["poison"]


def test_what_operators_did_to_it_is_told(pro: System) -> None:
    hold(pro, "r1", amount=900)
    holds.release(pro, "r1", "cli:root", "stuck")

    assert [noted.reason for noted in explain(pro, "r1").audit] == ["stuck"]


@pytest.mark.parametrize("id", ["r9", "", "x" * 101, "a\nb"])
def test_an_unknown_reservation_is_said_to_be_unknown(pro: System, id: str) -> None:
    with pytest.raises(NoSuchReservation, match="there is no reservation"):
        explain(pro, id)


def test_an_unknown_reservation_is_told_how_long_endings_are_kept(pro: System) -> None:
    with pytest.raises(NoSuchReservation, match="48 h"):
        explain(pro, "r9")


def test_a_reservation_that_was_called_off_before_it_was_held_has_no_story(pro: System) -> None:
    pro.runner.run(calls.release(pro.keys.account("ada"), "r1"))

    found = explain(pro, "r1")

    assert (found.state, found.events, found.entries) == ("released", (), ())


def test_the_whole_story_is_json(pro: System) -> None:
    hold(pro, "r1", amount=900)
    settle(pro, "r1", 500, USAGE)
    drain(pro)
    hold(pro, "r2", amount=900)

    told = [json.loads(json.dumps(explain(pro, id).as_json(), default=str)) for id in ("r1", "r2")]

    assert (told[0]["price"]["units"], told[0]["price"]["multiplier"]) == (700, "1")
    assert told[0]["events"][0]["cost"] == 500
    assert told[1]["hold"]["amount"] == 900
    assert told[1]["hold"]["parts"]


def test_the_grants_that_paid_are_told_with_what_they_were_made_for(system: System) -> None:
    open_account(system, "ada", "payg")
    now = datetime(2026, 11, 20, tzinfo=UTC)
    due = Due("ada", "order:o7", "TOP_UP", 5, "a package", "order:o7", priority=100)
    with system.ledger.begin() as connection:
        payouts.owe(connection, [due], now)
    payouts.pay(system, due.cause)
    balances.grant(system, "ada", 100, "gift", "a gift", "REWARD", priority=101)
    hold(system, "r1", amount=8)

    held = explain(system, "r1")
    settle(system, "r1", 8, USAGE)
    drain(system)
    paid = explain(system, "r1")

    assert held.grants == (PaidBy("order:o7", "TOP_UP", "order:o7"), PaidBy("gift", None, None))
    assert paid.grants == (PaidBy("order:o7", "TOP_UP", "order:o7"), PaidBy("gift", "REWARD", None))
    assert paid.as_json()["grants"][0] == {"id": "order:o7", "kind": "TOP_UP", "cause": "order:o7"}
