"""`report`: tokens that were used elsewhere, told from outside."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.acts import Reported, ReportOverflow
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Conflict, Ended
from gateway.domain.tier import MAX_UNITS
from gateway.domain.usage import Usage
from tests.lua.caller import DAY_MS, NOON_MS, Caller, contents
from tests.lua.conftest import NewCaller
from tests.lua.test_changes import changes


def test_tokens_are_counted_and_nothing_is_charged(caller: Caller) -> None:
    caller.reserve("r1", 3)
    caller.settle("r1", 3, Usage(input=10, output=5))
    caller.events()

    outcome = caller.report(
        "p1", 100, input_tokens=60, output_tokens=30, operation="chat", model="m1", api_key="qg_1", session="s1"
    )

    assert outcome == Reported("p1", used_tokens=115)
    account = caller.account()
    assert (account.used_tokens, account.requests, account.spent, account.left) == (115, 1, 3, 17)
    event = caller.event()
    facts = event.usage
    assert facts is not None
    assert (event.id, event.kind, event.at_ms, event.entries) == ("p1", "usage", NOON_MS, ())
    assert (facts.reservation_id, facts.outcome, facts.cost, facts.local_day) == ("p1", "reported", 0, "2026-11-20")
    assert (facts.operation, facts.model, facts.key, facts.session) == ("chat", "m1", "qg_1", "s1")
    assert (facts.input_tokens, facts.output_tokens, facts.reported_tokens, facts.total_tokens) == (60, 30, 10, 100)


def test_a_total_alone_is_neither_input_nor_output(caller: Caller) -> None:
    caller.open()
    caller.events()

    assert caller.report("p1", 100) == Reported("p1", used_tokens=100)

    facts = caller.event().usage
    assert facts is not None
    assert (facts.input_tokens, facts.output_tokens, facts.total_tokens, facts.session) == (0, 0, 100, "")


def test_an_unknown_account_is_opened_with_its_sign_up_grant(caller: Caller) -> None:
    assert caller.report("p1", 100) == Reported("p1", used_tokens=100)

    assert caller.left() == {"credits:signup": 15}
    opening, usage = caller.events()
    assert (opening.kind, opening.tier) == ("opening", "free")
    assert [(e.kind, e.bucket, e.amount) for e in opening.entries] == [("SIGNUP", "credits:signup", 15)]
    assert usage.usage is not None
    assert changes(caller) == 1


def test_a_repeat_counts_nothing_and_gives_the_same_number(caller: Caller) -> None:
    first = caller.report("p1", 100)
    caller.report("p2", 7)
    before = contents(caller.client)

    assert caller.report("p1", 100) == first == Reported("p1", used_tokens=100)
    assert contents(caller.client) == before


@pytest.mark.parametrize("changed", [{"input_tokens": 1}, {"output_tokens": 1}, {"operation": "o"}, {"model": "m2"}])
def test_an_id_with_other_parameters_is_a_conflict(caller: Caller, changed: dict[str, Any]) -> None:
    caller.report("p1", 100)
    before = contents(caller.client)

    assert caller.report("p1", 100, **changed) == Conflict("p1")
    assert caller.report("p1", 101) == Conflict("p1")
    assert contents(caller.client) == before


def test_an_id_of_something_else_is_a_conflict(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.report("p1", 5)
    ada.use("u1", 5)
    ada.reserve("r1", 5)
    before = contents(ada.client)

    assert [ada.report(id, 5) for id in ("u1", "r1")] == [Conflict("u1"), Conflict("r1")]
    assert bob.report("p1", 5) == Conflict("p1")
    assert ada.settle("p1", 5) == ada.release("p1") == Ended("p1", "reported")
    assert ada.use("p1", 5) == Conflict("p1")
    assert contents(ada.client) == before


def test_a_total_beyond_exact_integers_is_refused(caller: Caller) -> None:
    caller.report("p1", MAX_UNITS - 1)
    before = contents(caller.client)

    assert caller.report("p2", 2) == ReportOverflow("p2", used_tokens=MAX_UNITS - 1)
    assert contents(caller.client) == before
    assert caller.report("p3", 1) == Reported("p3", used_tokens=MAX_UNITS)


@pytest.mark.parametrize(
    ("off_ms", "day"),
    [(0, "2026-11-20"), (-DAY_MS, "2026-11-20"), (DAY_MS, "2026-11-21"), (-5 * DAY_MS, "2026-11-16")],
)
def test_it_counts_towards_the_day_that_the_stores_clock_is_in_or_the_nearest_that_is_known(
    caller: Caller, off_ms: int, day: str
) -> None:
    caller.report("p1", 1, gateway_ms=NOON_MS + off_ms)

    assert [event.usage.local_day for event in caller.events() if event.usage] == [day]


@pytest.mark.parametrize(
    ("total", "parts", "message"),
    [
        (-1, {}, "total: -1"),
        (MAX_UNITS + 1, {}, "total"),
        (5, {"input_tokens": -1}, "input: -1"),
        (5, {"output_tokens": -1}, "output: -1"),
        (5, {"input_tokens": 3, "output_tokens": 3}, "total: 5 is less than input and output together"),
    ],
)
def test_counts_that_are_none_are_refused(caller: Caller, total: int, parts: dict[str, int], message: str) -> None:
    with pytest.raises(RefusedInput, match=message):
        caller.report("p1", total, **parts)
