"""Allowances of every kind: their names, when they open, what rolls over, and what a move to another zone does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.reservation import Denied, Reserved
from gateway.domain.tier import Allowance, Tier
from tests.lua.caller import DAY_MS, HOUR_MS, JAKARTA, MIDNIGHT_MS, NOON_MS, Caller, at
from tests.lua.conftest import NewCaller

FOUR = Tier(
    "four",
    allowances=(Allowance("hour", 1), Allowance("day", 2), Allowance("week", 3), Allowance("month", 4)),
    zone=JAKARTA,
)
WEEK_END_MS = at("2026-11-23 00:00+07:00")


def anchored(every: str, rollover: int = 0) -> Tier:
    return Tier("anchored", allowances=(Allowance(every, 5, is_anchored=True, rollover=rollover),), zone=JAKARTA)


def rolling(rollover: int, amount: int = 5) -> Tier:
    return Tier("rolling", allowances=(Allowance("day", amount, rollover=rollover),), zone=JAKARTA)


def resets(caller: Caller) -> list[str]:
    return [entry for entry in caller.entries() if "_RESET" in entry]


# ── every kind ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_expires_soonest_is_burned_first_and_named_for_people(new_caller: NewCaller) -> None:
    caller = new_caller(FOUR)

    outcome = caller.reserve("r1", 7)

    assert outcome == Reserved("r1", version=1, left=3, resets_at_ms=NOON_MS + HOUR_MS)
    assert caller.hold("r1")["parts"] == "hour:2026-11-20T05:00Z=1 day:2026-11-20=2 week:2026-W47=3 month:2026-11=1"
    assert caller.entries() == [
        "HOURLY_RESET hour:2026-11-20T05:00Z +1",
        "DAILY_RESET day:2026-11-20 +2",
        "WEEKLY_RESET week:2026-W47 +3",
        "MONTHLY_RESET month:2026-11 +4",
    ]


@pytest.mark.parametrize(
    ("period", "ends_ms"),
    [("hour:2026-11-20T05:00Z", NOON_MS + HOUR_MS), ("week:2026-W47", WEEK_END_MS)],
)
def test_a_periods_key_says_when_it_ends_and_is_gone_then(new_caller: NewCaller, period: str, ends_ms: int) -> None:
    caller = new_caller(FOUR)
    caller.reserve("r1", 0)

    assert caller.hash(caller.period_key(period))["ends_at"] == str(ends_ms)
    remaining_ms = int(caller.client.pttl(caller.period_key(period)))
    assert abs(remaining_ms - (ends_ms - NOON_MS)) < 60_000


def test_an_account_has_fields_of_the_kinds_it_uses_only(caller: Caller) -> None:
    caller.reserve("r1", 1)

    fields = caller.hash(caller.key).keys()
    assert {"day", "day_left", "day_ends"} <= fields
    assert not {name for name in fields if name.startswith(("hour", "week", "month", "anchor"))}


@pytest.mark.parametrize(
    ("amount", "policy", "wait_ms"),
    [
        (1, "hour", HOUR_MS),
        (3, "day", MIDNIGHT_MS - NOON_MS),
        (6, "week", WEEK_END_MS - NOON_MS),
        (10, "month", at("2026-12-01 00:00+07:00") - NOON_MS),
        (11, "credits", None),
    ],
)
def test_a_denial_names_the_soonest_reset_after_which_the_call_fits(
    new_caller: NewCaller, amount: int, policy: str, wait_ms: int | None
) -> None:
    caller = new_caller(FOUR)
    caller.reserve("r1", 10)

    assert caller.reserve("r2", amount) == Denied("r2", policy, wait_ms, left=0, violated=(policy,))


def test_a_grant_that_lapses_before_the_reset_is_not_waited_for(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(0))
    caller.grant("short", 3, expires_s=NOON_MS // 1000 + 60)

    assert caller.reserve("r1", 8) == Reserved("r1", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    caller.release("r1")
    caller.reserve("r2", 5)
    assert caller.reserve("r3", 6) == Denied("r3", "credits", None, left=3, violated=("credits",))
    assert caller.reserve("r4", 5) == Denied("r4", "day", MIDNIGHT_MS - NOON_MS, left=3, violated=("day",))


def test_a_denial_counts_what_will_roll_over(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(2))
    caller.reserve("r1", 2)

    assert caller.reserve("r2", 7) == Denied("r2", "day", MIDNIGHT_MS - NOON_MS, left=3, violated=("day",))
    assert caller.reserve("r3", 8) == Denied("r3", "credits", None, left=3, violated=("credits",))


@pytest.mark.parametrize("known", [False, True])
def test_a_denial_does_not_count_on_what_it_would_have_to_open_first(new_caller: NewCaller, known: bool) -> None:
    caller = new_caller(rolling(5))
    if known:  # A grant opens no day.
        caller.grant("g1", 1)

    # Today's five would roll over, had this call opened today; but it is denied.
    assert caller.reserve("r1", 10) == Denied("r1", "credits", None, left=5 + known, violated=("credits",))
    caller.now_ms = MIDNIGHT_MS
    assert isinstance(caller.reserve("r1", 10), Denied)


def test_a_denial_counts_what_rolls_over_past_a_day_that_was_not_opened(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(3))
    caller.reserve("r1", 3)
    caller.settle("r1", 3)
    caller.now_ms += DAY_MS

    # Two of yesterday's are left, for today or, as today does not open for this call, for tomorrow; no more of them.
    assert caller.reserve("r2", 8) == Denied("r2", "credits", None, left=7, violated=("credits",))
    caller.now_ms += DAY_MS
    assert caller.reserve("r2", 7) == Reserved("r2", version=1, left=0, resets_at_ms=MIDNIGHT_MS + 2 * DAY_MS)


def test_a_reset_hour_ends_the_day_in_the_night(new_caller: NewCaller) -> None:
    caller = new_caller(replace(rolling(0), reset_hour=4), now_ms=at("2026-11-21 03:59+07:00"))

    assert caller.reserve("r1", 5) == Reserved("r1", 1, 0, resets_at_ms=at("2026-11-21 04:00+07:00"))
    assert caller.hold("r1")["local_day"] == "2026-11-20"
    caller.now_ms = at("2026-11-21 04:00+07:00")
    assert caller.reserve("r2", 5).left == 0  # type: ignore[union-attr]


# ── anchors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_months_from_the_start_clamp_from_the_day_of_opening_each_time(new_caller: NewCaller) -> None:
    caller = new_caller(anchored("month"), now_ms=at("2027-01-31 12:00+07:00"))
    for number, day in enumerate(("01-31", "02-27", "02-28", "03-30", "03-31")):
        caller.now_ms = at(f"2027-{day} 12:00+07:00")
        caller.reserve(f"r{number}", 0)

    assert [entry.split()[1] for entry in resets(caller)] == [
        "month:2027-01-31",
        "month:2027-02-28",
        "month:2027-03-31",
    ]
    assert caller.account().anchor == "2027-01-31"


def test_weeks_from_the_start_begin_on_the_weekday_of_opening(new_caller: NewCaller) -> None:
    caller = new_caller(anchored("week"))  # A Friday.
    caller.reserve("r1", 1)

    caller.now_ms = at("2026-11-26 23:59+07:00")
    assert caller.reserve("r2", 0) == Reserved("r2", 1, 4, resets_at_ms=at("2026-11-27 00:00+07:00"))
    caller.now_ms = at("2026-11-27 00:00+07:00")
    caller.reserve("r3", 0)

    assert [entry.split()[1] for entry in resets(caller)] == ["week:2026-11-20", "week:2026-11-27"]


def test_an_account_without_an_anchor_is_anchored_to_the_day_it_was_first_seen(new_caller: NewCaller) -> None:
    caller = new_caller()
    caller.reserve("r1", 0)
    caller.events()
    caller.tier = anchored("month")
    caller.open(move=True)

    caller.now_ms += 12 * DAY_MS
    caller.reserve("r2", 0)

    assert caller.account().anchor == "2026-11-20"
    assert resets(caller) == ["MONTHLY_RESET month:2026-11-20 +5"]


def test_an_anchor_stays_when_its_account_moves(new_caller: NewCaller) -> None:
    caller = new_caller(anchored("month"), now_ms=at("2026-11-20 23:00+07:00"))
    caller.reserve("r1", 0)
    caller.open(zone="Pacific/Kiritimati", move=True)  # It is the 21st there.
    caller.reserve("r2", 0)

    assert caller.account().anchor == "2026-11-20"


def test_a_tier_of_another_form_begins_with_the_period_that_is_running(new_caller: NewCaller) -> None:
    caller = new_caller(replace(FOUR, allowances=(Allowance("week", 3),)))
    caller.reserve("r1", 0)
    caller.tier = replace(FOUR, name="sundays", allowances=(Allowance("week", 4, first_day=6),))
    caller.open(move=True)
    caller.events()

    caller.now_ms = WEEK_END_MS - 1
    caller.reserve("r2", 0)
    assert resets(caller) == []
    caller.now_ms = WEEK_END_MS
    caller.reserve("r3", 0)
    assert resets(caller) == ["WEEKLY_RESET week:2026-11-22 +4"]


# ── moves to other zones ─────────────────────────────────────────────────────────────────────────────────────────────

MOVING = [anchored("week"), anchored("month"), replace(FOUR, allowances=(Allowance("week", 5),)),
          replace(FOUR, allowances=(Allowance("month", 5),)), replace(FOUR, allowances=(Allowance("hour", 5),)),
          replace(FOUR, allowances=(Allowance("day", 5),))]  # fmt: skip


@pytest.mark.parametrize("tier", MOVING, ids=lambda tier: f"{tier.name} {tier.allowances[0].every}")
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/London"])
def test_a_move_takes_effect_at_the_next_reset_and_gives_no_period_twice(
    new_caller: NewCaller, tier: Tier, zone: str
) -> None:
    caller = new_caller(tier)
    outcome = caller.reserve("r1", 5)
    assert isinstance(outcome, Reserved)
    caller.open(zone=zone, move=True)
    caller.events()

    # There and back, every three hours until the period ends where it began.
    for number, now_ms in enumerate(range(NOON_MS, outcome.resets_at_ms, 3 * HOUR_MS)):
        caller.now_ms = now_ms
        assert isinstance(caller.reserve(f"a{number}", 1), Denied)
        caller.open(zone="Asia/Jakarta" if number % 2 else zone, move=True)
        assert isinstance(caller.reserve(f"b{number}", 1), Denied)
    assert resets(caller) == []

    caller.open(zone=zone, move=True)
    for number in range(60):
        caller.now_ms = outcome.resets_at_ms + number * HOUR_MS // 2
        caller.reserve(f"c{number}", 0)
    opened = [entry.split()[1] for entry in resets(caller)]
    assert opened == sorted(set(opened))
    assert len(opened) <= {"hour": 30, "day": 2}.get(tier.allowances[0].every, 1)


# ── rollover ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_moves_to_the_next_period_up_to_the_cap(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(2))
    caller.reserve("r1", 1)
    caller.settle("r1", 1)
    caller.events()

    caller.now_ms = MIDNIGHT_MS
    outcome = caller.reserve("r2", 0)

    assert outcome == Reserved("r2", 1, 7, resets_at_ms=MIDNIGHT_MS + DAY_MS)
    assert caller.entries() == [
        "EXPIRY day:2026-11-20 -4",
        "DAILY_RESET day:2026-11-21 +5",
        "ROLLOVER day:2026-11-21 +2",
    ]
    assert caller.hash(caller.period_key("day:2026-11-21"))["amount"] == "7"


def test_what_rolled_over_rolls_again_within_the_cap(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(7))
    for day, expected in enumerate((5, 10, 12, 12)):
        caller.now_ms = NOON_MS + day * DAY_MS
        assert caller.reserve(f"r{day}", 0).left == expected  # type: ignore[union-attr]


def test_periods_without_a_call_add_nothing(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(100))
    caller.reserve("r1", 3)
    caller.settle("r1", 3)

    caller.now_ms += 30 * DAY_MS

    assert caller.reserve("r2", 0).left == 7  # type: ignore[union-attr]


def test_the_rest_rolls_over_when_a_settlement_came_before_the_next_call(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(9))
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS
    caller.settle("r1", 1)
    assert caller.account().rests == {"day": 3}
    caller.events()

    outcome = caller.reserve("r2", 0)

    # What the open call held back at midnight was not left.
    assert outcome.left == 8  # type: ignore[union-attr]
    assert caller.entries() == ["DAILY_RESET day:2026-11-21 +5", "ROLLOVER day:2026-11-21 +3"]


def test_what_rolled_over_once_does_not_do_so_again_when_it_was_used(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(3))
    caller.reserve("r1", 0)
    caller.now_ms = MIDNIGHT_MS
    caller.release("r1")
    caller.reserve("r2", 8)
    caller.settle("r2", 8)

    caller.now_ms = MIDNIGHT_MS + DAY_MS

    assert caller.reserve("r3", 0).left == 5  # type: ignore[union-attr]


def test_a_period_that_was_deleted_by_hand_rolls_nothing_into_itself(new_caller: NewCaller) -> None:
    caller = new_caller(rolling(3))
    caller.reserve("r1", 0)
    caller.client.delete(caller.period_key("day:2026-11-20"))

    assert caller.reserve("r2", 5).left == 0  # type: ignore[union-attr]
    caller.now_ms = MIDNIGHT_MS
    assert caller.reserve("r3", 0).left == 5  # type: ignore[union-attr]


# ── accounts of earlier versions ─────────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_an_earlier_version_opened_goes_on_unchanged(caller: Caller) -> None:
    hash = {
        "version": 1, "tier": "free", "zone": "", "status": "active", "first_seen": NOON_MS, "last_seen": NOON_MS,
        "granted": 5, "spent": 2, "held": 0, "used_tokens": 0, "requests": 1, "day": "2026-11-20", "day_left": 3,
        "day_ends": MIDNIGHT_MS, "month": "", "month_left": 0, "month_ends": 0, "next_expiry": 0,
    }  # fmt: skip
    day = {"amount": 5, "left": 3, "held": 0, "ends_at": MIDNIGHT_MS}
    caller.client.hset(caller.key, mapping=hash)  # type: ignore[arg-type]
    caller.client.hset(caller.period_key("day:2026-11-20"), mapping=day)  # type: ignore[arg-type]

    assert caller.reserve("r1", 3) == Reserved("r1", version=1, left=0, resets_at_ms=MIDNIGHT_MS)
    assert caller.left() == {"day:2026-11-20": 0}
    caller.release("r1")
    caller.tier = replace(FOUR, name="free")
    caller.reserve("r2", 0)

    assert resets(caller) == [
        "HOURLY_RESET hour:2026-11-20T05:00Z +1", "WEEKLY_RESET week:2026-W47 +3", "MONTHLY_RESET month:2026-11 +4",
    ]  # fmt: skip
    caller.settle("r2", 0)
    # The ledger of the test does not know what this account was given before.
    caller.client.flushall()
