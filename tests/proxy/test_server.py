"""The guarded server protocol, by a real uvicorn on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from gateway.server import MAX_HEAD_BYTES, guarded_protocol
from tests.support.processes import CHECKOUT
from tests.support.servers import free_port
from tests.support.waiting import until

REQUEST = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with what it was asked: path and body."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    told = scope["path"].encode() + b" " + body + b"".join(v for n, v in scope["headers"] if n == b"x-told")
    headers = [(b"content-length", b"%d" % len(told))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


@contextlib.contextmanager
def serving(header_timeout_s: float, body_timeout_s: float = 60) -> Iterator[int]:
    """The port of a server in a thread."""
    protocol = guarded_protocol(header_timeout_s, body_timeout_s)
    config = uvicorn.Config(
        echo, host="127.0.0.1", port=0, loop="uvloop", http=protocol, ws="none",
        lifespan="off", access_log=False, log_config=None, timeout_keep_alive=75,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    until(lambda: server.started, what="uvicorn")
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def patient() -> Iterator[int]:
    """A server that is never the first to lose patience."""
    with serving(header_timeout_s=60) as port:
        yield port


@pytest.fixture(scope="module")
def impatient() -> Iterator[int]:
    with serving(header_timeout_s=1) as port:
        yield port


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        yield client


def read_to_end(client: socket.socket) -> bytes:
    """All that comes before the server closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65_536):
            data += piece
    return data


