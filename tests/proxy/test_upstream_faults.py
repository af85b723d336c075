"""What an upstream can do wrong, and what its callers hear of it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.domain.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.domain.route import Timeouts
from gateway.proxy import upstream as pools
from tests.proxy.pools import CountingUpstream, begin, eventually, fetch, on_a_loop, plain, pool_to, raw_server, rest_of
from tests.support.servers import free_port
from tests.support.upstream import CLOSE, RESET, Pause, Request, Step, Wait, chunk, stream_head


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TICK_S", 0.02)


HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"


# ── no connection ────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_refused_connection_makes_the_upstream_unreachable() -> None:
    async with pool_to(f"http://127.0.0.1:{free_port()}") as pool:
        with pytest.raises(UpstreamUnreachable, match="no connection to upstream main"):
            await begin(pool)


@on_a_loop
async def test_a_name_that_is_not_known_makes_the_upstream_unreachable() -> None:
    async with pool_to("http://nowhere.invalid") as pool:
        with pytest.raises(UpstreamUnreachable, match="no connection to upstream main"):
            await begin(pool)


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose listener takes no more connections: the kernel drops what is sent to it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@on_a_loop
async def test_a_connection_that_takes_longer_than_connect_s_makes_the_upstream_unreachable(full_port: int) -> None:
    async with pool_to(f"http://127.0.0.1:{full_port}") as pool:
        with pytest.raises(UpstreamUnreachable, match=r"no connection to upstream main in 0\.2 s"):
            await begin(pool, timeouts=Timeouts(connect_s=0.2))


@on_a_loop
async def test_a_handshake_that_takes_longer_than_connect_s_makes_the_upstream_unreachable() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with raw_server(silent) as port, pool_to(f"https://127.0.0.1:{port}") as pool:
        with pytest.raises(UpstreamUnreachable, match=r"in 0\.2 s"):
            await begin(pool, timeouts=Timeouts(connect_s=0.2))


# ── silence ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
@on_a_loop
async def test_an_upstream_that_does_not_answer_in_time_is_given_up(server: CountingUpstream, beginning: bytes) -> None:
    server.script = lambda request: [beginning, Wait()]

    async with pool_to(server.url) as pool:
        with pytest.raises(UpstreamTimeout, match="before its answer began"):
            await begin(pool, timeouts=Timeouts(connect_s=30, first_byte_s=0.2, idle_s=0.2))
        await eventually(lambda: server.stopped == 1)


@on_a_loop
async def test_an_upstream_may_take_longer_to_begin_than_between_two_pieces(server: CountingUpstream) -> None:
    go = Wait()

    def script(request: Request) -> list[Step]:
        return [go, plain(b"slow")] if request.target == "/slow" else [HALF, Wait()]

    server.script = script
    async with pool_to(server.url) as pool:
        slow = asyncio.create_task(fetch(pool, b"/slow", timeouts=Timeouts(first_byte_s=60, idle_s=0.05)))
        stuck = await begin(pool, b"/stuck", timeouts=Timeouts(first_byte_s=60, idle_s=0.05))
        with pytest.raises(UpstreamTimeout):
            await rest_of(stuck)

        go.until.set()
        assert await slow == b"slow"


@on_a_loop
async def test_an_upstream_that_falls_silent_is_given_up_after_what_came(server: CountingUpstream) -> None:
    server.script = lambda request: [HALF, Wait()]

    async with pool_to(server.url) as pool:
        answer = await begin(pool, timeouts=Timeouts(connect_s=30, first_byte_s=30, idle_s=0.2))
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamTimeout, match="between two pieces"):
            await answer.read()
        answer.close()
        await eventually(lambda: server.stopped == 1)


@on_a_loop
async def test_each_piece_gives_the_next_one_idle_s(server: CountingUpstream) -> None:
    go = Wait()
    server.script = lambda request: [stream_head(), chunk(b"one"), go, chunk(b"two"), Wait()]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        assert await answer.read() == b"one"
        first_deadline = answer.deadline  # type: ignore[attr-defined]
        go.until.set()
        assert await answer.read() == b"two"

        assert first_deadline < answer.deadline < math.inf  # type: ignore[attr-defined]
        answer.close()


@on_a_loop
async def test_an_upstream_that_takes_no_more_of_the_request_is_given_up() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await ended.wait()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            if next(iter(pool._busy)).is_closed:
                return  # As a client would leave: nobody reads on.

    ended = asyncio.Event()
    async with raw_server(deaf) as port, pool_to(f"http://127.0.0.1:{port}") as pool:
        with pytest.raises(UpstreamTimeout):
            await begin(pool, body=body(), timeouts=Timeouts(connect_s=30, first_byte_s=30, idle_s=0.2))
        ended.set()


@on_a_loop
async def test_a_body_is_not_read_to_its_end_for_an_upstream_that_is_gone() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b"x"

    async with raw_server(reset) as port, pool_to(f"http://127.0.0.1:{port}") as pool, asyncio.timeout(10):
        with pytest.raises(UpstreamBroken):
            await begin(pool, body=endless())


# ── ends and garbage ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["reset", "close"])
@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["nothing", "half", "100"],
)
@on_a_loop
async def test_an_end_before_the_head_is_whole_is_no_answer(
    server: CountingUpstream, beginning: bytes, end: Step
) -> None:
    server.script = lambda request: [beginning, Pause(0.02), end]

    async with pool_to(server.url) as pool:
        with pytest.raises(UpstreamBroken, match="closed the connection"):
            await begin(pool)


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["reset", "close"])
@pytest.mark.parametrize(
    "beginning",
    [HALF, stream_head() + chunk(b"half"), stream_head() + b"9\r\nhalf", stream_head() + chunk(b"half") + b"0\r\n"],
    ids=["length", "chunks", "a chunk", "the last chunk"],
)
@on_a_loop
async def test_an_end_in_the_middle_of_a_body_comes_after_what_arrived(
    server: CountingUpstream, beginning: bytes, end: Step
) -> None:
    server.script = lambda request: [beginning, Pause(0.02), end]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamBroken, match="before its answer was whole"):
            await answer.read()
        assert not answer.ended()
        answer.close()


@on_a_loop
async def test_a_reset_does_not_end_a_body_that_lasts_until_the_close(server: CountingUpstream) -> None:
    server.script = lambda request: [b"HTTP/1.1 200 OK\r\n\r\nhalf", Pause(0.02), RESET]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        assert await answer.read() == b"half"
        with pytest.raises(UpstreamBroken):
            await answer.read()
        answer.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nBad Name : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
@on_a_loop
async def test_what_is_not_an_http_answer_is_refused(server: CountingUpstream, garbage: bytes) -> None:
    server.script = lambda request: [garbage, Wait()]

    async with pool_to(server.url) as pool:
        with pytest.raises(UpstreamBroken):
            await begin(pool)
        await eventually(lambda: server.open == 0)


@on_a_loop
async def test_a_broken_chunk_ends_the_answer(server: CountingUpstream) -> None:
    server.script = lambda request: [stream_head() + chunk(b"good"), Pause(0.02), b"zz\r\n", Wait()]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        assert await answer.read() == b"good"
        with pytest.raises(UpstreamBroken, match="not HTTP"):
            await answer.read()
        answer.close()


# ── bytes that no call asked for ─────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_second_answer_glued_to_the_first_is_not_the_next_calls(server: CountingUpstream) -> None:
    server.script = lambda request: [plain(b"yours") + plain(b"poison")] if request.target == "/1" else [plain(b"mine")]

    async with pool_to(server.url) as pool:
        assert [await fetch(pool, b"/1"), await fetch(pool, b"/2")] == [b"yours", b"mine"]


@pytest.mark.parametrize(
    "poison", [plain(b"poison"), b"HTTP/1.1 200", b"x", b"\r\n"], ids=["answer", "half", "x", "line"]
)
@on_a_loop
async def test_bytes_on_an_idle_connection_are_not_the_next_calls(server: CountingUpstream, poison: bytes) -> None:
    go = Wait()
    server.script = lambda request: [plain(b"yours"), go, poison] if request.target == "/1" else [plain(b"mine")]

    async with pool_to(server.url) as pool:
        assert await fetch(pool, b"/1") == b"yours"
        go.until.set()
        await eventually(lambda: all(connection.is_closed for connection in pool._idle))

        assert await fetch(pool, b"/2") == b"mine"
    assert server.accepted == 2


@on_a_loop
async def test_a_body_longer_than_its_length_is_cut_and_its_connection_ended(server: CountingUpstream) -> None:
    server.script = lambda request: [plain(b"hello") + b"and more"] if request.target == "/1" else [plain(b"mine")]

    async with pool_to(server.url) as pool:
        assert [await fetch(pool, b"/1"), await fetch(pool, b"/2")] == [b"hello", b"mine"]
    assert server.accepted == 2


@on_a_loop
async def test_a_body_after_204_is_not_the_next_calls(server: CountingUpstream) -> None:
    server.script = lambda request: (
        [b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison"] if request.target == "/1" else [plain(b"mine")]
    )

    async with pool_to(server.url) as pool:
        assert [await fetch(pool, b"/1"), await fetch(pool, b"/2")] == [b"", b"mine"]


# ── what is no answer, and what is no end ────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_status_that_is_none_is_no_answer(server: CountingUpstream) -> None:
    server.script = lambda request: [plain(b"?", "999 What")]

    async with pool_to(server.url) as pool:
        with pytest.raises(UpstreamBroken, match="999"):
            await fetch(pool)


@on_a_loop
async def test_an_answer_until_the_close_that_is_given_up_here_is_not_whole(server: CountingUpstream) -> None:
    """Only the upstream's own end is the end of such a body."""
    server.script = lambda request: [b"HTTP/1.1 200 OK\r\n\r\npart", Wait()]

    async with pool_to(server.url) as pool:
        answer = await begin(pool, timeouts=Timeouts(connect_s=30, first_byte_s=30, idle_s=0.1))
        assert await answer.read() == b"part"
        with pytest.raises(UpstreamTimeout):
            await answer.read()
        assert not answer.ended()
        answer.close()
