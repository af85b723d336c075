"""Answers of every shape: how they are framed, cut into packets, and taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.domain.errors import UpstreamBroken, UpstreamTimeout
from gateway.domain.route import Timeouts
from gateway.proxy import upstream as pools
from gateway.proxy.upstream import HIGH_WATER_BYTES
from tests.proxy.pools import CountingUpstream, begin, eventually, fetch, on_a_loop, plain, pool_to, raw_server, rest_of
from tests.support.upstream import CLOSE, END, Request, Step, Wait, chunk, stream_answer, stream_head

#: Name, answer, its body, and whether the connection can be used again.
FRAMINGS = [
    ("length", plain(b"hello"), b"hello", True),
    ("length of zero", plain(b""), b"", True),
    ("chunked", stream_head() + chunk(b"hel") + chunk(b"lo") + END, b"hello", True),
    ("chunked with extensions", stream_head() + b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello", True),
    ("chunked with trailers", stream_head() + chunk(b"hello") + b"0\r\nX-Cost: 1\r\n\r\n", b"hello", True),
    ("chunked and empty", stream_head() + END, b"", True),
    ("until the close", b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello", b"hello", False),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    ("304", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b"", True),
    ("100 before it", b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"hello"), b"hello", True),
    (
        "103 before it",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 9\r\n\r\n" + plain(b"hello"),
        b"hello",
        True,
    ),
    (
        "102 twice, then until the close",
        b"HTTP/1.1 102 P\r\n\r\n" * 2 + b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"hello",
        False,
    ),
    ("binary", plain(bytes(range(240, 256)) + b"\0\r\n\r\n"), bytes(range(240, 256)) + b"\0\r\n\r\n", True),
]


@pytest.mark.parametrize(
    ("answer", "body", "reusable"), [case[1:] for case in FRAMINGS], ids=[case[0] for case in FRAMINGS]
)
@on_a_loop
async def test_every_framing_is_read(server: CountingUpstream, answer: bytes, body: bytes, reusable: bool) -> None:
    server.script = lambda request: [answer] if reusable else [answer, CLOSE]

    async with pool_to(server.url) as pool:
        assert [await fetch(pool), await fetch(pool)] == [body, body]

    assert server.accepted == (1 if reusable else 2)


@pytest.mark.parametrize(
    ("answer", "body", "reusable"), [case[1:] for case in FRAMINGS], ids=[case[0] for case in FRAMINGS]
)
@on_a_loop
async def test_an_answer_is_the_same_wherever_it_is_cut(
    answer: bytes, body: bytes, reusable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = fed = 0
    packets: list[bytes] = []

    def count(connection: pools._Connection, data: bytes) -> None:
        nonlocal fed
        receive(connection, data)
        fed += len(data)

    receive = pools._Connection.data_received
    monkeypatch.setattr(pools._Connection, "data_received", count)

    async def in_packets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            for packet in packets:
                await eventually(lambda: fed == sent)  # noqa: B023  it is called at once
                sent += len(packet)
                writer.write(packet)
            if not reusable:
                return

    async with raw_server(in_packets) as port, pool_to(f"http://127.0.0.1:{port}") as pool:
        for packets in (
            *([answer[:at], answer[at:]] for at in range(1, len(answer))),
            [b"%c" % byte for byte in answer],
        ):
            assert await fetch(pool, method=b"GET", body=b"") == body, packets


@on_a_loop
async def test_a_status_and_headers_come_as_they_were_sent(server: CountingUpstream) -> None:
    server.script = lambda request: [
        b"HTTP/1.1 418 I'm a teapot\r\nX-A: 1\r\nx-a:  2\r\nContent-Length: 0\r\nX-Latin: caf\xe9\r\n\r\n"
    ]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)

        assert answer.status == 418
        assert answer.headers == [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"0"), (b"x-latin", b"caf\xe9")]


@on_a_loop
async def test_the_headers_of_an_interim_answer_are_not_the_answers(server: CountingUpstream) -> None:
    server.script = lambda request: [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + plain(b"", "201 Created")]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)

        assert (answer.status, answer.headers) == (201, [(b"content-length", b"0")])


@on_a_loop
async def test_trailers_do_not_become_headers(server: CountingUpstream) -> None:
    server.script = lambda request: [
        stream_head("text/plain") + chunk(b"hello") + b"0\r\nContent-Type: text/html\r\nX-Cost: 1\r\n\r\n"
    ]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        await eventually(lambda: answer._complete)  # type: ignore[attr-defined]

        assert answer.headers == [(b"content-type", b"text/plain"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize("framing", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""])
@on_a_loop
async def test_the_answer_to_a_head_has_no_body_whatever_it_says(server: CountingUpstream, framing: str) -> None:
    server.script = lambda request: (
        [f"HTTP/1.1 200 OK\r\n{framing}\r\n".encode()] if request.method == "HEAD" else [plain(b"a body")]
    )

    async with pool_to(server.url) as pool:
        answer = await begin(pool, method=b"HEAD", body=b"")
        assert (answer.status, await rest_of(answer)) == (200, b"")
        assert await fetch(pool) == b"a body"


@on_a_loop
async def test_each_piece_is_handed_on_when_it_comes(server: CountingUpstream) -> None:
    gates = [Wait() for _ in range(3)]

    def script(request: Request) -> Iterator[Step]:
        yield stream_head()
        for number, gate in enumerate(gates):
            yield gate
            yield chunk(b"data: %d\n\n" % number)
        yield Wait()

    server.script = script
    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        for number, gate in enumerate(gates):
            gate.until.set()
            assert await answer.read() == b"data: %d\n\n" % number
            assert not answer.ended()
        answer.close()


@on_a_loop
async def test_an_answer_has_ended_once_its_last_piece_is_taken(server: CountingUpstream) -> None:
    server.script = lambda request: stream_answer([b"one", b"two"])

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        await eventually(lambda: answer._complete)  # type: ignore[attr-defined]
        assert not answer.ended()

        assert await answer.read() == b"onetwo"

        assert answer.ended()
        assert await answer.read() == b""
        answer.close()


@on_a_loop
async def test_a_large_answer_waits_for_a_slow_reader_and_arrives_whole(server: CountingUpstream) -> None:
    whole = threading.Event()
    piece, count = bytes(range(256)) * 256, 256

    def script(request: Request) -> Iterator[Step]:
        if request.target == "/small":
            yield plain(b"ok")
            return
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count)
        for _ in range(count):
            yield piece
        whole.set()

    server.script = script
    async with pool_to(server.url) as pool:
        answer = await begin(pool, b"/large")
        await eventually(lambda: answer._paused)  # type: ignore[attr-defined]
        for _ in range(20):  # The loop goes on meanwhile; an answer that is not held back would too.
            await fetch(pool, b"/small")
        assert not whole.is_set()

        first = await answer.read()
        # What one read from the socket may bring on top: asyncio takes 256 KiB at the most.
        assert HIGH_WATER_BYTES < len(first) <= HIGH_WATER_BYTES + 256 * 1024
        assert first + await rest_of(answer) == piece * count
        await fetch(pool, b"/small")

    assert server.accepted == 2


@on_a_loop
async def test_a_slow_reader_is_not_the_upstreams_fault(
    server: CountingUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline rests while an answer is held back."""
    monkeypatch.setattr(pools, "TICK_S", 0.02)
    impatient = Timeouts(connect_s=30, first_byte_s=0.2, idle_s=0.2)
    body = b"x" * 4 * 2**20

    server.script = lambda request: [Wait()] if request.target == "/silent" else [plain(body)]
    async with pool_to(server.url) as pool:
        answer = await begin(pool, b"/large", timeouts=impatient)
        await eventually(lambda: answer._paused)  # type: ignore[attr-defined]
        with pytest.raises(UpstreamTimeout):  # So the time is over for calls with these deadlines.
            await begin(pool, b"/silent", timeouts=impatient)

        assert await rest_of(answer) == body


