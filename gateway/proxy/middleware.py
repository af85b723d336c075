"""The governed call, as a story: who calls, what it may cost, is there enough, then the call itself.

`QuotaMiddleware(app)` governs the routes of its config in front of any ASGI app: `ForwardApp`, which calls an upstream,
or a Starlette or FastAPI backend of your own. What is not governed goes to `otherwise`, untouched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, NamedTuple

from gateway.config import Config
from gateway.domain.errors import ScriptFault, StoreUnavailable, StoreUnready
from gateway.domain.principal import Principal
from gateway.domain.reservation import Reserved, Unheld
from gateway.domain.route import Route
from gateway.observe.observation import Observation
from gateway.proxy import headers as header_rules
from gateway.proxy import idempotency, request, verdicts
from gateway.proxy.call import GovernedCall
from gateway.proxy.client_ip import client_ip
from gateway.proxy.gate import Gate
from gateway.proxy.hold import Hold
from gateway.proxy.identity import KEY_HEADERS
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.pace import throttled
from gateway.proxy.refusals import CallRefused, Refusal, render
from gateway.proxy.session import session_in

log = logging.getLogger("quotagate.proxy")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Asked(NamedTuple):
    """A call that is known and read, and not held yet."""

    seen: Observation
    principal: Principal
    route: Route
    facts: request.RequestFacts
    config: Config
    #: None: it streams from the client straight to the inner app.
    body: bytes | None
    #: What its client says it is part of.
    session: str
    scope: Scope
    receive: Receive


class QuotaMiddleware:
    """ASGI middleware. `gate` is started with the server's lifespan, or with the first call."""

    def __init__(self, app: ASGIApp, gate: Gate, otherwise: ASGIApp | None = None) -> None:
        self.app = app
        self.gate = gate
        self.otherwise = otherwise or app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        config = self.gate.config
        if scope["type"] == "http":
            path = scope["path"]
            route = config.routes.match(scope["method"], path) or config.routes.governs(path)
            if route is not None:
                await self._observed(route, config, scope, receive, send)
            else:
                await self.otherwise(scope, receive, send)
        elif scope["type"] == "websocket" and config.routes.governs(scope["path"]) is not None:
            await _refuse_websocket(receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.otherwise(scope, receive, send)

    async def _observed(self, route: Route, config: Config, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves or refuses one governed call, and tells the observer how it went."""
        observer = self.gate.observer
        seen = observer.arrived(self.gate.new_id(), route.path, route.upstream, scope["headers"])
        try:
            refusal = await self._serve(seen, route, config, scope, receive, send)
            if refusal is not None:
                seen.refused(refusal.status, refusal.code, next(iter(refusal.violated), None))
                await refuse(refusal, route.dialect, seen.request_id, send)
        finally:
            observer.ended(seen)

    async def _serve(
        self, seen: Observation, route: Route, config: Config, scope: Scope, receive: Receive, send: Send
    ) -> Refusal | None:
        """Serves one governed call. Returns why not, when it was refused before it reached the inner app."""
        gate = self.gate
        gate.start()
        if scope["method"] not in route.methods:
            return _wrong_method(scope)
        headers = dict(scope["headers"])
        if (fault := fault_in(scope, headers, config)) is not None:
            return fault
        try:
            principal = await gate.identifier.identify(scope, headers, config)
            seen.identified(principal.account, principal.key)
            if not principal.may(route.operation):
                return INSUFFICIENT_SCOPE

            if _is_too_long(headers, config):
                return _too_large(config.max_request_bytes)
            content_type = headers.get(b"content-type", b"")
            key = headers.get(idempotency.HEADER) if config.idempotency is not None else None
            body: bytes | None = None
            must_read = request.must_be_read(content_type) or route.operation in config.read_operations
            if must_read or key is not None:
                read = await _read_body(receive, config)
                if isinstance(read, Refusal) or read is None:
                    return read
                body = read
            else:
                receive = _bounded(receive, config)
            if must_read and body is not None:
                facts = request.read(route, scope["path"], content_type, body)
            else:
                facts = request.unread(scope["path"])

            seen.read(facts.model)
            session = session_in(headers) or ""
            asked = _Asked(seen, principal, route, facts, config, body, session, scope, receive)
            if key is None:
                return await self._govern(asked, seen.request_id, send)
            claim = idempotency.claim(gate, config, seen.request_id, key, principal, scope, body or b"", send)
            if isinstance(claim, Refusal):
                return claim
            refusal = await claim.run(partial(self._govern, asked, claim.id, claim.send, claim))
            if claim.replayed_status:
                seen.replayed(claim.replayed_status)
            return refusal
        except CallRefused as error:
            return error.refusal
        except request.UnreadableBody as error:
            return Refusal(400, "invalid_request_body", str(error))
        except StoreUnavailable as error:
            log.warning("a call was refused: %s", error, extra={"request_id": seen.request_id})
            return UNREADY if isinstance(error, StoreUnready) else _STORE_UNAVAILABLE
        except ScriptFault:
            log.exception("a call was refused", extra={"request_id": seen.request_id})
            return verdicts.INTERNAL

    async def _govern(
        self, asked: _Asked, id: str, send: Send, claim: idempotency.Claim | None = None
    ) -> Refusal | None:
        """Holds what the call may cost, and makes it. Raises StoreUnavailable and ScriptFault when it is not held."""
        gate = self.gate
        _, principal, route, facts, config, body, session, scope, receive = asked
        address = partial(client_ip, scope, config.trusted_proxies)
        try:
            decision = await gate.hold(id, principal, route, facts, config, address=address, session=session)
        except StoreUnavailable:
            decision = gate.without_hold(principal, route, facts, config)
            if decision is None:
                raise
        if decision is None:
            return Refusal(404, "model_not_priced", f"There is no price for the model {facts.model!r} here.")
        asked.seen.reserved(decision.tier.name)
        if not isinstance(decision.verdict, (Reserved, Unheld)):
            return verdicts.refusal_of(decision, principal.account, config, route.dialect, gate.now_ms())
        scope["headers"] = gate.observer.pass_on(asked.seen, scope["headers"])
        if body is not None and request.must_ask_for_usage(route, facts):
            body = request.ask_for_usage(body)
        applied = decision.applied
        if applied.throttles and (paces := gate.paces.of(applied.throttles, _who(asked, address))):
            send = throttled(send, paces, lambda: call.output_tokens, lambda: call.client_is_gone)
        if applied.is_noted:
            verdicts.note(applied, decision.verdict.states, gate.observer)
        hold = Hold(gate, config, route, principal, facts, decision, decision.verdict)
        call = GovernedCall(gate, config, route, facts, hold, body, receive, send, asked.seen)
        if claim is not None:
            claim.call = call
        await call.run(self.app, scope)
        return None

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def starting() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.gate.start()
            return message

        async def ending(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                await self.gate.close()
            await send(message)

        await self.otherwise(scope, starting, ending)


async def refuse(refusal: Refusal, dialect: str, request_id: str, send: Send) -> None:
    headers, body = render(refusal, dialect, request_id)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


_STORE_UNAVAILABLE = Refusal(
    503,
    "store_unavailable",
    "The quota store cannot be reached, so no call can be paid. Try again shortly.",
    (),
    1000,
)


UNREADY = Refusal(
    503,
    "store_unready",
    "The gateway's balances are being restored, so no call can be paid. Try again shortly.",
    (),
    5000,
)


#: Headers that may stand only once: of two, the gateway and a backend could read different ones.
_SINGLE = (
    b"host",
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"authorization",
    idempotency.HEADER,
    *KEY_HEADERS,
)


def fault_in(scope: Scope, headers: dict[bytes, bytes], config: Config) -> Refusal | None:
    """What is wrong with a request as HTTP: what two readers could read in two ways."""
    if len(headers) != len(scope["headers"]):
        names = [name for name, _ in scope["headers"]]
        trusted = config.trusted_header
        for name in (*_SINGLE, *(trusted.names if trusted else ())):
            if names.count(name) > 1:
                return Refusal(400, "ambiguous_header", f"The header {name.decode()} stands more than once.")
    if b"host" not in headers and scope.get("http_version") != "1.0":
        return Refusal(400, "missing_host", "The Host header is missing.")
    if b"upgrade" in headers and b"websocket" in headers[b"upgrade"].lower():
        return _NO_WEBSOCKET
    if headers.get(b"content-encoding", b"identity") != b"identity":
        return Refusal(415, "encoded_request", "Send the request body without Content-Encoding.")
    if (why := header_rules.path_fault(scope["path"], scope.get("raw_path") or b"")) is not None:
        return Refusal(400, "invalid_path", f"This path is not served: {why}.")
    return None


async def _read_body(receive: Receive, config: Config) -> bytes | Refusal | None:
    """The whole request body; None when the client left before it was sent."""
    limit = config.max_request_bytes
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    if not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body if len(body) <= limit else _too_large(limit)
    pieces, size = [message.get("body", b"")], len(message.get("body", b""))
    try:
        async with asyncio.timeout(config.body_timeout_s):
            while message.get("more_body"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                pieces.append(message.get("body", b""))
                size += len(pieces[-1])
                if size > limit:
                    return _too_large(limit)
    except TimeoutError:
        return _too_slow(config.body_timeout_s)
    return b"".join(pieces)


def _bounded(receive: Receive, config: Config) -> Receive:
    """`receive` for a body that streams to the upstream: bounded in size, and in time between its pieces."""
    size, more = 0, True

    async def receive_piece() -> Message:
        nonlocal size, more
        if not more:  # What comes now is that the client leaves, whenever that is.
            return await receive()
        try:
            async with asyncio.timeout(config.body_timeout_s):
                message = await receive()
        except TimeoutError:
            raise CallRefused(_too_slow(config.body_timeout_s)) from None
        more = message.get("more_body", False)
        size += len(message.get("body", b""))
        if size > config.max_request_bytes:
            raise CallRefused(_too_large(config.max_request_bytes))
        return message

    return receive_piece


def _is_too_long(headers: dict[bytes, bytes], config: Config) -> bool:
    length = headers.get(b"content-length", b"")
    return length.isdigit() and int(length) > config.max_request_bytes


def _too_slow(timeout_s: float) -> Refusal:
    return Refusal(408, "request_timeout", f"The request body took longer than {timeout_s:g} s.")


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "request_too_large", f"The request body is larger than {limit} bytes.")


_NO_WEBSOCKET = Refusal(
    501, "websocket_not_supported", "This route is served over HTTP only; WebSocket upgrades are not supported here."
)


def _wrong_method(scope: Scope) -> Refusal:
    headers = dict(scope["headers"])
    if b"websocket" in headers.get(b"upgrade", b"").lower():
        return _NO_WEBSOCKET
    return Refusal(405, "method_not_allowed", f"{scope['method']} is not served at {scope['path']}.")


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    """A server that speaks WebSocket asks the app first; a close before the acceptance is an HTTP error."""
    await receive()
    await send({"type": "websocket.close", "code": 1011, "reason": _NO_WEBSOCKET.message})


def _who(asked: _Asked, address: Callable[[], str]) -> dict[str, str]:
    """What each dimension of a policy stands for in this call."""
    principal, route = asked.principal, asked.route
    return {
        "account": principal.account,
        "key": principal.key,
        "ip": address(),
        "team": principal.team,
        "organisation": principal.organisation,
        "route": route.path,
        "operation": route.operation,
        "model": asked.facts.model,
    }
