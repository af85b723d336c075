"""`use`: spends at once, without a hold, for one line or for many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.acts import Used, UseLine
from gateway.domain.errors import RefusedInput
from gateway.domain.event import Event
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Settled, Stale, Suspended
from gateway.domain.tier import MAX_UNITS
from gateway.store.acts import MAX_LINES
from tests.lua.caller import (
    DAY_MS,
    EVERY_KIND,
    MIDNIGHT_MS,
    NOON_MS,
    PAYG,
    Caller,
    contents,
)
from tests.lua.conftest import NewCaller
from tests.lua.test_policies import policy


def told(event: Event) -> list[str]:
    return [f"{entry.kind} {entry.bucket} {entry.amount:+d}" for entry in event.entries]


def test_a_use_is_spent_at_once_and_nothing_stays_held(caller: Caller) -> None:
    assert caller.use("u1", 7, api_key="qg_12345678", session="s1") == Used("u1", 20, 13, MIDNIGHT_MS)

    account = caller.account()
    assert (account.granted, account.spent, account.held, account.requests) == (20, 7, 0, 1)
    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 13}
    opening, usage = caller.events()
    assert (opening.kind, opening.tier, told(opening)) == (
        "opening", "free", ["SIGNUP credits:signup +15", "DAILY_RESET day:2026-11-20 +5"],
    )  # fmt: skip
    assert told(usage) == ["USAGE day:2026-11-20 -5", "USAGE credits:signup -2"]
    facts = usage.usage
    assert facts is not None
    assert (usage.id, usage.kind, facts.reservation_id, facts.outcome) == ("u1", "usage", "u1", "settled")
    assert (facts.operation, facts.route, facts.price_version) == ("tool", "/v1/chat", "prices-1")
    assert (facts.key, facts.local_day, facts.session) == ("qg_12345678", "2026-11-20", "s1")
    assert (facts.cost, facts.written_off, facts.total_tokens, facts.started_at_ms) == (7, 0, 0, NOON_MS)
    assert (facts.purpose, facts.metadata, facts.shadow) == ("", "", "")


def test_each_line_has_its_event_and_pays_from_where_the_one_before_stopped(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    lines = [UseLine(2, "image", '{"size": "a; b=c"}'), UseLine(0, "free"), UseLine(4, metadata="{}"), UseLine(3)]

    assert caller.use("u1", *lines, kind="LICENSE_USE") == Used("u1", 14, 5, MIDNIGHT_MS)

    events = [event for event in caller.events() if event.usage]
    assert [event.id for event in events] == ["u1/1", "u1/2", "u1/3", "u1/4"]
    assert [told(event) for event in events] == [
        ["LICENSE_USE day:2026-11-20 -2"],
        [],
        ["LICENSE_USE day:2026-11-20 -1", "LICENSE_USE month:2026-11 -3"],
        ["LICENSE_USE month:2026-11 -1", "LICENSE_USE credits:signup -2"],
    ]
    facts = [event.usage for event in events if event.usage]
    assert [(f.reservation_id, f.cost, f.purpose, f.metadata) for f in facts] == [
        ("u1/1", 2, "image", '{"size": "a; b=c"}'),
        ("u1/2", 0, "free", ""),
        ("u1/3", 4, "", "{}"),
        ("u1/4", 3, "", ""),
    ]
    assert caller.account().requests == 4  # As many as the ledger will count.


def test_many_grants_pay_for_many_lines(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    for number in range(7):
        caller.grant(f"g{number}", 3)
        caller.now_ms += 1

    assert caller.use("u1", 5, 5, 5, 5) == Used("u1", 21, 1, MIDNIGHT_MS)

    assert caller.left() == {"credits:g6": 1}
    assert [-e.amount for event in caller.events() if event.usage for e in event.entries] == [3, 2, 1, 3, 1, 2, 3, 3, 2]


def test_all_lines_are_paid_or_none(caller: Caller) -> None:
    assert caller.use("u1", 10, 10, 1) == Denied("u1", "credits", None, left=20, violated=("credits",))
    assert contents(caller.client) == {}
    assert isinstance(caller.use("u1", 10, 10), Used)
    before = contents(caller.client)
    assert caller.use("u2", 1) == Denied("u2", "day", MIDNIGHT_MS - NOON_MS, left=0, violated=("day",))
    assert contents(caller.client) == before


def test_a_use_of_nothing_is_told_and_needs_no_balance(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)

    assert caller.use("u1", 0) == Used("u1", 0, 0, MIDNIGHT_MS)

    assert (told(caller.event()), caller.account().spent) == ([], 0)


def test_what_is_left_counts_what_open_calls_hold_as_gone(caller: Caller) -> None:
    caller.reserve("r1", 6)

    assert caller.use("u1", 4) == Used("u1", 14, 10, MIDNIGHT_MS)
    assert caller.settle("r1", 6) == Settled("r1", 6, 0, left=10)


def test_a_use_opens_the_day_that_is_due_and_writes_off_the_one_before(caller: Caller) -> None:
    caller.use("u1", 2)
    caller.events()
    caller.now_ms = MIDNIGHT_MS

    assert caller.use("u2", 4) == Used("u2", 20, 16, MIDNIGHT_MS + DAY_MS)
    opening, usage = caller.events()
    assert told(opening) == ["EXPIRY day:2026-11-20 -3", "DAILY_RESET day:2026-11-21 +5"]
    assert told(usage) == ["USAGE day:2026-11-21 -4"]


# ── repeats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_gives_the_same_numbers_and_changes_nothing(caller: Caller) -> None:
    first = caller.use("u1", 3, 4)
    caller.use("u2", 5)
    caller.client.hset(caller.key, "status", "suspended")
    caller.now_ms = MIDNIGHT_MS
    before = contents(caller.client)

    assert caller.use("u1", 3, 4) == first == Used("u1", 20, 13, MIDNIGHT_MS)
    assert contents(caller.client) == before


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ((3, 5), {}),
        ((7,), {}),
        ((3, 4, 0), {}),
        ((3, 4), {"kind": "LICENSE_USE"}),
        ((3, 4), {"operation": "image"}),
    ],
)
def test_an_id_with_other_parameters_is_a_conflict(
    caller: Caller, lines: tuple[int, ...], options: dict[str, Any]
) -> None:
    caller.use("u1", 3, 4)
    before = contents(caller.client)

    assert caller.use("u1", *lines, **options) == Conflict("u1")
    assert contents(caller.client) == before


def test_an_id_of_another_account_is_a_conflict(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.use("u1", 3)
    before = contents(ada.client)

    assert bob.use("u1", 3) == Conflict("u1")
    assert contents(ada.client) == before


def test_an_id_is_a_reservations_or_a_uses(caller: Caller) -> None:
    caller.reserve("r1", 3)
    assert caller.use("r1", 3) == Conflict("r1")
    caller.settle("r1", 3)
    caller.use("u1", 3)
    before = contents(caller.client)

    assert caller.use("r1", 3) == Conflict("r1")
    assert caller.reserve("u1", 3) == Conflict("u1")
    assert caller.release("u1") == Ended("u1", "settled")
    assert caller.settle("u1", 4) == Conflict("u1")
    assert contents(caller.client) == before


def test_an_id_that_was_released_before_it_was_used_is_spent(caller: Caller) -> None:
    caller.release("u1")

    assert caller.use("u1", 3) == Ended("u1", "released")
    assert caller.events() == []


def test_a_denied_id_is_not_spent(caller: Caller) -> None:
    caller.use("u1", 21)

    assert isinstance(caller.use("u1", 20), Used)


# ── who may not ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_suspended_account_spends_nothing(caller: Caller) -> None:
    caller.open()
    caller.client.hset(caller.key, "status", "suspended")
    before = contents(caller.client)

    assert caller.use("u1", 1) == Suspended("u1", "suspended")
    assert contents(caller.client) == before


def test_a_caller_that_believes_in_an_older_account_hears_which_one_it_is(caller: Caller) -> None:
    caller.use("u1", 1)
    caller.version = 1
    caller.open(replace(PAYG, name="pro"), zone="Asia/Bangkok", move=True)
    before = contents(caller.client)

    assert caller.try_use("u2", 1) == Stale(
        "u2", version=2, tier="pro", zone="Asia/Bangkok", anchor="", first_seen_ms=NOON_MS
    )
    assert contents(caller.client) == before


@pytest.mark.parametrize("off_ms", [-3 * DAY_MS, 3 * DAY_MS])
def test_a_clock_that_is_days_off_is_told(caller: Caller, off_ms: int) -> None:
    assert caller.use("u1", 1, gateway_ms=NOON_MS + off_ms) == ClockOff("u1", NOON_MS)
    assert contents(caller.client) == {}


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_lines_are_one_request_of_what_they_cost_together(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("g1", 100)
    limited = [policy("2 requests/minute"), policy("10 cost/minute"), policy("5 tokens/minute")]

    assert isinstance(caller.use("u1", 4, 4, policies=limited), Used)
    assert caller.use("u2", 3, policies=limited) == Denied(
        "u2", "cost-per-minute", 6_000, left=92, violated=("cost-per-minute",), states=(
            0, 60_000, 2, 0, 2, 48_000, 10, 1, 5, 0, 5, 0,
        ),
    )  # fmt: skip
    assert isinstance(caller.use("u3", 2, policies=limited), Used)
    denied = caller.use("u4", 0, policies=limited)
    assert isinstance(denied, Denied)
    assert denied.policy == "requests-per-minute"


def test_concurrency_is_not_about_a_use(caller: Caller) -> None:
    limited = [policy("1 concurrent")]
    caller.reserve("r1", 1, policies=limited)

    assert isinstance(caller.use("u1", 1, policies=limited), Used)


def test_a_policy_in_shadow_mode_is_told_once(caller: Caller) -> None:
    caller.use("u1", 1, 1, policies=[policy("1 cost/hour", mode="shadow")])

    assert [event.usage.shadow for event in caller.events() if event.usage] == ["cost-per-hour", ""]


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ([], "lines: a use has from 1 to 1000, not 0"),
        ([0] * (MAX_LINES + 1), "lines: a use has from 1 to 1000, not 1001"),
        ([3, -1], "line 2: amount: -1 is not from 0"),
        ([MAX_UNITS + 1], "line 1: amount"),
        ([MAX_UNITS, 1], "lines: their amounts are more than"),
    ],
)
def test_what_no_balance_can_hold_is_refused_before_it_is_sent(
    caller: Caller, amounts: list[int], message: str
) -> None:
    with pytest.raises(RefusedInput, match=message):
        caller.use("u1", *amounts)


def test_as_many_lines_as_there_may_be_are_one_decision(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("g1", MAX_UNITS)
    caller.events()
    lines = [UseLine(number, f"line {number}", '{"n": 1}') for number in range(MAX_LINES)]
    cost = sum(range(MAX_LINES))

    assert caller.use("u1", *lines) == Used("u1", MAX_UNITS, MAX_UNITS - cost, MIDNIGHT_MS)

    events = caller.events()
    assert [event.usage.cost for event in events if event.usage] == list(range(MAX_LINES))
    assert -sum(entry.amount for event in events for entry in event.entries) == cost
