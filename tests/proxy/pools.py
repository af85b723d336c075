"""What the tests of the upstream pool stand on: short calls over a pool, and an upstream that tells its connections
apart."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ParamSpec

from gateway.domain.route import Timeouts
from gateway.domain.route import Upstream as UpstreamSettings
from gateway.proxy.upstream import Pool, UpstreamAnswer
from tests.support import upstream as scripted
from tests.support.waiting import until

P = ParamSpec("P")

#: For calls that are meant to be answered: no noise of the machine runs into them.
PATIENT = Timeouts(connect_s=30, first_byte_s=30, idle_s=30)


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs a coroutine as a test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@contextlib.asynccontextmanager
async def pool_to(base_url: str, **settings: Any) -> AsyncIterator[Pool]:
    """A pool that is closed at the end."""
    pool = Pool(UpstreamSettings("main", base_url, **{"keepalive_s": 60.0} | settings))
    try:
        yield pool
    finally:
        await pool.close()


async def begin(
    pool: Pool,
    target: bytes = b"/v1/x",
    *,
    method: bytes = b"POST",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes | AsyncIterator[bytes] = b"{}",
    timeouts: Timeouts = PATIENT,
) -> UpstreamAnswer:
    """An answer whose head is there."""
    return await pool.send(method, target, headers or [], body, timeouts)


async def rest_of(answer: UpstreamAnswer) -> bytes:
    """All that is left of an answer, which is then closed."""
    pieces = []
    try:
        while not answer.ended():
            pieces.append(await answer.read())
    finally:
        answer.close()
    return b"".join(pieces)


async def fetch(pool: Pool, target: bytes = b"/v1/x", **options: Any) -> bytes:
    """The body of one whole call."""
    return await rest_of(await begin(pool, target, **options))


async def eventually(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Lets the loop go on until a condition is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def raw_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[int]:
    """The port of a server that does what `handle` says with each connection. To hold one open, read to its end."""
    tasks: set[asyncio.Task[Any]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(guarded, host, 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=20)
        await asyncio.sleep(0)


def plain(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """An answer with a length."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class CountingUpstream(scripted.Upstream):
    """A scriptable upstream that tells its connections apart."""

    def __init__(self) -> None:
        #: The client's port of each request's connection, in the order of `requests`.
        self.ports: list[int] = []
        #: Connections that were made, used or not.
        self.accepted = 0
        #: Connections that are open now.
        self.open = 0
        super().__init__()

    def close(self) -> None:
        """Ends when every connection has: a loop that stops earlier leaves sockets behind."""
        until(lambda: self.open == 0, what="the end of the upstream's connections")
        super().close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open += 1
        try:
            await super()._serve(reader, writer)
        finally:
            self.open -= 1

    async def _answer(
        self, request: scripted.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        self.ports.append(writer.get_extra_info("peername")[1])
        return await super()._answer(request, reader, writer)
