"""Overrides: by how much, until when, and of whom."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest

from gateway.accounts import api_keys, balances
from gateway.accounts.overrides import override, read_factor
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.domain.policy import Policy, parse_rate
from gateway.store import calls

LIMIT = Policy("requests-per-minute", parse_rate("60 requests/minute"))
DAY_MS = 86_400_000


def room(system: System, account: str = "ada") -> int:
    """How many calls fit at once into a limit of sixty."""
    (state,) = system.runner.run(calls.limits(system.keys.account(account), [LIMIT]))
    return state.room


@pytest.fixture
def ada(system: System) -> System:
    """A system that knows ada and bob."""
    api_keys.create(system, ["ada", "bob"])
    return system


# ── how much ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("2x", Fraction(2)),
        ("2", Fraction(2)),
        ("1", Fraction(1)),
        ("1.5", Fraction(3, 2)),
        ("1.5x", Fraction(3, 2)),
        ("0.01", Fraction(1, 100)),
        ("1/2", Fraction(1, 2)),
        ("2/3x", Fraction(2, 3)),
        ("100", Fraction(100)),
        ("1/100", Fraction(1, 100)),
        ("400/200", Fraction(2)),
        ("007", Fraction(7)),
    ],
)
def test_a_factor_is_read_exactly(text: str, times: Fraction) -> None:
    assert read_factor(text) == times


@pytest.mark.parametrize(
    "text",
    ["", "x", "two", "-2", "+2", "1.", ".5", "1.555", "1,5", "1e2", "2X", " 2", "2 ", "1//2", "1/0", "0/1", "1/2/3",
     "0", "0.00", "101", "1/101", "0.009", "12345", "inf", "nan"],
)  # fmt: skip
def test_anything_else_is_no_factor(text: str) -> None:
    with pytest.raises(RefusedInput, match="is no factor"):
        read_factor(text)


@pytest.mark.parametrize("text", ["99.99", "1.01", "101/102"])
def test_a_factor_that_would_not_be_counted_exactly_is_refused(text: str) -> None:
    with pytest.raises(RefusedInput, match="take a rounder factor"):
        read_factor(text)


# ── of whom, and until when ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_override_stretches_one_accounts_limits_until_it_ends(ada: System) -> None:
    before_ms = int(time.time()) * 1000

    until_ms = override(ada, "ada", "1.5x", "3d")

    assert before_ms + 3 * DAY_MS <= until_ms <= int(time.time()) * 1000 + 3 * DAY_MS
    assert balances.read(ada, "ada").account.override == f"3/2 until {until_ms}"
    assert (room(ada, "ada"), room(ada, "bob")) == (90, 60)


def test_an_override_may_end_at_an_instant(ada: System) -> None:
    assert override(ada, "ada", "1/2", "2099-01-01T00:00:00+07:00") == 4_070_883_600_000
    assert room(ada) == 30


@pytest.mark.parametrize("once", ["1", "1x", "1.0", "3/3"])
def test_once_what_they_are_ends_an_override(ada: System, once: str) -> None:
    override(ada, "ada", "2x", "3d")

    override(ada, "ada", once, "3d")

    assert balances.read(ada, "ada").account.override == ""
    assert room(ada) == 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"account_id": "cleo"}, "there is no account cleo; its first call opens it"),
        ({"account_id": "a b"}, "there is no account 'a b'"),
        ({"account_id": ""}, "there is no account ''"),
        ({"factor": "0"}, "'0' is no factor"),
        ({"until": "soon"}, "'soon' is no expiry"),
        ({"until": "2020-01-01T00:00:00Z"}, "is in the past"),
        ({"until": "0d"}, "is in the past"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_changes(ada: System, change: dict[str, str], said: str) -> None:
    override(ada, "ada", "2x", "3d")
    before = balances.read(ada, "ada").account.override

    with pytest.raises(RefusedInput, match=said):
        override(ada, **{"account_id": "ada", "factor": "5x", "until": "1d"} | change)

    assert balances.read(ada, "ada").account.override == before
    assert not ada.redis.exists(ada.keys.account("cleo"))
