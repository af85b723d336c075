"""How the pool calls: what it sends, and which connection it takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import pytest
import uvloop

from gateway.domain.errors import UpstreamBroken
from gateway.proxy import upstream as pools
from tests.proxy.pools import CountingUpstream, begin, eventually, fetch, on_a_loop, plain, pool_to, raw_server, rest_of
from tests.support.upstream import CLOSE, Request, Step, Wait

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a story on each kind of loop."""
    return asyncio.run if request.param == "asyncio" else uvloop.run


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_arrives_as_it_was_given(server: CountingUpstream, run: Run) -> None:
    async def story() -> None:
        async with pool_to(server.url) as pool:
            await fetch(pool, b"/v1/x?alt=sse&q=%20+", headers=[(b"accept", b"*/*")], body=b'{"a": 1}')

    run(story())

    [request] = server.requests
    assert (request.method, request.target, request.body) == ("POST", "/v1/x?alt=sse&q=%20+", b'{"a": 1}')
    assert request.headers == [("host", f"127.0.0.1:{server.port}"), ("accept", "*/*"), ("content-length", "8")]


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        (b"GET", b"", None),
        (b"DELETE", b"", None),
        (b"POST", b"", "0"),
        (b"PUT", b"", "0"),
        (b"GET", b"{}", "2"),
        (b"PATCH", b"{}", "2"),
    ],
)
@on_a_loop
async def test_a_length_is_said_where_a_body_could_be(
    server: CountingUpstream, method: bytes, body: bytes, length: str | None
) -> None:
    async with pool_to(server.url) as pool:
        await fetch(pool, method=method, body=body)

    assert server.requests[0].header("content-length") == length


def test_a_streamed_body_arrives_whole_and_chunked(server: CountingUpstream, run: Run) -> None:
    pieces = [b"a" * 70_000, b"", b"b", b"c" * 1_000_000]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece

    async def story() -> None:
        async with pool_to(server.url) as pool:
            await fetch(pool, body=body())

    run(story())

    assert server.requests[0].body == b"".join(pieces)
    assert server.requests[0].header("transfer-encoding") == "chunked"
    assert server.requests[0].header("content-length") is None


@on_a_loop
async def test_a_streamed_body_that_fails_ends_its_connection(server: CountingUpstream) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"the beginning"
        raise UpstreamBroken("the client left before its request was whole")

    async with pool_to(server.url) as pool:
        with pytest.raises(UpstreamBroken, match="client left"):
            await begin(pool, body=body())
        await eventually(lambda: server.accepted == 1 and server.open == 0)
        await fetch(pool)

    assert [request.body for request in server.requests] == [b"{}"]


@on_a_loop
async def test_the_path_of_the_base_url_comes_before_the_target(server: CountingUpstream) -> None:
    async with pool_to(f"{server.url}/openai/deployments/") as pool:
        await fetch(pool, b"/v1/x?a=1")

    assert server.requests[0].target == "/openai/deployments/v1/x?a=1"


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("http://backend.example", b"backend.example"),
        ("http://backend.example:80/api", b"backend.example"),
        ("http://backend.example:8080", b"backend.example:8080"),
        ("http://backend.example:443", b"backend.example:443"),
        ("https://backend.example", b"backend.example"),
        ("https://backend.example:443", b"backend.example"),
        ("https://backend.example:80", b"backend.example:80"),
        ("http://[::1]:9000", b"[::1]:9000"),
        ("http://[2001:db8::1]", b"[2001:db8::1]"),
    ],
)
@on_a_loop
async def test_the_host_header_names_the_port_only_when_it_is_not_the_schemes_own(base_url: str, host: bytes) -> None:
    async with pool_to(base_url) as pool:
        assert pool._host_header == host


def test_an_upstream_can_be_named_by_an_ipv6_address(run: Run) -> None:
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(plain(b"six"))
        await reader.read()

    async def story() -> None:
        async with raw_server(answer, "::1") as port, pool_to(f"http://[::1]:{port}") as pool:
            assert await fetch(pool, method=b"GET", body=b"") == b"six"
            assert f"host: [::1]:{port}\r\n".encode() in received[0]

    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6 loopback: {error}")
    run(story())


# ── which connection ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_one_after_the_other_share_a_connection(server: CountingUpstream, run: Run) -> None:
    async def story() -> None:
        async with pool_to(server.url) as pool:
            for _ in range(20):
                await fetch(pool)

    run(story())

    assert server.accepted == 1
    assert len(server.requests) == 20


