"""`reserve`: checks everything a call may cost against its account and holds it, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from gateway.domain.principal import MAX_ACCOUNT_LENGTH
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Opened, Reserved, Stale, Suspended
from gateway.domain.tier import MAX_UNITS, Allowance, Tier
from tests.lua.caller import (
    DAY_MS,
    EVERY_KIND,
    JAKARTA,
    LEASE_MS,
    MIDNIGHT_MS,
    MINUTE_MS,
    MONTH_END_MS,
    NOON_MS,
    PAYG,
    SECOND_MS,
    Caller,
    contents,
)
from tests.lua.conftest import NewCaller

# ── who calls ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_account_is_opened_with_what_its_tier_gives(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)

    outcome = caller.reserve("r1", 2)

    assert outcome == Reserved("r1", version=1, left=12, resets_at_ms=MIDNIGHT_MS)
    account = caller.account()
    assert (account.tier, account.zone, account.status, account.version) == ("every", "", "active", 1)
    assert (account.granted, account.spent, account.held, account.requests) == (14, 0, 2, 1)
    assert (account.first_seen_ms, account.last_seen_ms) == (NOON_MS, NOON_MS)
    event = caller.event()
    assert (event.kind, event.account, event.at_ms) == ("opening", "ada", NOON_MS)
    assert (event.tier, event.zone, event.usage) == ("every", "", None)
    assert [f"{e.kind} {e.bucket} {e.amount:+d}" for e in event.entries] == [
        "SIGNUP credits:signup +7",
        "DAILY_RESET day:2026-11-20 +3",
        "MONTHLY_RESET month:2026-11 +4",
    ]


def test_a_tier_that_gives_nothing_opens_no_bucket(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)

    outcome = caller.reserve("r1", 0)

    assert outcome == Reserved("r1", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.left() == {}
    assert caller.events() == []


def test_a_suspended_account_is_turned_away_and_nothing_is_written(caller: Caller) -> None:
    caller.open()
    caller.client.hset(caller.key, "status", "suspended")
    before = contents(caller.client)

    assert caller.reserve("r1", 1) == Suspended("r1", "suspended")
    assert contents(caller.client) == before


def test_a_caller_that_believes_in_an_older_account_hears_which_one_it_is(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.open(replace(PAYG, name="pro"), zone="Asia/Bangkok", move=True)
    before = contents(caller.client)

    assert caller.try_reserve("r2", 1) == Stale(
        "r2", version=2, tier="pro", zone="Asia/Bangkok", anchor="", first_seen_ms=NOON_MS
    )
    assert contents(caller.client) == before


def test_a_caller_that_knows_nothing_of_an_account_hears_which_one_it_is(caller: Caller) -> None:
    caller.open()

    assert caller.try_reserve("r1", 1) == Stale("r1", version=1, tier="free", zone="", anchor="", first_seen_ms=NOON_MS)


def test_the_second_of_two_first_calls_is_stale_and_then_joins_the_account(new_caller: NewCaller) -> None:
    here, there = new_caller(), new_caller()

    here.reserve("r1", 1)

    assert there.try_reserve("r2", 1) == Stale("r2", version=1, tier="free", zone="", anchor="", first_seen_ms=NOON_MS)
    assert there.reserve("r2", 1) == Reserved("r2", version=1, left=18, resets_at_ms=MIDNIGHT_MS)
    assert here.account().granted == 20


# ── what burns first ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_day_burns_before_the_month_and_the_month_before_credits(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)

    caller.reserve("r1", 3)
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 4, "credits:signup": 7}
    caller.reserve("r2", 4)
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0, "credits:signup": 7}
    caller.reserve("r3", 7)
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0}


@pytest.mark.parametrize("order", list(permutations(("day", "month", "credits"))), ids=" ".join)
def test_a_tier_may_burn_in_an_order_of_its_own(new_caller: NewCaller, order: tuple[str, ...]) -> None:
    caller = new_caller(replace(EVERY_KIND, burn_order=order))
    parts = {"day": ("day:2026-11-20", 3), "month": ("month:2026-11", 4), "credits": ("credits:signup", 7)}
    (first, all_of_first), (second, _) = parts[order[0]], parts[order[1]]

    caller.reserve("r1", all_of_first + 1)

    assert caller.hold("r1")["parts"] == f"{first}={all_of_first} {second}=1"


def test_a_bucket_that_the_order_leaves_out_is_not_touched(new_caller: NewCaller) -> None:
    caller = new_caller(replace(EVERY_KIND, burn_order=("month", "day")))

    assert isinstance(caller.reserve("r1", 8), Denied)
    assert isinstance(caller.reserve("r2", 7), Reserved)
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 0, "credits:signup": 7}


def test_grants_burn_by_priority_then_by_expiry_then_by_age(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    soon_s, later_s = (NOON_MS + DAY_MS) // 1000, (NOON_MS + 2 * DAY_MS) // 1000
    granted: list[tuple[str, dict[str, Any]]] = [
        ("last", {"priority": 7, "expires_s": soon_s}),
        ("kept", {"priority": 1}),
        ("old", {}),
        ("later", {"expires_s": later_s}),
        ("young", {}),
        ("kept-soon", {"priority": 1, "expires_s": soon_s}),
        ("soon", {"expires_s": soon_s}),
    ]
    for name, options in granted:
        caller.now_ms += SECOND_MS
        caller.grant(name, 2, **options)

    caller.reserve("r1", 14)

    burned = [part.removeprefix("credits:").removesuffix("=2") for part in caller.hold("r1")["parts"].split()]
    assert burned == ["soon", "later", "old", "young", "kept-soon", "kept", "last"]


def test_a_call_may_draw_on_any_number_of_grants(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    for number in range(11):
        caller.now_ms += SECOND_MS
        caller.grant(f"g{number:02d}", 1)

    assert caller.reserve("r1", 10) == Reserved("r1", version=1, left=1, resets_at_ms=MIDNIGHT_MS)
    assert caller.left() == {"credits:g10": 1}


def test_a_grant_past_its_expiry_pays_for_nothing(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("short", 5, expires_s=NOON_MS // 1000 + 60)
    caller.grant("long", 5, expires_s=NOON_MS // 1000 + 61)
    caller.now_ms += MINUTE_MS

    assert caller.reserve("r1", 6) == Denied("r1", "credits", None, left=5, violated=("credits",))
    caller.reserve("r2", 5)
    assert caller.hold("r2")["parts"] == "credits:long=5"


def test_what_an_expired_grant_had_is_not_left(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("short", 5, expires_s=NOON_MS // 1000 + 60)
    caller.grant("long", 5)
    caller.now_ms += MINUTE_MS

    caller.events()

    assert caller.reserve("r1", 1) == Reserved("r1", version=1, left=4, resets_at_ms=MIDNIGHT_MS)
    assert caller.entries() == ["EXPIRY credits:short -5"]
    assert caller.account().granted == 5


# ── denied ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TO_MIDNIGHT_MS, TO_MONTH_END_MS = MIDNIGHT_MS - NOON_MS, MONTH_END_MS - NOON_MS


@pytest.mark.parametrize(
    ("used", "amount", "policy", "retry_after_ms", "left"),
    [
        (12, 3, "day", TO_MIDNIGHT_MS, 2),  # 2 credits and the day's 3: tomorrow there is enough.
        (12, 5, "day", TO_MIDNIGHT_MS, 2),  # … to the last unit.
        (12, 6, "month", TO_MONTH_END_MS, 2),  # One more needs the next month's 4 as well.
        (12, 9, "month", TO_MONTH_END_MS, 2),
        (12, 10, "credits", None, 2),  # More than all that is ever given: top up.
        (0, 15, "credits", None, 14),  # Nothing is used yet, so no reset would add anything.
        (14, 1, "day", TO_MIDNIGHT_MS, 0),
        (1, 14, "day", TO_MIDNIGHT_MS, 13),  # The day is not empty, but its reset still adds what is missing.
        (7, 10, "day", TO_MIDNIGHT_MS, 7),
        (7, 11, "month", TO_MONTH_END_MS, 7),
    ],
)
def test_a_denial_says_what_would_have_to_change(
    new_caller: NewCaller, used: int, amount: int, policy: str, retry_after_ms: int | None, left: int
) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", used)
    before = contents(caller.client)

    assert caller.reserve("r2", amount) == Denied("r2", policy, retry_after_ms, left, (policy,))
    assert contents(caller.client) == before


def test_waiting_for_the_reset_that_a_denial_names_is_enough(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 12)
    denied = caller.reserve("r2", 5)
    assert isinstance(denied, Denied)
    assert denied.retry_after_ms is not None

    caller.now_ms += denied.retry_after_ms - 1
    assert isinstance(caller.reserve("r2", 5), Denied)
    caller.now_ms += 1
    assert isinstance(caller.reserve("r2", 5), Reserved)


def test_a_denied_call_does_not_open_an_unknown_account(caller: Caller) -> None:
    assert caller.reserve("r1", 21) == Denied("r1", "credits", None, left=20, violated=("credits",))
    assert contents(caller.client) == {}


def test_a_denied_call_opens_no_day_and_closes_none(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS
    before = contents(caller.client)

    assert caller.reserve("r2", 21) == Denied("r2", "credits", None, left=20, violated=("credits",))
    assert contents(caller.client) == before


def test_a_denied_id_is_not_spent(caller: Caller) -> None:
    caller.reserve("r1", 21)

    assert isinstance(caller.reserve("r1", 20), Reserved)


def test_a_free_call_is_allowed_with_an_empty_balance(caller: Caller) -> None:
    caller.reserve("r1", 20)

    assert caller.reserve("r2", 0) == Reserved("r2", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.hold("r2")["parts"] == ""
    assert caller.account().requests == 2


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_repeat_gives_the_same_answer_and_changes_nothing(caller: Caller) -> None:
    first = caller.reserve("r1", 7)
    before = contents(caller.client)

    assert caller.reserve("r1", 7) == first
    assert contents(caller.client) == before


def test_a_repeat_is_recognised_though_the_account_has_changed_since(caller: Caller) -> None:
    caller.reserve("r1", 7)
    caller.open(PAYG, move=True)
    caller.client.hset(caller.key, "status", "suspended")
    before = contents(caller.client)

    assert caller.try_reserve("r1", 7) == Reserved("r1", version=2, left=13, resets_at_ms=MIDNIGHT_MS)
    assert contents(caller.client) == before


def test_a_repeat_after_midnight_names_the_reset_that_is_to_come(caller: Caller) -> None:
    # The gateway's clock is a minute behind: its windows say "yesterday, and then today".
    caller.now_ms = MIDNIGHT_MS + SECOND_MS
    first = caller.reserve("r1", 1, gateway_ms=MIDNIGHT_MS - MINUTE_MS)

    assert first == Reserved("r1", version=1, left=19, resets_at_ms=MIDNIGHT_MS + DAY_MS)
    assert caller.reserve("r1", 1, gateway_ms=MIDNIGHT_MS - MINUTE_MS) == first


@pytest.mark.parametrize("changed", [{"amount": 6}, {"operation": "image"}, {"model": "m2"}], ids=str)
def test_an_open_id_with_other_parameters_is_a_conflict(caller: Caller, changed: dict[str, Any]) -> None:
    caller.reserve("r1", 7)
    before = contents(caller.client)

    assert caller.reserve("r1", **{"amount": 7} | changed) == Conflict("r1")
    assert contents(caller.client) == before


@pytest.mark.parametrize("changed", [{"amount": 6}, {"operation": "image"}, {"model": "m2"}], ids=str)
@pytest.mark.parametrize("how", ["settled", "released", "expired"])
def test_an_ended_id_with_other_parameters_is_a_conflict(caller: Caller, how: str, changed: dict[str, Any]) -> None:
    end(caller, "r1", how)
    before = contents(caller.client)

    assert caller.reserve("r1", **{"amount": 7} | changed) == Conflict("r1")
    assert contents(caller.client) == before


def test_an_id_of_another_account_is_a_conflict(new_caller: NewCaller) -> None:
    ada, bob = new_caller(), new_caller(id="bob")
    ada.reserve("r1", 7)
    before = contents(ada.client)

    assert bob.reserve("r1", 7) == Conflict("r1")
    assert contents(ada.client) == before
    ada.settle("r1", 7)
    assert bob.reserve("r1", 7) == Conflict("r1")


@pytest.mark.parametrize("how", ["settled", "released", "expired"])
def test_an_ended_id_says_how_it_ended(caller: Caller, how: str) -> None:
    end(caller, "r1", how)
    before = contents(caller.client)

    assert caller.reserve("r1", 7) == Ended("r1", how)
    assert contents(caller.client) == before


def test_an_id_that_was_released_before_it_was_reserved_is_spent(caller: Caller) -> None:
    caller.release("r1")
    before = contents(caller.client)

    assert caller.reserve("r1", 7) == Ended("r1", "released")
    assert contents(caller.client) == before


# ── periods ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_local_day_opens_with_its_allowance_and_the_rest_of_the_last_one_expires(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.settle("r1", 2)
    caller.events()

    caller.now_ms = MIDNIGHT_MS
    outcome = caller.reserve("r2", 1)

    assert outcome == Reserved("r2", version=1, left=19, resets_at_ms=MIDNIGHT_MS + DAY_MS)
    assert caller.left() == {"day:2026-11-21": 4, "credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -3", "DAILY_RESET day:2026-11-21 +5"]


def test_days_without_a_call_give_nothing(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.now_ms += 4 * DAY_MS

    caller.reserve("r2", 1)

    assert caller.left() == {"day:2026-11-24": 4, "credits:signup": 15}


def test_the_next_month_opens_with_its_allowance_and_the_rest_of_the_last_one_expires(new_caller: NewCaller) -> None:
    caller = new_caller(replace(EVERY_KIND, allowances=EVERY_KIND.allowances[1:]))
    caller.reserve("r1", 1)
    caller.events()

    caller.now_ms = MONTH_END_MS
    caller.reserve("r2", 1)

    assert caller.left() == {"month:2026-12": 3, "credits:signup": 7}
    assert caller.entries() == ["EXPIRY month:2026-11 -3", "MONTHLY_RESET month:2026-12 +4"]


def test_an_empty_day_leaves_nothing_to_expire(caller: Caller) -> None:
    caller.reserve("r1", 5)
    caller.events()

    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r2", 1)

    assert caller.entries() == ["DAILY_RESET day:2026-11-21 +5"]


def test_a_day_key_that_was_deleted_by_hand_is_opened_anew(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.settle("r1", 2)
    caller.events()
    caller.client.delete(caller.period_key("day:2026-11-20"))

    caller.reserve("r2", 1)

    assert caller.left() == {"day:2026-11-20": 4, "credits:signup": 15}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -3", "DAILY_RESET day:2026-11-20 +5"]


def test_a_day_that_was_deleted_by_hand_counts_no_hold_below_zero(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.client.delete(caller.period_key("day:2026-11-20"))
    caller.reserve("r2", 1)

    caller.settle("r1", 2)

    assert int(caller.hash(caller.period_key("day:2026-11-20"))["held"]) >= 0


def test_a_changed_allowance_counts_from_the_next_reset(caller: Caller) -> None:
    caller.reserve("r1", 1)

    caller.tier = replace(caller.tier, allowances=(Allowance("day", 50),))
    caller.reserve("r2", 1)
    assert caller.left()["day:2026-11-20"] == 3
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r3", 1)
    assert caller.left()["day:2026-11-21"] == 49


def test_an_account_that_loses_its_allowance_keeps_the_day_that_runs(caller: Caller) -> None:
    caller.reserve("r1", 1)
    caller.events()
    caller.open(PAYG, move=True)
    caller.tier = PAYG

    caller.reserve("r2", 1)
    assert caller.left() == {"day:2026-11-20": 3, "credits:signup": 15}
    caller.now_ms = MIDNIGHT_MS
    caller.reserve("r3", 1)
    assert caller.left() == {"credits:signup": 14}
    assert caller.entries() == ["EXPIRY day:2026-11-20 -3"]


@pytest.mark.parametrize("off_ms", [-2 * DAY_MS, DAY_MS], ids=["two days behind", "a day ahead"])
def test_a_gateway_whose_windows_do_not_contain_now_hears_what_time_it_is(caller: Caller, off_ms: int) -> None:
    outcome = caller.reserve("r1", 1, gateway_ms=NOON_MS + off_ms)

    assert outcome == ClockOff("r1", NOON_MS)
    assert contents(caller.client) == {}


# ── what a hold keeps ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_reads_well_in_redis_cli(caller: Caller) -> None:
    caller.reserve("r1", 7, on_lost="charge_hold")

    assert caller.hold("r1") == {
        "account": "ada",
        "request": "ada 7 chat m1",
        "amount": "7",
        "parts": "day:2026-11-20=5 credits:signup=2",
        "order": "hour day week month credits",
        "operation": "chat",
        "model": "m1",
        "route": "/v1/chat",
        "key": "qg_12345678",
        "price_version": "prices-1",
        "local_day": "2026-11-20",
        "opened_at": str(NOON_MS),
        "on_lost": "charge_hold",
        "rates": "",
        "slots": "",
        "first_amount": "7",
    }
    assert caller.client.zscore(caller.partition_key("holds"), "r1") == NOON_MS + LEASE_MS


# ── large amounts, odd names ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_largest_amounts_are_exact(new_caller: NewCaller) -> None:
    caller = new_caller(Tier("huge", allowances=(Allowance("day", MAX_UNITS - 2), Allowance("month", 2)), zone=JAKARTA))

    assert caller.reserve("r1", MAX_UNITS - 1) == Reserved("r1", version=1, left=1, resets_at_ms=MIDNIGHT_MS)
    assert caller.reserve("r2", 2) == Denied("r2", "day", TO_MIDNIGHT_MS, left=1, violated=("day",))
    assert caller.hold("r1")["parts"] == f"day:2026-11-20={MAX_UNITS - 2} month:2026-11=1"
    assert caller.settle("r1", MAX_UNITS - 2)
    assert caller.account().spent == MAX_UNITS - 2
    assert caller.left() == {"day:2026-11-20": 0, "month:2026-11": 2}
    assert caller.entries() == [
        f"DAILY_RESET day:2026-11-20 +{MAX_UNITS - 2}",
        "MONTHLY_RESET month:2026-11 +2",
        f"USAGE day:2026-11-20 -{MAX_UNITS - 2}",
    ]


ODD_NAMES = [
    "ada@example.com",
    "team:ada:2026-11-20",
    "{p99}",
    "}:account:{",
    "../day/ada",
    "Ådå-日本-🦆",
    "100%d+",
    "a=b;c",
    "x" * MAX_ACCOUNT_LENGTH,
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_an_account_may_have_any_name_without_white_space(new_caller: NewCaller, name: str) -> None:
    caller, other = new_caller(id=name), new_caller(id="ada")
    other.open()

    caller.reserve("r1", 7)
    caller.settle("r1", 6)
    caller.lose("r2", 3)

    assert caller.left() == {"day:2026-11-20": 0, "credits:signup": 14}
    assert [event.account for event in caller.events()] == ["ada", name, name, name]
    assert other.left() == {"credits:signup": 15}


@pytest.mark.parametrize("name", [name for name in ODD_NAMES if "=" not in name], ids=ascii)
def test_a_grant_may_have_any_name_without_white_space_and_separators(new_caller: NewCaller, name: str) -> None:
    caller = new_caller(PAYG)
    caller.grant(name, 5)
    caller.now_ms += SECOND_MS
    caller.grant("other", 5)
    caller.events()

    caller.reserve("r1", 7)
    caller.settle("r1", 4)

    assert caller.left() == {f"credits:{name}": 1, "credits:other": 5}
    assert caller.entries() == [f"USAGE credits:{name} -4"]


def test_one_account_opened_by_hand_first_is_the_same(caller: Caller) -> None:
    assert caller.open() == Opened("opened", 1, "free", "")

    assert caller.reserve("r1", 1) == Reserved("r1", version=1, left=19, resets_at_ms=MIDNIGHT_MS)


def end(caller: Caller, id: str, how: str) -> None:
    """A reservation of 7 units that has ended."""
    if how == "expired":
        caller.lose(id, 7)
        return
    caller.reserve(id, 7)
    if how == "settled":
        caller.settle(id, 7)
    else:
        caller.release(id)