@on_a_loop
async def test_a_large_request_waits_for_a_slow_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()
    taken = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(plain(b"ok"))
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(512):
            taken += 1
            yield b"x" * 65_536

    async with raw_server(slow, limit=65_536) as port, pool_to(f"http://127.0.0.1:{port}") as pool:
        call = asyncio.create_task(fetch(pool, body=body()))
        await eventually(lambda: any(connection._write_paused for connection in pool._busy))
        for _ in range(50):
            await asyncio.sleep(0)
        assert taken < 512

        call.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await call


@on_a_loop
async def test_an_answer_that_comes_before_the_request_is_whole_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as 413 from an upstream that takes no more of it, and keeps its connection open."""
    monkeypatch.setattr(pools, "TICK_S", 0.02)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(b"too large", "413 Content Too Large"))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await ended.wait()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    ended = asyncio.Event()
    timeouts = Timeouts(connect_s=30, first_byte_s=0.5, idle_s=0.5)
    async with raw_server(refuse) as port, pool_to(f"http://127.0.0.1:{port}") as pool:
        try:
            async with asyncio.timeout(10):
                answer = await begin(pool, body=body(), timeouts=timeouts)
                assert answer.status == 413
                answer.close()
        except (UpstreamTimeout, UpstreamBroken):
            pass  # An answer is better, an end is enough.
        finally:
            ended.set()
