"""Callers of the scripts, whose books must balance when their test ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from gateway.domain.tier import Tier
from gateway.store.runner import Runner
from tests.lua.books import Books, audit
from tests.lua.caller import FREE, NOON_MS, Caller
from tests.support.epoch import ready


class NewCaller(Protocol):
    """Makes a caller on a server that was empty when its test began; `flush` empties it again, for the next example of
    a property."""

    def __call__(self, tier: Tier = FREE, id: str = "ada", *, now_ms: int = NOON_MS, flush: bool = False) -> Caller: ...


@pytest.fixture
def new_caller(runner: Runner) -> Iterator[NewCaller]:
    made: list[Caller] = []

    def new(tier: Tier = FREE, id: str = "ada", *, now_ms: int = NOON_MS, flush: bool = False) -> Caller:
        if flush:
            ready(runner.client)
            made.clear()
        made.append(Caller(runner, tier, id, now_ms=now_ms))
        return made[-1]

    yield new
    if made:
        audit(Books(runner.client, max(caller.now_ms for caller in made)))


@pytest.fixture
def caller(new_caller: NewCaller) -> Caller:
    """A caller on the free tier, at noon in Jakarta, of whom nobody has heard yet."""
    return new_caller()
