"""Writes that may be repeated: with an `Idempotency-Key` the same request gives the same answer, and acts once.

Two things make it so. The ids that an act gives to Redis and SQL are made of the key, so that an act which is repeated
changes nothing, whatever died in between. And the answer is kept beside the key, as those of governed calls are, so
that a repeat reads what the first one read; but a key that was made is shown once, and kept nowhere: a repeat reads its
public prefix. An answer that refuses is not kept: what was missing may be there by now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute

from gateway.accounts.keys import expanded, shortened
from gateway.api.callers import owner_of, scopes_of
from gateway.api.control import Control
from gateway.api.problems import refused, request_id
from gateway.domain.errors import StoreUnavailable
from gateway.domain.idempotency import Claimed, Done, Reused, Running
from gateway.proxy.refusals import CallRefused, Refusal
from gateway.store import idempotency as calls
from gateway.store.idempotency import Asked

#: How long a request may take before another with its key may act as well; its ids still make the two one.
LEASE_MS = 30_000
_WRITES = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_MAX_KEY = 255


async def _write_id(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=_MAX_KEY, description="Any name of yours for this write: a repeat acts once."),
    ] = None,
) -> str:
    if idempotency_key is None:
        return f"api-{request_id(request)}"
    if not idempotency_key.isascii() or not idempotency_key.isprintable():
        raise CallRefused(_BAD_KEY)
    # Whose account it is about may stand in the query.
    asked = (await owner_of(request), request.method, request.url.path, request.url.query, idempotency_key)
    named = "\n".join(asked)
    return "api-" + hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:40]


#: The id of what a handler writes: the same for each repeat of a request, another for any other.
WriteId = Annotated[str, Depends(_write_id)]


class RepeatableRoute(APIRoute):
    """A route whose writes may be repeated with an `Idempotency-Key`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        act = super().get_route_handler()

        async def handle(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            control: Control = request.app.state.control
            if not key or request.method not in _WRITES or control.config.idempotency is None:
                return await act(request)
            return await _once(request, key, control, act)

        return handle


async def _once(
    request: Request, key: str, control: Control, act: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    rules = control.config.idempotency
    assert rules is not None
    owner = await owner_of(request)
    # What one credential may do, another of the same owner may not: it reads no answer either.
    scopes = " ".join(await scopes_of(request))
    asked = Asked(
        control.gate.keys.account(owner),
        _hash(f"{request.method} {request.url.path}\n{key}".encode("utf-8", "surrogatepass")),
        _hash(f"{request.url.query}\n{scopes}\n".encode("utf-8", "surrogatepass") + await request.body()),
    )
    id, store = request_id(request), control.gate.store
    try:
        outcome = await store.run(calls.remember(asked, id, lease_ms=LEASE_MS, keep_ms=rules.keep_ms))
    except StoreUnavailable:  # Some writes can do without Redis, and the ids of each make its repeats one.
        return await act(request)
    if isinstance(outcome, Done):
        kept = dict(line.split(": ", 1) for line in outcome.headers.decode("latin-1").split("\n") if line)
        body = expanded(outcome.body.decode(), request.url.path)  # Whoever names a key knows it.
        return Response(body, outcome.status, kept | {"Idempotent-Replayed": "true"})
    if isinstance(outcome, Running):
        return refused(request, _RUNNING)
    if isinstance(outcome, Reused):
        return refused(request, _REUSED)
    if not isinstance(outcome, Claimed):  # Whoever had the key died, or its answer was too large: its ids act once.
        return await act(request)
    end = calls.keep(asked, id, "free", keep_ms=rules.keep_ms)
    try:
        answer = await act(request)
        if answer.status_code < 300 and len(answer.body) <= rules.max_bytes:
            headers = f"content-type: {answer.headers['content-type']}".encode("latin-1")
            end = calls.keep(
                asked, id, "done", keep_ms=rules.keep_ms, status=answer.status_code, headers=headers,
                body=shortened(bytes(answer.body).decode()).encode(),
            )  # fmt: skip
    finally:
        # Before the answer leaves: whoever has it and asks again at once is told the same.
        await control.gate.outbox.run(end)
    return answer


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


_BAD_KEY = Refusal(
    400, "invalid_idempotency_key", f"An Idempotency-Key has 1 to {_MAX_KEY} printable ASCII characters."
)
_RUNNING = Refusal(
    409, "idempotency_in_progress", "The request with this Idempotency-Key is still running.", retry_after_ms=1000
)
_REUSED = Refusal(422, "idempotency_key_reused", "This Idempotency-Key belongs to another request. Use a new one.")
