"""The sandbox over HTTP: an ASGI app around the desk, with a courier beside it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.sandbox import courier, page
from gateway.sandbox.bank import Bank
from gateway.sandbox.desk import Desk, Reply, Request
from gateway.sandbox.faults import parse_faults

#: How often it looks for webhooks that are due, and whether replies that wait were released.
LOOK_S = 0.05
#: A larger body is refused.
MAX_BYTES = 1_048_576


def serve(port: int, webhook_url: str, secret: str, token: str, state: Path | None, faults: Sequence[str]) -> None:
    """Serves on loopback until it is ended. Raises RefusedInput for faults that there are not."""
    bank = Bank(faults=parse_faults(faults), state=state)
    bank.address = f"http://127.0.0.1:{port}"
    # Nothing but what stops it: answers that are lost are no errors here.
    uvicorn.run(
        create_app(Desk(bank, secret=secret, token=token), webhook_url), host="127.0.0.1", port=port,
        log_level="critical",
    )  # fmt: skip


def create_app(desk: Desk, webhook_url: str) -> Starlette:
    """`webhook_url`: where webhooks go; empty: nowhere."""

    async def anything(request: HttpRequest) -> Response:
        body = await _body(request)
        if body is None:
            return Response(status_code=413)
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        asked = Request(request.method, target, {name.lower(): value for name, value in request.headers.items()}, body)
        before = desk.releases
        # In a thread: the courier may hold the desk for a moment.
        reply = await asyncio.to_thread(desk.answer, asked)
        await _waited(desk, before, reply.wait_s)
        return _Lost() if reply.is_lost else _response(reply)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        posting = asyncio.create_task(_post_for_ever(desk, webhook_url))
        yield
        posting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await posting

    return Starlette(routes=[Route("/{path:path}", anything, methods=["GET", "POST"])], lifespan=lifespan)


async def _post_for_ever(desk: Desk, webhook_url: str) -> None:
    with httpx2.Client(timeout=courier.TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
        while True:
            await asyncio.sleep(LOOK_S)
            with desk.lock:
                desk.bank.expire()
            if webhook_url:
                await asyncio.to_thread(courier.post_due, desk, client, webhook_url)


async def _waited(desk: Desk, before: int, wait_s: int) -> None:
    until = time.monotonic() + wait_s
    while time.monotonic() < until and desk.releases == before:  # noqa: ASYNC110  releases come from threads
        await asyncio.sleep(LOOK_S)


async def _body(request: HttpRequest) -> bytes | None:
    """None: it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            return None
    return bytes(body)


def _response(reply: Reply) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", "content-security-policy": page.POLICY}
    return Response(reply.body, reply.status, headers, media_type=reply.content_type)


class _Lost(Response):
    """No answer: its head promises a body that never comes, so that the server ends the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": [(b"content-length", b"1")]})
