"""A sandbox without a socket, and what to ask of it."""

from __future__ import annotations

import pytest

from tests.support.sandbox import Clock, Sandbox


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Sandbox:
    return Sandbox(clock)
