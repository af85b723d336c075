"""Check-ins: once each local day, whatever the clock is, and rewards for days in a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.domain.errors import NotFound
from gateway.ledger.sales import claims, credits_due
from gateway.rewards import check_ins
from gateway.rewards.check_ins import CheckedIn, check_in
from gateway.rewards.recipient import RewardRefused
from tests.rewards.giving import HOUR, Giving, away, together

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def at(giving: Giving, zone: str, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> None:
    giving.now = datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def refused(giving: Giving, account: str = "ada") -> timedelta:
    """How long the account has to wait."""
    with pytest.raises(RewardRefused) as caught:
        check_in(giving.system, account)
    assert caught.value.code == "already_checked_in"
    assert caught.value.retry_after_ms is not None
    return timedelta(milliseconds=caught.value.retry_after_ms)


def test_the_first_check_in_opens_an_account_and_gives_what_the_rule_says(giving: Giving) -> None:
    done = check_in(giving.system, "ada")

    assert done == CheckedIn("2026-11-20", 1, 3, datetime(2026, 11, 20, 17, tzinfo=UTC))
    assert giving.credits() == {"check_in:2026-11-20": 3}


@pytest.mark.parametrize("zone", ["Asia/Jakarta", "America/Santiago"])
def test_two_check_ins_around_midnight_are_two_days_and_two_before_it_are_one(giving: Giving, zone: str) -> None:
    giving.open("ada", zone)
    at(giving, zone, 2026, 11, 20, 23, 50)
    check_in(giving.system, "ada")
    giving.now += 9 * MINUTE
    assert refused(giving) == MINUTE

    giving.now += MINUTE

    assert check_in(giving.system, "ada")[:3] == ("2026-11-21", 2, 3)
    assert refused(giving) == DAY
    assert giving.credits() == {"check_in:2026-11-20": 3, "check_in:2026-11-21": 3}


def test_where_clocks_change_at_midnight_the_day_begins_when_it_does(giving: Giving) -> None:
    """In Santiago no clock shows the first hour of 6 September 2026."""
    giving.open("ada", "America/Santiago")
    at(giving, "America/Santiago", 2026, 9, 5, 23, 59)
    check_in(giving.system, "ada")

    giving.now += MINUTE

    assert check_in(giving.system, "ada")[:2] == ("2026-09-06", 2)
    assert refused(giving) == 23 * HOUR


def test_days_in_a_row_are_counted_and_rewarded_on_top(giving: Giving) -> None:
    found = []
    for _ in range(4):
        found.append(check_in(giving.system, "ada")[1:3])
        giving.now += DAY

    assert found == [(1, 3), (2, 3), (3, 13), (4, 3)]
    assert giving.credits()["streak:3:2026-11-22"] == 10
    assert {row.cause for row in giving.rows(credits_due)} == {
        f"reward:check_in:2026-11-{day}" for day in range(20, 24)
    }


def test_a_day_without_one_breaks_the_row(giving: Giving) -> None:
    check_in(giving.system, "ada")
    giving.now += 2 * DAY

    state = check_ins.state_of(giving.system, "ada")

    assert state is not None
    assert (state.is_due, state.streak) == (True, 0)
    assert check_in(giving.system, "ada").streak == 1


def test_a_date_that_the_zone_skips_breaks_no_row(giving: Giving) -> None:
    """Samoa had no 30 December 2011."""
    at(giving, "Pacific/Apia", 2011, 12, 29, 12)
    giving.open("ada", "Pacific/Apia")
    check_in(giving.system, "ada")

    giving.now += 12 * HOUR

    assert check_in(giving.system, "ada")[:2] == ("2011-12-31", 2)


def test_a_change_of_zone_is_no_second_day(giving: Giving) -> None:
    at(giving, "Asia/Jakarta", 2026, 11, 20, 12)
    giving.open("ada", "Asia/Jakarta")
    check_in(giving.system, "ada")

    giving.open("ada", "Pacific/Kiritimati", move=True)  # It is 19:00 there.
    giving.now += 5 * HOUR

    assert refused(giving) == 15 * HOUR
    giving.now += 15 * HOUR
    assert check_in(giving.system, "ada")[:2] == ("2026-11-21", 2)


def test_a_zone_where_it_is_still_the_day_before_gives_that_day_no_second_time(giving: Giving) -> None:
    at(giving, "Asia/Jakarta", 2026, 11, 20, 1)
    giving.open("ada", "Asia/Jakarta")
    check_in(giving.system, "ada")

    giving.open("ada", "America/Santiago", move=True)  # It is 15:00 there, the day before.

    assert refused(giving) == 33 * HOUR
    giving.now += 10 * HOUR
    assert refused(giving) == 23 * HOUR


def test_how_it_stands_is_told_before_and_after(giving: Giving) -> None:
    before = check_ins.state_of(giving.system, "ada")
    check_in(giving.system, "ada")
    after = check_ins.state_of(giving.system, "ada")

    assert before is not None
    assert after is not None
    assert (before.is_due, before.streak, before.next_at) == (True, 0, giving.now)
    assert (after.is_due, after.streak, after.next_at) == (False, 1, datetime(2026, 11, 20, 17, tzinfo=UTC))


def test_of_many_at_once_one_counts(giving: Giving) -> None:
    found = together([partial(check_in, giving.system, "ada")] * 12)

    assert sum(isinstance(each, CheckedIn) for each in found) == 1
    assert {each.code for each in found if isinstance(each, RewardRefused)} == {"already_checked_in"}
    assert len(giving.rows(claims)) == 1
    assert giving.credits() == {"check_in:2026-11-20": 3}


def test_what_was_decided_is_paid_later_and_once(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dead:
        away(dead)
        check_in(giving.system, "ada")
    assert giving.credits() == {}

    assert [payouts.pay_due(giving.system) for _ in range(2)] == [1, 0]

    assert giving.credits() == {"check_in:2026-11-20": 3}
    assert refused(giving) == 12 * HOUR


def test_who_is_suspended_does_not_check_in(giving: Giving) -> None:
    giving.open("ada")
    giving.suspend("ada")

    with pytest.raises(NotAdmitted):
        check_in(giving.system, "ada")
    assert giving.rows(claims) == []


def test_where_there_are_none_nobody_checks_in(giving: Giving) -> None:
    rules = ("[rewards.check_in]\namount = 3\nstreaks = { 3 = 10 }", "")
    system = giving.ruled_by(rules)

    assert check_ins.state_of(system, "ada") is None
    with pytest.raises(NotFound, match="not rewarded here"):
        check_in(system, "ada")


def test_a_request_that_is_repeated_checks_in_once_and_is_answered_alike(giving: Giving) -> None:
    done = check_in(giving.system, "ada", "w1")
    giving.now += MINUTE

    assert check_in(giving.system, "ada", "w1") == done
    with pytest.raises(RewardRefused):
        check_in(giving.system, "ada", "w2")
    assert giving.credits() == {"check_in:2026-11-20": 3}
