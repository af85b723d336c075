"""Waiting for conditions, bounded, instead of sleeping for luck."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "the condition") -> T:
    """The first truthy answer of `condition`. Fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.005
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {timeout_s:g} s; last answer: {answer!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
