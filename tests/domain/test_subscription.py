"""Periods of subscriptions, what the clock makes of them, and what a dearer plan costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.catalog import MONTH, YEAR, Plan
from gateway.domain.money import Money
from gateway.domain.subscription import (
    ACTIVE,
    ENDED,
    GRACE,
    PENDING,
    Subscription,
    anchor_at,
    clock_act,
    days_after,
    is_upgrade,
    next_look,
    notices,
    period_end,
    reminder,
    upgrade,
)

NOON = datetime(2027, 3, 10, 12, tzinfo=UTC)
START, END = datetime(2027, 3, 1, tzinfo=UTC), datetime(2027, 4, 1, tzinfo=UTC)
SUBSCRIPTION = Subscription(
    id="sub_1", account="ada", plan="plus", state=ACTIVE, method="qris", channel="", anchor="2027-03-01", zone="UTC",
    reset_hour=0, period=1, period_starts_at=START, period_ends_at=END, tier_ends_at=END + timedelta(days=5),
    tier_after="free", cancel_at_end=False, next_plan="", next_order="", upgrade_order="", created_at=START,
    updated_at=START, ended_at=None, next_act_at=None,
)  # fmt: skip


def plan(price: int, allowance: int = 0, every: str = MONTH) -> Plan:
    return Plan(f"p{price}", "", "plus", Money(price, "IDR"), every, allowance)


def local(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "every", "reset_hour", "days"),
    [
        ("Asia/Jakarta", MONTH, 0, ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]),
        ("Asia/Jakarta", MONTH, 0, ["2028-01-30", "2028-02-29", "2028-03-30"]),
        ("Asia/Jakarta", MONTH, 4, ["2027-12-15 04:00", "2028-01-15 04:00"]),
        ("Europe/Berlin", YEAR, 0, ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("Europe/Berlin", MONTH, 0, ["2027-02-28", "2027-03-28", "2027-04-28"]),
        # No clock of Santiago shows the midnight of 5 September 2027: its day begins at one.
        ("America/Santiago", MONTH, 0, ["2027-08-05", "2027-09-05 01:00", "2027-10-05"]),
    ],
)
def test_periods_follow_each_other_from_the_anchor_on(zone: str, every: str, reset_hour: int, days: list[str]) -> None:
    at, anchor = local(days[0], zone), date.fromisoformat(days[0][:10])
    for day in days[1:]:
        at = period_end(at, anchor, every, zone, reset_hour)
        assert at == local(day, zone)


def test_a_period_that_begins_in_the_middle_of_a_day_ends_with_the_first_instant_of_one() -> None:
    paid = local("2027-01-31 23:59:59", "Asia/Jakarta")

    assert anchor_at(paid, "Asia/Jakarta", 0) == date(2027, 1, 31)
    assert period_end(paid, date(2027, 1, 31), MONTH, "Asia/Jakarta") == local("2027-02-28", "Asia/Jakarta")


def test_before_the_reset_hour_it_is_the_day_before() -> None:
    paid = local("2027-02-01 03:59", "Asia/Jakarta")

    assert anchor_at(paid, "Asia/Jakarta", 4) == date(2027, 1, 31)
    assert period_end(paid, date(2027, 1, 31), MONTH, "Asia/Jakarta", 4) == local("2027-02-28 04:00", "Asia/Jakarta")


@given(
    st.dates(date(2020, 1, 1), date(2040, 12, 31)),
    st.sampled_from(["Asia/Jakarta", "America/Santiago", "Europe/London", "Pacific/Apia", "America/Havana"]),
    st.sampled_from([0, 4]),
)
def test_twelve_months_are_a_year(day: date, zone: str, reset_hour: int) -> None:
    start = at = days_after(local(f"{day} 12:00", zone), 0, zone, reset_hour)
    for _ in range(12):
        before, at = at, period_end(at, day, MONTH, zone, reset_hour)
        assert timedelta(days=27) < at - before < timedelta(days=33)
    assert at == period_end(start, day, YEAR, zone, reset_hour)


@pytest.mark.parametrize(
    ("state", "change", "at", "expected"),
    [
        (PENDING, {}, START + timedelta(days=3, milliseconds=-1), None),
        (PENDING, {}, START + timedelta(days=3), "end"),
        (ACTIVE, {}, END - timedelta(milliseconds=1), None),
        (ACTIVE, {}, END, "overdue"),
        (ACTIVE, {}, END + timedelta(days=5), "end"),
        (ACTIVE, {"next_order": "ord_2"}, END - timedelta(milliseconds=1), None),
        (ACTIVE, {"next_order": "ord_2"}, END, "begin"),
        (ACTIVE, {"tier_ends_at": END}, END, "end"),
        (ACTIVE, {"cancel_at_end": True, "tier_ends_at": END}, END - timedelta(milliseconds=1), None),
        (ACTIVE, {"cancel_at_end": True, "tier_ends_at": END}, END, "end"),
        (ACTIVE, {"cancel_at_end": True, "next_order": "ord_2"}, END, "begin"),
        (GRACE, {}, END + timedelta(days=5, milliseconds=-1), None),
        (GRACE, {}, END + timedelta(days=5), "end"),
        (ENDED, {}, END + timedelta(days=50), None),
    ],
)
def test_what_the_clock_makes_of_it(state: str, change: Any, at: datetime, expected: str | None) -> None:
    assert clock_act(replace(SUBSCRIPTION, state=state, **change), at) == expected


@pytest.mark.parametrize(
    ("change", "at", "days", "next_at"),
    [
        ({}, NOON, None, END - timedelta(days=3)),
        ({}, END - timedelta(days=3), 3, END - timedelta(days=1)),
        ({}, END - timedelta(hours=25), 3, END - timedelta(days=1)),
        ({}, END - timedelta(days=1), 1, END),
        ({"next_order": "ord_2"}, END - timedelta(days=1), None, END),
        ({"cancel_at_end": True}, END - timedelta(days=1), None, END),
        ({"state": GRACE}, END, None, END + timedelta(days=5)),
        ({"state": ENDED}, END, None, None),
        ({"state": PENDING}, START, None, START + timedelta(days=3)),
    ],
)
def test_when_its_owner_is_reminded_and_when_it_is_looked_at_next(
    change: Any, at: datetime, days: int | None, next_at: datetime | None
) -> None:
    it = replace(SUBSCRIPTION, **change)

    assert reminder(it, (3, 1), at) == days
    assert next_look(it, (3, 1), at) == next_at


@pytest.mark.parametrize(
    ("change", "at", "expected"),
    [
        ({}, START, ["subscription_started ada sub_1/1"]),
        ({}, START + timedelta(days=2), []),
        ({"period": 2, "anchor": "2027-01-31"}, START, []),  # It only goes on.
        ({}, END - timedelta(days=2), ["renewal_due ada sub_1/2/3"]),
        ({}, END - timedelta(hours=2), ["renewal_due ada sub_1/2/1"]),
        ({"state": GRACE}, END, ["renewal_overdue ada sub_1/2"]),
        ({"state": ENDED, "ended_at": END}, END, ["subscription_ended ada sub_1/1"]),
        ({"state": ENDED, "period": 0, "ended_at": END}, END, []),
        ({"state": PENDING, "period": 0}, START, []),
    ],
)
def test_what_its_owner_is_told(change: Any, at: datetime, expected: list[str]) -> None:
    it = replace(SUBSCRIPTION, **({"anchor": "2027-03-01"} | change))

    assert [notice.id for notice in notices(it, (3, 1), at)] == expected


@pytest.mark.parametrize(
    ("prices", "allowances", "at", "price", "units"),
    [
        ((30_000_00, 90_000_00), (1000, 3000), START, 60_000_00, 2000),
        ((30_000_00, 90_000_00), (1000, 3000), START + (END - START) / 2, 30_000_00, 1000),
        ((30_000_00, 90_000_00), (1000, 3000), END - timedelta(milliseconds=1), 1_00, 0),
        ((30_000_00, 90_000_00), (3000, 1000), START, 60_000_00, 0),  # What it has is not taken.
        ((30_000_00, 40_000_00), (0, 7), START + (END - START) / 3, 666_700, 4),
    ],
)
def test_a_dearer_plan_costs_and_gives_its_share(
    prices: tuple[int, int], allowances: tuple[int, int], at: datetime, price: int, units: int
) -> None:
    plans = [plan(*each) for each in zip(prices, allowances, strict=True)]

    more = upgrade(plans[0], plans[1], START, END, at)

    assert (more.price, more.units) == (Money(price, "IDR"), units)
    assert more.price.is_payable


def test_only_a_dearer_plan_of_the_same_length_is_an_upgrade() -> None:
    assert is_upgrade(plan(1), plan(2))
    assert not is_upgrade(plan(2), plan(1))
    assert not is_upgrade(plan(1), plan(1))
    assert not is_upgrade(plan(1), plan(20, every=YEAR))
