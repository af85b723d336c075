"""How fast a balance goes, and when it is gone, if all goes on as in the last hours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.forecast import FARTHEST_MS, SHORTEST_MS, runs_out_at_ms, units_per_hour
from gateway.domain.reservation import Account
from gateway.domain.tier import MAX_UNITS

NOW_MS = 1_800_000_000_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
HOURS_IN_FARTHEST = FARTHEST_MS // HOUR_MS


def account(spent: int, passed_ms: int, *, before: int = 40) -> Account:
    """One that has spent so much since it was noted, so long ago, that it had spent `before`."""
    return Account(
        "ada", "free", "", "active", version=1, granted=MAX_UNITS, spent=before + spent, held=0, used_tokens=0,
        requests=0, now_ms=NOW_MS, first_seen_ms=1, last_seen_ms=NOW_MS, spent_since=(NOW_MS - passed_ms, before),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spent", "passed_ms", "rate"),
    [
        (100, HOUR_MS, 100),
        (100, 2 * HOUR_MS, 50),
        (1, 2 * HOUR_MS, 1),
        (100, HOUR_MS + HOUR_MS // 2, 67),
        (0, HOUR_MS, 0),
        (7, 240 * HOUR_MS, 1),
        (1, SHORTEST_MS, 12),
        (1, SHORTEST_MS + 1, 12),
        (MAX_UNITS - 40, HOUR_MS, MAX_UNITS - 40),
    ],
)
def test_a_rate_is_per_hour_and_rounded_up(spent: int, passed_ms: int, rate: int) -> None:
    assert units_per_hour(account(spent, passed_ms)) == rate


@pytest.mark.parametrize(
    ("spent", "passed_ms", "available", "after_ms"),
    [
        (100, HOUR_MS, 100, HOUR_MS),
        (100, HOUR_MS, 50, HOUR_MS // 2),
        (100, HOUR_MS, 0, 0),
        (7, HOUR_MS, 1, 514_285),
        (1, SHORTEST_MS, 1, SHORTEST_MS),
        (1, HOUR_MS, HOURS_IN_FARTHEST, FARTHEST_MS),
        (MAX_UNITS - 40, HOUR_MS, MAX_UNITS, HOUR_MS),
    ],
)
def test_a_balance_runs_out_when_it_is_spent_at_that_rate(
    spent: int, passed_ms: int, available: int, after_ms: int
) -> None:
    assert runs_out_at_ms(account(spent, passed_ms), available) == NOW_MS + after_ms


def test_what_lasts_longer_than_anybody_plans_does_not_run_out() -> None:
    assert runs_out_at_ms(account(1, HOUR_MS), HOURS_IN_FARTHEST + 1) is None


def test_who_spends_nothing_does_not_run_out() -> None:
    assert runs_out_at_ms(account(0, HOUR_MS), 100) is None
    assert runs_out_at_ms(account(0, HOUR_MS), 0) is None


@pytest.mark.parametrize("passed_ms", [0, MINUTE_MS, SHORTEST_MS - 1, NOW_MS])
def test_too_short_a_time_or_none_that_was_noted_says_nothing(passed_ms: int) -> None:
    """An account that was not noted yet has zero for the instant."""
    assert units_per_hour(account(100, passed_ms)) is None
    assert runs_out_at_ms(account(100, passed_ms), 100) is None


def test_who_was_refunded_more_than_was_spent_since_spends_nothing() -> None:
    """A hold that expired was charged, noted, and given back by a late release."""
    assert units_per_hour(account(-7, HOUR_MS)) == 0


@given(
    st.integers(1, MAX_UNITS), st.integers(SHORTEST_MS, FARTHEST_MS), st.integers(0, MAX_UNITS), st.integers(0, 10**9)
)
def test_a_forecast_is_exact_to_the_unit_and_the_millisecond(
    spent: int, passed_ms: int, available: int, before: int
) -> None:
    """Floats would be off by many units: the products have more than 53 bits."""
    found = account(spent, passed_ms, before=before)

    rate = units_per_hour(found)
    assert rate is not None
    assert (rate - 1) * passed_ms < spent * HOUR_MS <= rate * passed_ms
    at_ms = runs_out_at_ms(found, available)
    if at_ms is None:
        assert available * passed_ms >= spent * (FARTHEST_MS + 1)
    else:
        assert spent * (at_ms - NOW_MS) <= available * passed_ms < spent * (at_ms - NOW_MS + 1)
