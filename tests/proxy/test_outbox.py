"""The outbox: what Redis could not take yet is repeated, with its id, until it does."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.proxy import outbox
from gateway.proxy.outbox import Outbox
from gateway.store.calls import Call
from tests.proxy.pools import eventually, on_a_loop


def call(id: str = "r1") -> Call[str]:
    return Call("settle", id, "qg:{p00}:account:a", (id,), lambda reply: "settled")


class Scripts:
    """A `Store` that does with each call what a test says."""

    def __init__(self, *outcomes: Exception | str) -> None:
        #: One outcome an attempt; the last one stays.
        self.outcomes = list(outcomes)
        self.sent: list[str] = []
        self.times: list[float] = []

    async def run(self, call: Call[Any]) -> Any:
        self.sent.append(call.id)
        self.times.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def read_hash(self, key: str) -> dict[str, str]:
        raise AssertionError("an outbox reads nothing")

    async def read_text(self, key: str) -> str | None:
        raise AssertionError("an outbox reads nothing")

    async def write_hash(self, key: str, fields: object) -> None:
        raise AssertionError("an outbox writes no hashes")


AWAY = StoreUnavailable("Redis cannot be reached")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PAUSE_S", 0.01)
    monkeypatch.setattr(outbox, "PAUSE_MAX_S", 0.05)


@on_a_loop
async def test_a_call_that_redis_takes_is_over() -> None:
    store = Scripts("settled")
    box = Outbox(store)

    assert await box.run(call()) == "settled"
    assert (store.sent, len(box)) == (["r1"], 0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", [AWAY, Indeterminate("the reply was lost")])
@on_a_loop
async def test_a_call_that_redis_does_not_take_is_repeated_with_its_id(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Scripts(fault, fault, fault, "settled")
    box = Outbox(store)

    assert await box.run(call()) is None
    assert len(box) == 1
    assert "settle r1 is repeated until Redis takes it" in caplog.text

    await eventually(lambda: len(box) == 0)
    assert store.sent == ["r1"] * 4


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_the_pauses_between_attempts_double_up_to_a_maximum() -> None:
    store = Scripts(*[AWAY] * 6, "settled")
    box = Outbox(store)
    box.later(call())
    await eventually(lambda: len(box) == 0)

    pauses = [after - before for before, after in itertools.pairwise(store.times)]
    # None is shorter; that one is longer may be the machine's doing.
    assert all(pause > least for pause, least in zip(pauses, [0.009, 0.019, 0.039, 0.049, 0.049, 0.049], strict=True))


@pytest.mark.parametrize("later", [False, True])
@on_a_loop
async def test_a_call_whose_script_fails_is_left_to_the_sweeper(later: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Repeating would not mend it, and the hold has a lease."""
    store = Scripts(ScriptFault("wrong reply"), "settled")
    box = Outbox(store)

    if later:
        box.later(call())
        await eventually(lambda: len(box) == 0)
    else:
        assert await box.run(call()) is None

    assert (store.sent, len(box)) == (["r1"], 0)
    assert "settle r1 failed; the sweeper will end its hold" in caplog.text


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_many_calls_wait_side_by_side() -> None:
    store = Scripts(AWAY)
    box = Outbox(store)
    ids = [f"r{number}" for number in range(100)]

    for id in ids:
        assert await box.run(call(id)) is None
    assert len(box) == 100

    store.outcomes = ["settled"]
    await eventually(lambda: len(box) == 0)
    assert set(store.sent) == set(ids)


@on_a_loop
async def test_closing_waits_for_what_is_on_its_way() -> None:
    store = Scripts("settled")
    box = Outbox(store)
    box.later(call())

    await box.close()

    assert (store.sent, len(box)) == (["r1"], 0)


@on_a_loop
async def test_closing_an_empty_outbox_is_nothing() -> None:
    await Outbox(Scripts("settled")).close()


@on_a_loop
async def test_closing_gives_up_in_time() -> None:
    box = Outbox(Scripts(AWAY))
    box.later(call())

    await box.close(timeout_s=0.05)

    await eventually(lambda: len(box) == 0)


@on_a_loop
async def test_closing_gives_a_call_that_pauses_a_last_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is back, but the next attempt would come after the end of this process."""
    monkeypatch.setattr(outbox, "PAUSE_S", 3600.0)
    store = Scripts(AWAY, "settled")
    box = Outbox(store)
    box.later(call())
    await eventually(lambda: store.sent)

    await box.close(timeout_s=0.5)

    assert store.sent == ["r1", "r1"]
