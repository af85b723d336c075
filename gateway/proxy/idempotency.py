"""`Idempotency-Key`: the same key and request give the stored outcome, never a second call or charge.

A claim stands around one governed call. It is made before anything is held, renewed while the call runs, and ends
before the client has the last byte: with the answer as it was sent, or with the key set free when nothing came of the
call. A gateway that dies in between leaves a claim whose lease runs out, and then nobody may use the key: the call may
have been made.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.config import Config
from gateway.config.idempotency import Idempotency
from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.domain.idempotency import Claimed, Done, Lost, Reused, Running, Taken, Unkept
from gateway.domain.principal import Principal
from gateway.proxy.call import GovernedCall
from gateway.proxy.gate import Gate
from gateway.proxy.headers import target
from gateway.proxy.leases import renewal_s
from gateway.proxy.refusals import Refusal
from gateway.store import idempotency as calls
from gateway.store.calls import Call
from gateway.store.idempotency import Asked, State

log = logging.getLogger("quotagate.proxy")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

HEADER = b"idempotency-key"
MAX_KEY_BYTES = 255
#: When a repeat of a call that is under way may ask again.
RETRY_MS = 1000


def claim(
    gate: Gate, config: Config, id: str, key: bytes, principal: Principal, scope: Scope, body: bytes, send: Send
) -> Claim | Refusal:
    """A call's claim on the key it came with, to be `run`; or why that is no key."""
    if not 1 <= len(key) <= MAX_KEY_BYTES or not all(0x20 <= byte <= 0x7E for byte in key):
        message = f"An Idempotency-Key has 1 to {MAX_KEY_BYTES} printable ASCII characters."
        return Refusal(400, "invalid_idempotency_key", message)
    asked_for = target(scope["raw_path"], scope["query_string"])
    request = b"%b %b\n%b" % (scope["method"].encode(), asked_for, body)
    account_key = gate.keys.account(principal.account)
    asked = Asked(account_key, hashlib.sha256(key).hexdigest(), hashlib.sha256(request).hexdigest())
    assert config.idempotency is not None
    return Claim(gate, config.idempotency, config.lease_ms, asked, id, send)


#: Refusals of an upstream that another attempt may not meet: timeout, conflict, rate limit.
_PASSING = (408, 409, 429)