def read_until(client: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = client.recv(65_536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


# ── heads that never end ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "])
def test_a_head_that_is_not_finished_in_time_is_cut_off(impatient: int, beginning: bytes) -> None:
    with connected(impatient) as client:
        client.sendall(beginning)

        assert read_to_end(client) == b""


def test_a_head_that_trickles_in_is_cut_off_all_the_same(impatient: int) -> None:
    """The time counts from its first byte, not from its last."""
    with connected(impatient) as client:
        client.settimeout(0.02)
        client.sendall(b"GET / HTTP/1.1\r\nX-A: ")

        def sends_on() -> bool:
            try:
                client.sendall(b"x")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(sends_on, what="the end of the connection")


def test_a_second_head_that_is_not_finished_in_time_is_cut_off(impatient: int) -> None:
    with connected(impatient) as client:
        client.sendall(REQUEST % 1)
        read_until(client, b"/1 ")
        client.sendall(b"GET /2 HTTP/1.1\r\nHo")

        assert read_to_end(client) == b""


def test_a_head_that_begins_behind_another_request_is_cut_off_in_time(impatient: int) -> None:
    """Both arrive in one packet, so no further one begins its time."""
    with connected(impatient) as client:
        client.settimeout(10)
        client.sendall(REQUEST % 1 + b"GET /2 HTTP/1.1\r\nHo")

        assert read_to_end(client).endswith(b"/1 ")


def test_a_slow_body_is_not_a_slow_head(impatient: int) -> None:
    with connected(impatient) as client, connected(impatient) as idle:
        client.sendall(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        assert read_to_end(idle) == b""  # So the time of a head is over.
        client.sendall(b"llo")

        assert read_until(client, b"hello").endswith(b"/1 hello")


def test_a_connection_that_is_kept_alive_is_not_a_slow_head(impatient: int) -> None:
    with connected(impatient) as client, connected(impatient) as idle:
        client.sendall(REQUEST % 1)
        read_until(client, b"/1 ")
        assert read_to_end(idle) == b""
        client.sendall(REQUEST % 2)

        assert read_until(client, b"/2 ")


# ── heads that are too large ─────────────────────────────────────────────────────────────────────────────────────────


def head_of(size: int) -> bytes:
    """A whole head of this many bytes."""
    begin, end = b"GET /1 HTTP/1.1\r\nHost: a\r\nX-A: ", b"\r\n\r\n"
    return begin + b"x" * (size - len(begin) - len(end)) + end


def test_a_head_below_the_limit_is_taken(patient: int) -> None:
    with connected(patient) as client:
        client.sendall(head_of(MAX_HEAD_BYTES))

        assert read_until(client, b"/1 ").startswith(b"HTTP/1.1 200")


def test_a_head_that_grows_beyond_the_limit_is_refused(patient: int) -> None:
    with connected(patient) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(head_of(MAX_HEAD_BYTES * 4)[:-4])

        assert read_to_end(client).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


@pytest.mark.parametrize(
    "head",
    [
        head_of(MAX_HEAD_BYTES * 2),
        b"GET /" + b"x" * MAX_HEAD_BYTES * 2 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nHost: a\r\n" + b"X-A: x\r\n" * MAX_HEAD_BYTES + b"\r\n",
    ],
    ids=["value", "target", "many"],
)
def test_a_head_beyond_the_limit_that_arrives_at_once_is_refused(head: bytes) -> None:
    """One read from a socket takes up to 256 KiB: such a head may be whole before anybody counts."""

    class Transport(asyncio.Transport):
        written = b""
        closing = False

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return default

        def write(self, data: Any) -> None:
            self.written += data

        def is_closing(self) -> bool:
            return self.closing

        def close(self) -> None:
            self.closing = True

        def pause_reading(self) -> None: ...
        def resume_reading(self) -> None: ...

    async def story() -> bytes:
        config = uvicorn.Config(echo, http=guarded_protocol(60), ws="none", lifespan="off", log_config=None)
        config.load()
        protocol = guarded_protocol(60)(config=config, server_state=uvicorn.Server(config).server_state, app_state={})
        transport = Transport()
        protocol.connection_made(transport)
        protocol.data_received(head)
        await asyncio.sleep(0)
        protocol.connection_lost(None)
        return transport.written

    assert asyncio.run(story()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))


def test_a_large_body_is_no_large_head(patient: int) -> None:
    body = b"x" * MAX_HEAD_BYTES * 4

    with connected(patient) as client:
        for _ in range(2):
            client.sendall(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert read_until(client, body).endswith(b"/1 " + body)


# ── bodies and trailers ──────────────────────────────────────────────────────────────────────────────────────────────

CHUNKED = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_that_does_not_come_is_not_waited_for_for_ever() -> None:
    with serving(header_timeout_s=1, body_timeout_s=1) as port, connected(port) as client:
        client.sendall(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")

        assert read_to_end(client) == b""


@pytest.mark.parametrize("apart", [False, True])
def test_a_trailer_does_not_become_a_header(patient: int, apart: bool) -> None:
    """It comes after everything that was decided by the headers."""
    with connected(patient) as client:
        client.sendall(CHUNKED + (b"" if apart else b"2\r\nhi\r\n0\r\nX-Told: evil\r\n\r\n"))
        if apart:
            client.sendall(b"2\r\nhi\r\n0\r\nX-Told: evil\r\n\r\n")

        assert read_until(client, b"/1 hi").endswith(b"/1 hi")


def test_trailers_beyond_the_limit_are_refused(patient: int) -> None:
    with connected(patient) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(CHUNKED + b"0\r\n" + b"X-A: x\r\n" * MAX_HEAD_BYTES)

        assert read_to_end(client).startswith(b"HTTP/1.1 400")


# ── what must go on working ──────────────────────────────────────────────────────────────────────────────────────────


def test_requests_share_a_connection(patient: int) -> None:
    with connected(patient) as client:
        for number in range(20):
            client.sendall(REQUEST % number)
            assert read_until(client, b"/%d " % number).startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests_are_answered_in_order(patient: int) -> None:
    requests = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d" % (number, number) for number in range(50)
    )

    with connected(patient) as client:
        client.sendall(requests)
        answers = read_until(client, b"/49 049")

    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/%d %03d" % (number, number) for number in range(50)]


def test_a_request_may_arrive_byte_by_byte(patient: int) -> None:
    with connected(patient) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            client.sendall(bytes([byte]))

        assert read_until(client, b"abc").endswith(b"/1 abc")


@pytest.mark.parametrize(
    "garbage",
    [
        b"not HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: a\r\n b\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_garbage_is_refused(patient: int, garbage: bytes) -> None:
    with connected(patient) as client:
        client.sendall(garbage)

        assert read_to_end(client).startswith(b"HTTP/1.1 400")


PROGRAM = """
import sys
from gateway import server
from tests.proxy.test_server import echo

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await echo(scope, receive, send)

server.run(app, "127.0.0.1", int(sys.argv[1]), 10.0)
"""


def test_run_serves_until_it_is_told_to_end() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)], env=os.environ | {"PYTHONPATH": str(CHECKOUT)}
    )

    def answer() -> bytes:
        assert process.poll() is None
        try:
            with connected(port) as client:
                client.sendall(REQUEST % 1)
                return read_until(client, b"/1 ")
        except ConnectionRefusedError:
            return b""

    try:
        head = until(answer, 60, "the server").lower()
        assert b"\r\nserver:" not in head
        assert b"\r\ndate:" not in head
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