@on_a_loop
async def test_calls_at_once_have_a_connection_each(server: CountingUpstream) -> None:
    go = Wait()
    server.script = lambda request: [go, plain(b"ok")]

    async with pool_to(server.url) as pool:
        calls = [asyncio.create_task(fetch(pool)) for _ in range(5)]
        await eventually(lambda: len(server.requests) == 5)
        go.until.set()

        assert await asyncio.gather(*calls) == [b"ok"] * 5
    assert server.accepted == 5


@on_a_loop
async def test_the_connection_used_last_is_used_next(server: CountingUpstream) -> None:
    async with pool_to(server.url) as pool:
        first, second = await begin(pool, b"/first"), await begin(pool, b"/second")
        await rest_of(second)
        await rest_of(first)

        await fetch(pool, b"/third")

    assert dict(zip((r.target for r in server.requests), server.ports, strict=True))["/third"] == server.ports[0]


def test_an_idle_connection_is_closed_after_keepalive_s(
    server: CountingUpstream, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TICK_S", 0.01)

    async def story() -> None:
        async with pool_to(server.url, keepalive_s=0.05) as pool:
            await fetch(pool)
            await eventually(lambda: server.open == 0)
            await fetch(pool)

    run(story())

    assert server.accepted == 2


@on_a_loop
async def test_idle_connections_are_closed_each_in_its_time(
    server: CountingUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TICK_S", 0.01)

    async with pool_to(server.url, keepalive_s=0.05) as pool:
        answers = [await begin(pool) for _ in range(3)]
        for answer in answers:
            await rest_of(answer)

        await eventually(lambda: server.open == 0)

    assert server.accepted == 3


@on_a_loop
async def test_a_connection_that_the_upstream_closed_is_not_used_again(server: CountingUpstream) -> None:
    server.script = lambda request: [plain(b"ok"), CLOSE]

    async with pool_to(server.url) as pool:
        for _ in range(3):
            assert await fetch(pool) == b"ok"
            await eventually(lambda: all(connection.is_closed for connection in pool._idle))

    assert server.accepted == 3


@pytest.mark.parametrize(
    "answer",
    [
        plain(b"ok", headers="Connection: close\r\n"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: foo, Close\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
@on_a_loop
async def test_an_upstream_that_says_it_will_close_is_believed(server: CountingUpstream, answer: bytes) -> None:
    server.script = lambda request: [answer]

    async with pool_to(server.url) as pool:
        assert [await fetch(pool), await fetch(pool)] == [b"ok", b"ok"]

    assert server.accepted == 2


@on_a_loop
async def test_an_answer_that_was_not_read_to_its_end_is_stopped_upstream(server: CountingUpstream) -> None:
    server.script = lambda request: [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Wait()]

    async with pool_to(server.url) as pool:
        answer = await begin(pool)
        assert await answer.read() == b"half"
        answer.close()
        await eventually(lambda: server.stopped == 1)

        server.script = lambda request: [plain(b"next")]
        assert await fetch(pool) == b"next"

    assert server.accepted == 2


@on_a_loop
async def test_a_connection_is_not_given_back_before_its_request_is_whole() -> None:
    """What is left of the request would be read as the beginning of the next one."""
    ended = asyncio.Event()

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"early")
        writer.write(plain(b"no", "401 Unauthorized"))
        await reader.read()
        ended.set()

    async def body() -> AsyncIterator[bytes]:
        yield b"early"
        await eventually(lambda: any(connection._complete for connection in pool._busy))
        raise UpstreamBroken("the client left before its request was whole")

    async with raw_server(answer_early) as port, pool_to(f"http://127.0.0.1:{port}") as pool:
        with pytest.raises(UpstreamBroken, match="client left"):
            await begin(pool, body=body())

        await eventually(ended.is_set, 5)


@on_a_loop
async def test_closing_the_pool_closes_its_connections(server: CountingUpstream) -> None:
    def script(request: Request) -> Iterable[Step]:
        return [plain(b"ok")] if request.target == "/idle" else [Wait()]

    server.script = script
    async with pool_to(server.url) as pool:
        busy = asyncio.create_task(fetch(pool, b"/busy"))
        await fetch(pool, b"/idle")
        await eventually(lambda: len(server.requests) == 2)
        await pool.close()

        with pytest.raises(UpstreamBroken):
            await busy
        await eventually(lambda: server.open == 0)
