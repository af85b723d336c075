"""`max_connections`: who waits, who is next, and what happens to the place of a caller who leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from gateway.domain.errors import UpstreamUnreachable
from gateway.domain.route import Timeouts
from tests.proxy.pools import PATIENT, CountingUpstream, begin, eventually, fetch, on_a_loop, plain, pool_to, raw_server
from tests.support.upstream import Request, Step, Wait, chunk, stream_head

SHORT = Timeouts(connect_s=0.2, first_byte_s=30, idle_s=30)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_calls_beyond_the_limit_wait_and_are_all_served(
    server: CountingUpstream, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def story() -> None:
        async with pool_to(server.url, max_connections=3) as pool:
            bodies = [b"%d" % number for number in range(50)]
            await asyncio.gather(*(fetch(pool, body=body) for body in bodies))
            assert sorted(request.body for request in server.requests) == sorted(bodies)

    run(story())

    assert server.accepted <= 3


@on_a_loop
async def test_a_call_that_waits_takes_over_the_connection_that_becomes_free(server: CountingUpstream) -> None:
    go = Wait()
    server.script = lambda request: [go, plain(b"first")] if request.target == "/1" else [plain(b"second")]

    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, b"/1"))
        await eventually(lambda: server.requests)
        second = asyncio.create_task(fetch(pool, b"/2"))
        await eventually(lambda: pool._waiting)
        go.until.set()

        assert [await first, await second] == [b"first", b"second"]
    assert server.accepted == 1


@on_a_loop
async def test_a_call_that_waits_makes_a_connection_when_the_other_one_ends(server: CountingUpstream) -> None:
    go = Wait()

    def script(request: Request) -> list[Step]:
        return [go, plain(b"first", headers="Connection: close\r\n")] if request.target == "/1" else [plain(b"second")]

    server.script = script
    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, b"/1"))
        await eventually(lambda: server.requests)
        second = asyncio.create_task(fetch(pool, b"/2"))
        await eventually(lambda: pool._waiting)
        go.until.set()

        assert [await first, await second] == [b"first", b"second"]


@on_a_loop
async def test_a_call_that_waits_longer_than_connect_s_is_told_so(server: CountingUpstream) -> None:
    server.script = lambda request: [Wait()]

    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool))
        await eventually(lambda: server.requests)
        with pytest.raises(UpstreamUnreachable, match=r"no connection to upstream main in 0\.2 s"):
            await fetch(pool, timeouts=SHORT)

        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@on_a_loop
async def test_callers_are_served_in_the_order_in_which_they_came(server: CountingUpstream) -> None:
    go = Wait()
    server.script = lambda request: [go, plain(b"ok")]

    async with pool_to(server.url, max_connections=1) as pool:
        calls = []
        for number in range(6):
            calls.append(asyncio.create_task(fetch(pool, b"/%d" % number)))
            await eventually(lambda: len(server.requests) + len(pool._waiting) == len(calls))
        go.until.set()
        await asyncio.gather(*calls)

    assert [request.target for request in server.requests] == [f"/{number}" for number in range(6)]


# ── callers who leave ────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_caller_who_leaves_before_the_answer_gives_its_place_to_the_next(server: CountingUpstream) -> None:
    server.script = lambda request: [Wait()] if request.target == "/1" else [plain(b"second")]

    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, b"/1"))
        await eventually(lambda: server.requests)
        second = asyncio.create_task(fetch(pool, b"/2"))
        await eventually(lambda: pool._waiting)
        first.cancel()

        assert await second == b"second"
        await eventually(lambda: server.stopped == 1)
    assert server.accepted == 2


@on_a_loop
async def test_a_caller_who_leaves_in_mid_answer_gives_its_place_to_the_next(server: CountingUpstream) -> None:
    def script(request: Request) -> list[Step]:
        return [stream_head(), chunk(b"half"), Wait()] if request.target == "/1" else [plain(b"second")]

    server.script = script
    async with pool_to(server.url, max_connections=1) as pool:
        begun = asyncio.Event()

        async def read_on() -> None:
            answer = await begin(pool, b"/1")
            try:
                while await answer.read():
                    begun.set()
            finally:
                answer.close()

        first = asyncio.create_task(read_on())
        await begun.wait()
        second = asyncio.create_task(fetch(pool, b"/2"))
        await eventually(lambda: pool._waiting)
        first.cancel()

        assert await second == b"second"
        await eventually(lambda: server.stopped == 1)


@on_a_loop
async def test_a_caller_who_leaves_the_queue_does_not_take_its_turn_along(server: CountingUpstream) -> None:
    go = Wait()
    server.script = lambda request: [go, plain(b"first")] if request.target == "/1" else [plain(b"ok")]

    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, b"/1"))
        await eventually(lambda: server.requests)
        second, third = asyncio.create_task(fetch(pool, b"/2")), asyncio.create_task(fetch(pool, b"/3"))
        await eventually(lambda: len(pool._waiting) == 2)
        second.cancel()
        go.until.set()

        assert [await first, await third] == [b"first", b"ok"]


@on_a_loop
async def test_a_caller_who_leaves_when_it_is_called_passes_its_turn_on(server: CountingUpstream) -> None:
    server.script = lambda request: [stream_head(), Wait()] if request.target == "/1" else [plain(b"ok")]

    async with pool_to(server.url, max_connections=1) as pool:
        answer = await begin(pool, b"/1")
        second, third = asyncio.create_task(fetch(pool, b"/2")), asyncio.create_task(fetch(pool, b"/3"))
        await eventually(lambda: len(pool._waiting) == 2)
        answer.close()  # Now it is the second one's turn …
        second.cancel()

        assert await third == b"ok"
        with pytest.raises(asyncio.CancelledError):
            await second


@on_a_loop
async def test_a_connection_that_cannot_be_made_gives_its_place_to_the_next() -> None:
    """The one who waits is not kept waiting for a connection that nobody has any more."""
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read()

    async with raw_server(serve) as port, pool_to(f"https://127.0.0.1:{port}", max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, timeouts=SHORT))
        await eventually(lambda: accepted == 1)  # … and says nothing: no handshake, no connection.
        second = asyncio.create_task(fetch(pool, timeouts=PATIENT))
        await eventually(lambda: pool._waiting)
        with pytest.raises(UpstreamUnreachable):
            await first

        await eventually(lambda: accepted == 2, 5)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second


@on_a_loop
async def test_a_caller_who_leaves_while_connecting_gives_its_place_to_the_next() -> None:
    accepted = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.read()

    async with raw_server(serve) as port, pool_to(f"https://127.0.0.1:{port}", max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool))
        await eventually(lambda: accepted == 1)
        second = asyncio.create_task(fetch(pool))
        await eventually(lambda: pool._waiting)
        first.cancel()

        await eventually(lambda: accepted == 2, 5)
        second.cancel()
        for call in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await call


@on_a_loop
async def test_a_caller_who_leaves_in_mid_request_ends_its_connection(server: CountingUpstream) -> None:
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"the beginning"
        begun.set()
        await asyncio.Event().wait()

    async with pool_to(server.url, max_connections=1) as pool:
        first = asyncio.create_task(fetch(pool, b"/1", body=body()))
        await begun.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

        await fetch(pool, b"/2")
    assert [request.target for request in server.requests] == ["/2"]
