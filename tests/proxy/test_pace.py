"""Throttles: how long a stream waits for its next piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.policy import Policy, parse_rate
from gateway.proxy import pace
from gateway.proxy.pace import Pace, Paces


def throttle(text: str, *by: str) -> Policy:
    return Policy("slow", parse_rate(text), by or ("account",), "throttle")


def test_a_burst_passes_at_once_and_what_follows_at_the_rate() -> None:
    slow = Pace(throttle("10 output tokens/second burst 4"))

    waits = [slow.delay_s(1, now_s=100.0) for _ in range(8)]

    assert waits == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3])


def test_a_pause_earns_no_more_than_the_burst() -> None:
    slow = Pace(throttle("10 output tokens/second burst 4"))
    slow.delay_s(5, now_s=0.0)

    assert slow.delay_s(5, now_s=3600.0) == 0
    assert slow.delay_s(1, now_s=3600.0) == pytest.approx(0.1)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 2)), max_size=40))
def test_whoever_waits_as_told_never_exceeds_the_rate(pieces: list[tuple[int, float]]) -> None:
    slow, now_s, passed = Pace(throttle("20 output tokens/second burst 9")), 0.0, 0
    for tokens, pause_s in pieces:
        now_s += pause_s
        now_s += slow.delay_s(tokens, now_s)
        passed += tokens
        assert passed <= 10 + 20 * now_s + 1e-6


def test_streams_of_one_subject_share_a_pace_and_others_do_not() -> None:
    paces, policy = Paces(), throttle("10 output tokens/second", "account", "model")

    (first,) = paces.of([policy], {"account": "ada", "model": "m1"})
    assert paces.of([policy], {"account": "ada", "model": "m1"}) == [first]
    assert paces.of([policy], {"account": "bob", "model": "m1"}) != [first]
    assert paces.of([policy], {"account": "ada", "model": "m2"}) != [first]


def test_a_throttle_by_what_a_call_does_not_have_slows_nothing() -> None:
    assert Paces().of([throttle("1 output token/second", "team")], {"account": "ada", "team": ""}) == []


def test_paces_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MAX_PACES", 3)
    paces, policy = Paces(), throttle("1 output token/second")

    for number in range(10):
        paces.of([policy], {"account": f"a{number}"})

    assert len(paces._paces) <= 3
