"""A scriptable upstream: raw HTTP/1.1, so that it can answer well, badly, slowly or not at all.

A script is a function from the request to steps: bytes are sent as they are, `Wait` holds until a test lets go, `RESET`
ends the connection with a TCP reset, `CLOSE` ends it in an orderly way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What arrived at the upstream."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Wait:
    """Holds the answer until the event is set, or the gateway goes away."""

    until: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Pause:
    """Holds the answer for a moment: between two pieces of a stream that must be two reads."""

    seconds: float


RESET, CLOSE = object(), object()
Step = bytes | Wait | Pause | object
Script = Callable[[Request], Iterable[Step]]


def json_answer(body: Any, status: int = 200, headers: str = "") -> list[Step]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return [head.encode() + data]


def stream_head(content_type: str = "text/event-stream", headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def stream_answer(pieces: Iterable[bytes], content_type: str = "text/event-stream", headers: str = "") -> list[Step]:
    return [stream_head(content_type, headers), *(chunk(piece) for piece in pieces), END]


def openai_json(prompt: int = 21, completion: int = 25) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def openai_chunk(text: str) -> bytes:
    return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})  # fmt: skip


def openai_usage_chunk(prompt: int, completion: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return sse(
        {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
    )


DONE = b"data: [DONE]\n\n"


def sse(data: Any, event: str | None = None) -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


class Upstream:
    """Serves on loopback from a thread. `script` may be changed at any time; `requests` is what arrived."""

    def __init__(self) -> None:
        self.script: Script = lambda request: json_answer(openai_json())
        self.requests: list[Request] = []
        #: Connections that ended before their answer was whole: the gateway stopped the call.
        self.stopped = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._thread.start()
        self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                request = await _read_request(reader)
                self.requests.append(request)
                if not await self._answer(request, reader, writer):
                    break
        writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Plays the script. Returns whether the connection stays open."""
        for step in self.script(request):
            if step is CLOSE:
                return False
            if step is RESET:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
                return False
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Wait):
                while not step.until.is_set():
                    if reader.at_eof() or writer.is_closing():
                        self.stopped += 1
                        return False
                    await asyncio.sleep(0.01)
            else:
                assert isinstance(step, bytes)
                writer.write(step)
                try:
                    await writer.drain()
                except ConnectionError:
                    self.stopped += 1
                    raise
        return True


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    values = dict(headers)
    if values.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(values.get("content-length", "0")))
    return Request(method, target, headers, body)
