"""How a call ended, as metrics and logs name it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.domain.usage import Usage
from gateway.observe.observation import OUTCOMES, Observation

CHARGED = (5, Usage(2, 0, 0, 3))


def served(seen: Observation, status: int = 200) -> None:
    seen.answered(status, client_left=False, is_broken=False, charged=CHARGED)


def cut(seen: Observation) -> None:
    seen.was_cut = True
    served(seen)


def broken(seen: Observation) -> None:
    seen.answered(0, client_left=False, is_broken=True, charged=None)
    seen.refused(502, "upstream_broken")


def too_large_while_it_streamed(seen: Observation) -> None:
    seen.answered(0, client_left=False, is_broken=True, charged=None)
    seen.refused(413, "request_too_large")


def left(seen: Observation) -> None:
    seen.answered(200, client_left=True, is_broken=False, charged=CHARGED)


@pytest.mark.parametrize(
    ("happens", "outcome"),
    [
        (served, "served"),
        (lambda seen: served(seen, 302), "served"),
        (lambda seen: served(seen, 404), "upstream_refused"),
        (lambda seen: served(seen, 500), "upstream_failed"),
        (broken, "upstream_failed"),
        (left, "client_left"),
        (lambda seen: None, "client_left"),
        (cut, "cut"),
        (too_large_while_it_streamed, "refused"),
        (lambda seen: seen.refused(401, "invalid_api_key"), "refused"),
        (lambda seen: seen.refused(429, "insufficient_quota", "day"), "denied"),
    ],
)
def test_a_call_ends_in_one_of_the_named_ways(happens: Callable[[Observation], None], outcome: str) -> None:
    seen = Observation("r1", "/v1/chat", "main")

    happens(seen)

    assert seen.outcome == outcome
    assert outcome in OUTCOMES


def test_the_steps_of_a_call_stand_in_their_order() -> None:
    seen = Observation("r1", "/v1/chat", "main")

    seen.read("m1")
    seen.reserved("free")
    seen.answering()
    served(seen)
    seen.settled(0)

    instants = [seen.arrived_at, seen.read_at, seen.reserved_at, seen.answering_at, seen.answered_at, seen.settled_at]
    assert instants == sorted(instants)
    assert (seen.model, seen.tier, seen.cost, seen.usage) == ("m1", "free", 5, CHARGED[1])
