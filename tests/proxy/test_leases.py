"""The keeper of leases: which calls it renews and watches, and that it goes on whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.proxy import leases
from gateway.proxy.leases import LeaseKeeper
from tests.proxy.pools import eventually, on_a_loop


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TICK_S", 0.002)


class Lasting:
    """A call that lasts, and does at a renewal or a watch what a test says."""

    def __init__(self, every_s: float = 3600.0) -> None:
        self.every_s = every_s
        self.renew_at = asyncio.get_running_loop().time() + every_s
        self.watched = False
        self.renewals = self.watches = 0
        self.on_renew: Callable[[], None] = lambda: None
        self.on_watch: Callable[[], None] = lambda: None
        #: Whoever watches waits for it.
        self.left = asyncio.Event()
        self.cancelled = False

    async def renew(self) -> None:
        self.renewals += 1
        self.renew_at = asyncio.get_running_loop().time() + self.every_s
        self.on_renew()

    async def watch(self) -> None:
        self.watches += 1
        self.on_watch()
        try:
            await self.left.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


@contextlib.asynccontextmanager
async def keeping() -> AsyncIterator[LeaseKeeper]:
    keeper = LeaseKeeper()
    keeper.start()
    try:
        yield keeper
    finally:
        await keeper.close()


async def ticks(keeper: LeaseKeeper, number: int) -> None:
    """Lets the keeper look around so often."""
    for _ in range(number):
        marker = Lasting(0.0)
        marker.watched = True
        keeper.open["marker"] = marker
        await eventually(lambda marker=marker: marker.renewals > 0)  # type: ignore[misc]
        del keeper.open["marker"]


@on_a_loop
async def test_a_call_that_outlives_a_tick_is_watched_once() -> None:
    async with keeping() as keeper:
        call = keeper.open["r1"] = Lasting()
        await ticks(keeper, 10)

    assert (call.watches, call.renewals) == (1, 0)


@on_a_loop
async def test_a_call_that_ends_within_a_tick_costs_nothing() -> None:
    async with keeping() as keeper:
        for number in range(10):
            call = keeper.open[f"r{number}"] = Lasting()
            await ticks(keeper, 1)
            del keeper.open[f"r{number}"]
            assert (call.watches, call.renewals) == (0, 0)
            await ticks(keeper, 1)


@on_a_loop
async def test_a_lease_is_renewed_when_it_is_due_and_not_before() -> None:
    async with keeping() as keeper:
        due, patient = Lasting(0.02), Lasting()
        keeper.open |= {"due": due, "patient": patient}
        await eventually(lambda: due.renewals == 3)

    assert patient.renewals == 0


@on_a_loop
async def test_a_call_that_could_not_be_watched_yet_is_looked_at_again() -> None:
    async with keeping() as keeper:
        call = Lasting()
        call.left.set()

        def not_yet() -> None:
            call.watched = call.watches >= 3

        call.on_watch = not_yet
        keeper.open["r1"] = call
        await eventually(lambda: call.watches == 3)
        await ticks(keeper, 5)

    assert call.watches == 3


@pytest.mark.parametrize("kind", ["on_renew", "on_watch"])
@on_a_loop
async def test_a_call_that_fails_does_not_end_the_care_for_others(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of one call")

    async with keeping() as keeper:
        bad, good = Lasting(0.01), Lasting(0.01)
        setattr(bad, kind, fail)
        keeper.open |= {"bad": bad, "good": good}
        await eventually(lambda: good.renewals >= 3 and bad.renewals >= 2 and good.watches == 1)

    assert "a renewal or a watch failed" in caplog.text
    assert "of one call" in caplog.text


@on_a_loop
async def test_calls_may_come_and_go_while_it_looks_around() -> None:
    async with keeping() as keeper:
        for number in range(100):
            call = keeper.open[f"r{number}"] = Lasting(0.0)
            call.on_renew = lambda number=number: keeper.open.pop(f"r{number}", None)  # type: ignore[misc,assignment]
        await eventually(lambda: not keeper.open)
        await ticks(keeper, 2)


@on_a_loop
async def test_closing_ends_those_who_watch() -> None:
    async with keeping() as keeper:
        call = keeper.open["r1"] = Lasting()
        await eventually(lambda: call.watches == 1)

    assert call.cancelled
    assert len(asyncio.all_tasks()) == 1


@on_a_loop
async def test_what_ended_is_not_kept() -> None:
    async with keeping() as keeper:
        call = keeper.open["r1"] = Lasting(0.0)
        await eventually(lambda: call.renewals >= 20)
        call.left.set()
        del keeper.open["r1"]
        await eventually(lambda: not keeper._running)


@on_a_loop
async def test_it_can_be_started_twice_and_again_after_its_end() -> None:
    keeper = LeaseKeeper()
    for _ in range(2):
        keeper.start()
        keeper.start()
        assert sum(task.get_name() == "quotagate-leases" for task in asyncio.all_tasks()) == 1
        call = keeper.open["r1"] = Lasting(0.0)
        await eventually(lambda call=call: call.renewals)  # type: ignore[misc]
        del keeper.open["r1"]
        await keeper.close()


@on_a_loop
async def test_closing_what_never_started_is_nothing() -> None:
    await LeaseKeeper().close()
