"""The two ends of a benchmark: an upstream that answers at once, and clients that ask as fast as they are answered.

Both are processes of their own on core 0; what is measured is the target between them, on core 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
CHUNKS = 50
INTERVAL_S = 0.02

_USAGE = {"prompt_tokens": 21, "completion_tokens": 25, "total_tokens": 46}
_CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello. " * 20}, "finish_reason": "stop"}
_ANSWER = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [_CHOICE], "usage": _USAGE})
JSON_ANSWER = (
    f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(_ANSWER)}\r\n\r\n{_ANSWER}".encode()
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _chunk(data: Mapping[str, object] | str) -> bytes:
    event = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


_DELTA = {"id": "c", "object": "chat.completion.chunk", "model": "m", "service_tier": "default", "choices": [
    {"index": 0, "delta": {"content": "word "}, "logprobs": None, "finish_reason": None}]}  # fmt: skip
STREAM_CHUNK = _chunk(_DELTA)
STREAM_END = _chunk({"id": "c", "choices": [], "usage": _USAGE}) + _chunk("[DONE]") + b"0\r\n\r\n"


class Mock(asyncio.Protocol):
    """The upstream: JSON at once, or a stream of CHUNKS every INTERVAL_S."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length and len(body) < int(length[1]):
            return
        self._data = b""
        if b'"stream":true' in body:
            self._transport.write(STREAM_HEAD)
            self._stream(CHUNKS)
        else:
            self._transport.write(JSON_ANSWER)

    def _stream(self, left: int) -> None:
        if left == 0:
            self._transport.write(STREAM_END)
            return
        self._transport.write(STREAM_CHUNK)
        asyncio.get_running_loop().call_later(INTERVAL_S, self._stream, left - 1)


class Client(asyncio.Protocol):
    """One connection in a closed loop: it asks, reads the whole answer, asks again."""

    def __init__(self, requests: Iterable[bytes], result: Result, end: float) -> None:
        self._requests = iter(requests)
        self._result = result
        self._end = end
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if time.perf_counter() >= self._end:
            self._transport.close()
            return
        self._head = b""
        self._left = -1
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._result.chunks += data.count(b"data: ")
        if self._left < 0:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._result.failed += 1
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else 1 << 60
            data = body
        self._left -= len(data)
        if self._left == 0 or (self._left > 1 << 59 and data.endswith(b"0\r\n\r\n")):
            self._result.latencies.append(time.perf_counter() - self._asked)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None or time.perf_counter() < self._end:
            self._result.failed += 1
        if not self.done.done():
            self.done.set_result(None)


class Result:
    """What one load saw."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.chunks = 0
        self.failed = 0

    def summary(self) -> dict[str, float]:
        ordered = sorted(self.latencies) or [0.0]
        return {
            "requests": len(self.latencies),
            "chunks": self.chunks,
            "failed": self.failed,
            "p50_us": 1e6 * ordered[len(ordered) // 2],
            "p99_us": 1e6 * ordered[len(ordered) * 99 // 100],
        }


def request(key: str, stream: bool) -> bytes:
    body = json.dumps(
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why does the quick brown fox jump?"}],
         "max_tokens": 256} | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {}),
        separators=(",", ":"),
    )  # fmt: skip
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def load(port: int, connections: int, seconds: float, keys: list[str], *, stream: bool) -> dict[str, float]:
    """Asks for `seconds` over `connections`, each with keys of its own."""
    loop = asyncio.get_running_loop()
    result = Result()
    end = time.perf_counter() + seconds
    clients = []
    for number in range(connections):
        own = [request(key, stream) for key in keys[number::connections] or keys]
        client = Client(_cycle(own), result, end)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.wait([client.done for client in clients], timeout=seconds + 20)
    return result.summary()


def _cycle(requests: list[bytes]) -> Iterable[bytes]:
    while True:
        yield from requests


async def mock(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["mock", "load"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--keys")
    options = parser.parse_args()
    if options.role == "mock":
        uvloop.run(mock(options.port))
    else:
        with open(options.keys) as file:
            keys = file.read().split()
        print(
            json.dumps(
                uvloop.run(load(options.port, options.connections, options.seconds, keys, stream=options.stream))
            )
        )


if __name__ == "__main__":
    main()