class Claim:
    """One call's claim on a key. Its `send` stands between the call and the client, and writes down what passes."""

    #: The call, once there is one.
    call: GovernedCall | None = None
    #: The status of the stored answer that was sent again; 0: none was.
    replayed_status = 0
    renew_at = 0.0
    _start: Message | None = None
    _has_ended = _client_left = False

    def __init__(self, gate: Gate, rules: Idempotency, lease_ms: int, asked: Asked, id: str, send: Send) -> None:
        self._gate = gate
        self._rules = rules
        self._lease_ms = lease_ms
        self._asked = asked
        self.id = id
        self._client_send = send
        #: What was sent of the body; None: too much to keep.
        self._pieces: list[bytes] | None = []
        self._size = 0

    async def run(self, serve: Callable[[], Awaitable[Refusal | None]]) -> Refusal | None:
        """Serves the call, or answers with what became of it. Raises StoreUnavailable and ScriptFault."""
        try:
            outcome = await self._gate.store.run(self._remember())
        except (Indeterminate, ScriptFault, asyncio.CancelledError):
            self._gate.outbox.later(self._keep("free"))  # It may be claimed, for a call that goes nowhere now.
            raise
        if isinstance(outcome, Done):
            await self._replay(outcome)
            return None
        if not isinstance(outcome, Claimed):
            return _refusal(outcome)
        self._gate.leases.claims[self.id] = self
        self._renew_later()
        try:
            return await serve()
        finally:
            del self._gate.leases.claims[self.id]
            # No whole answer was sent. What was charged was called, and must not be called again.
            await self._end("unkept" if self._was_charged() else "free")

    async def send(self, message: Message) -> None:
        """Passes a message to the client. It is written down though the client has left: it will ask again."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._write_down(message.get("body", b""))
            if not message.get("more_body"):
                await self._end(self._state())
        if not self._client_left:
            try:
                await self._client_send(message)
            except OSError:
                self._client_left = True

    async def renew(self) -> None:
        """Lengthens the lease. One that ran out meanwhile is mended: this call is still the key's."""
        self._renew_later()
        try:
            await self._gate.store.run(self._remember())
        except (StoreUnavailable, ScriptFault) as error:
            log.warning("the Idempotency-Key of %s was not renewed: %s", self.id, error)

    def _renew_later(self) -> None:
        self.renew_at = self._gate.loop.time() + renewal_s(self._lease_ms)

    def _write_down(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._rules.max_bytes:
            self._pieces = None
        elif self._pieces is not None:
            self._pieces.append(data)

    def _was_charged(self) -> bool:
        return self.call is not None and self.call.charged

    def _state(self) -> State:
        """What becomes of a whole answer. A failure that passes, and cost nothing, may be tried again."""
        assert self._start is not None
        status = self._start["status"]
        if (status >= 500 or status in _PASSING) and not self._was_charged():
            return "free"
        return "unkept" if self._pieces is None else "done"

    async def _end(self, state: State) -> None:
        """Ends the claim, once."""
        if self._has_ended:
            return
        self._has_ended = True
        keep = self._keep(state)
        try:
            outcome = await self._gate.outbox.run(keep)
        except asyncio.CancelledError:
            self._gate.outbox.later(keep)
            raise
        if isinstance(outcome, Taken):
            log.error("the Idempotency-Key of %s was lost with Redis's data, and %s has it", self.id, outcome.other)

    def _remember(self) -> Call[calls.RememberOutcome]:
        return calls.remember(self._asked, self.id, lease_ms=self._lease_ms, keep_ms=self._rules.keep_ms)

    def _keep(self, state: State) -> Call[calls.KeepOutcome]:
        start = self._start or {"status": 0}
        headers = body = b""
        if state == "done":
            headers = b"\n".join([b"%b: %b" % (name, value) for name, value in start["headers"]])
            body = b"".join(self._pieces or [])
        return calls.keep(
            self._asked, self.id, state,
            keep_ms=self._rules.keep_ms, status=start["status"], headers=headers, body=body,
        )  # fmt: skip

    async def _replay(self, done: Done) -> None:
        """Sends an answer again, byte for byte; a stream comes in one piece."""
        lines = [line.partition(b": ") for line in done.headers.split(b"\n")]
        headers = [(name, value) for name, _, value in lines if name]
        headers.append((b"idempotent-replayed", b"true"))
        self.replayed_status = done.status
        await self._client_send({"type": "http.response.start", "status": done.status, "headers": headers})
        await self._client_send({"type": "http.response.body", "body": done.body, "more_body": False})


def _refusal(outcome: Running | Lost | Unkept | Reused) -> Refusal:
    if isinstance(outcome, Running):
        message = f"The call with this Idempotency-Key, {outcome.other}, is still running. Ask again when it has ended."
        return Refusal(409, "idempotency_in_progress", message, retry_after_ms=RETRY_MS)
    if isinstance(outcome, Reused):
        message = f"This Idempotency-Key belongs to another request, {outcome.other}. Use a new one."
        return Refusal(422, "idempotency_key_reused", message)
    if isinstance(outcome, Lost):
        message = (
            f"The gateway that served the call with this Idempotency-Key, {outcome.other}, died meanwhile: it may have "
            "been made or not, and is not made again. Use a new key to make it."
        )
        return Refusal(409, "idempotency_outcome_unknown", message)
    message = (
        f"The call with this Idempotency-Key, {outcome.other}, has ended with status {outcome.status}. Its answer was "
        "too large to keep, or was never whole, and the call is not made again. Use a new key to make it."
    )
    return Refusal(409, "idempotency_outcome_not_kept", message)
