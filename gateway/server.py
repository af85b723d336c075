"""uvicorn, with the guards it lacks (FACTS section 7): half-sent heads do not stay open for ever, and heads are
bounded."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: A request line and headers larger than this are refused.
MAX_HEAD_BYTES = 64 * 1024


def guarded_protocol(header_timeout_s: float, body_timeout_s: float = 60.0) -> type[HttpToolsProtocol]:
    """An HTTP protocol class that gives each head `header_timeout_s` and MAX_HEAD_BYTES, and each piece of a body
    `body_timeout_s`."""

    class GuardedProtocol(HttpToolsProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._head_bytes = 0
            self._in_body = False
            # One timer a connection looks at all of these times, so that a request sets none.
            #: Since when a head is awaited, on the loop's clock; None: no head has begun.
            self._head_since: float | None = None
            #: When the last piece of a body came.
            self._body_since = 0.0
            #: Since when nothing is asked and nothing is answered.
            self._idle_since: float | None = None
            self._timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.transport = CorkedTransport(transport, self.loop)  # type: ignore[assignment]
            self._head_since = self.loop.time()
            self._timer = self.loop.call_later(header_timeout_s, self._look_at_time)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_body:
                self._body_since = self.loop.time()
            else:
                self._head_bytes += len(data)
            super().data_received(data)
            if self._in_body:
                too_large = bool(self.headers) and self._head_size() > MAX_HEAD_BYTES
            else:
                too_large = self._head_bytes > MAX_HEAD_BYTES
            if too_large and not self.transport.is_closing():
                self.send_400_response("Request head too large.")

        def on_message_begin(self) -> None:
            self._head_since = self.loop.time()
            self._idle_since = None
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            # The head may have come in one piece with a body, or with other requests.
            if self._head_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
                raise ValueError("the head is too large")  # The parser answers it with 400.
            self._in_body = True
            self._head_bytes = 0
            self._head_since = self._idle_since = None
            self._body_since = self.loop.time()
            super().on_headers_complete()
            # What is added from here on are trailers (RFC 9110, 6.5): nobody asked for any, and they come after the
            # headers were looked at, so they do not join those of the request.
            self.headers = []

        def on_message_complete(self) -> None:
            self._in_body = False
            self._head_bytes = 0
            super().on_message_complete()

        def _head_size(self) -> int:
            return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

        def on_response_complete(self) -> None:
            if self.pipeline or self.transport.is_closing():
                super().on_response_complete()
                return
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._idle_since = self.loop.time()

        def _look_at_time(self) -> None:
            now = self.loop.time()
            left_s = [header_timeout_s]
            if self._head_since is not None:
                left_s.append(self._head_since + header_timeout_s - now)
            if self._idle_since is not None:
                left_s.append(self._idle_since + self.timeout_keep_alive - now)
            if self._in_body and not self.flow.read_paused:
                left_s.append(self._body_since + body_timeout_s - now)
            if min(left_s) > 0:
                self._timer = self.loop.call_later(min(left_s), self._look_at_time)
            elif not self.transport.is_closing():
                self.transport.close()

    return GuardedProtocol


class CorkedTransport:
    """A transport that joins what is written in one turn of the loop: a head and its body leave in one packet.

    Each write to a socket costs more than all the rest of an answer (DESIGN section 6).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._pending: list[bytes] = []
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._pending:
            self._call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._pending:
            data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending.clear()
            self._transport.write(data)


class _Server(uvicorn.Server):
    """Says that it was asked to stop, before it does."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._on_stop is not None:
            self._on_stop()
        super().handle_exit(sig, frame)


def run(
    app: Any,
    host: str,
    port: int,
    header_timeout_s: float,
    body_timeout_s: float = 60.0,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM, of which `on_stop` hears first. Open calls get 20 s to end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=guarded_protocol(header_timeout_s, body_timeout_s),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
        backlog=4096,
    )
    # What exists now lives as long as the process: it need not be looked at again. Collections become rare, because a
    # call makes few cycles and many objects (DESIGN section 6).
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    _Server(config, on_stop).run()
