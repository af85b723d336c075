"""One governed call, from its hold to its end. It stands between the inner app and the client as `receive` and `send`.

Whatever happens, the hold (gateway.proxy.hold) ends exactly once, whole, cut or broken off, and before the last byte
leaves: whoever has the whole answer and asks for the balance sees this call in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

from gateway.config import Config
from gateway.domain.errors import UpstreamBroken, UpstreamError
from gateway.domain.price import UsagePrice
from gateway.domain.route import Route
from gateway.meters import Meter, open_meter
from gateway.observe.observation import Observation
from gateway.proxy.bill import End, bill, counted, used_so_far
from gateway.proxy.cover import Cover, Line
from gateway.proxy.endings import Cut, Record, ending_of
from gateway.proxy.gate import Gate
from gateway.proxy.hold import Hold
from gateway.proxy.leases import renewal_s
from gateway.proxy.refusals import CallRefused, Refusal, render
from gateway.proxy.request import RequestFacts, must_ask_for_usage
from gateway.proxy.stream import UsageChunkFilter
from gateway.store.calls import RenewOutcome

log = logging.getLogger("quotagate.proxy")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: A JSON answer up to this size waits for its end, so that its headers can carry the balance after it.
COLLECT_BYTES = 1024 * 1024
#: When a stream has said its last word, that word waits so long for the end of the stream: joined streams have several.
LAST_WORD_S = 0.25
#: How many calls of a process read on for clients that left; beyond it they stop at once.
MAX_DRAINING = 200


class GovernedCall:
    """See the module. `run` serves the call through an inner app."""

    _meter: Meter | None = None
    #: Keeps a stream whose cost grows with it within its hold.
    _cover: Cover | None = None
    _filter: UsageChunkFilter | None = None
    #: The stream ends in a comment that carries the balance.
    _says_balance = False
    #: The answer's start, until it is sent on.
    _start: Message | None = None
    _status = 0
    _started = _is_stream = _body_taken = _client_left = _stopped = _is_cut = False
    #: The pieces of a JSON answer that waits for its end; None: pieces pass as they come.
    _collected: list[bytes] | None = None
    _collected_bytes = 0
    #: The last word of a stream, which goes out when the call is settled.
    _last_word = b""
    _last_word_timer: asyncio.TimerHandle | None = None
    _last_word_task: asyncio.Task[None] | None = None
    _task: asyncio.Task[Any] | None = None
    #: Resolves when the call has ended; made when someone waits for it.
    _ended: asyncio.Future[None] | None = None
    _has_ended = False
    _is_head = False
    # As the keeper of leases sees it.
    watched = False
    #: Its client has left; the call may go on for a while.
    client_is_gone = False
    renew_at = 0.0

    def __init__(
        self,
        gate: Gate,
        config: Config,
        route: Route,
        facts: RequestFacts,
        hold: Hold,
        body: bytes | None,
        receive: Receive,
        send: Send,
        seen: Observation,
    ) -> None:
        self.id = hold.id
        self.config = config
        self.route = route
        self._gate = gate
        self._facts = facts
        self._hold = hold
        #: None: it streams from the client straight to the inner app.
        self._body = body
        self._client_receive = receive
        self._client_send = send
        self._seen = seen

    async def run(self, app: ASGIApp, scope: MutableMapping[str, Any]) -> None:
        """Serves the call. Ends with its hold concluded, whatever happened."""
        loop = self._gate.loop
        self._task = asyncio.current_task(loop)
        self._renew_later()
        scope["quotagate"] = self
        self._is_head = scope["method"] == "HEAD"
        open_calls = self._gate.leases.open
        open_calls[self.id] = self
        try:
            await app(scope, self.receive, self.send)
            if not self._hold.concluded:
                await self._broke_off(UpstreamBroken("the answer ended before it was whole"))
        except UpstreamError as error:
            await self._broke_off(error)
        except CallRefused as error:
            await self._conclude(End.BROKEN)
            await self._refuse(error.refusal)
        except asyncio.CancelledError:
            await self._conclude(End.LEFT)
            if not self._stopped or self._task is None:
                raise
            self._task.uncancel()
        except Exception:
            await self._conclude(End.BROKEN)
            raise
        finally:
            open_calls.pop(self.id, None)
            del scope["quotagate"]  # It would close a circle, for the collector to find.
            self._task = None
            self._has_ended = True
            if self._cover is not None:
                self._cover.close()
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(None)
            if self._last_word_timer is not None:
                self._last_word_timer.cancel()

    @property
    def charged(self) -> bool:
        """It ended with a charge, if only of 0, and not with its hold given back."""
        return self._hold.charged

    @property
    def output_tokens(self) -> int:
        """What has been counted of the answer so far."""
        return 0 if self._meter is None else self._meter.counted_output()

    # ── towards the inner app ────────────────────────────────────────────────────────────────────────────────────────

    async def receive(self) -> Message:
        if not self._body_taken:
            if self._body is None:
                message = await self._client_receive()
                self._body_taken = not message.get("more_body")
                return message
            self._body_taken = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        # The client may have left, but the call goes on until its drain ends: that is when the app hears of it.
        await asyncio.shield(self._until_ended())
        return {"type": "http.disconnect"}

    def _until_ended(self) -> asyncio.Future[None]:
        if self._ended is None:
            self._ended = self._gate.loop.create_future()
            if self._has_ended:
                self._ended.set_result(None)
        return self._ended

    # ── towards the client ───────────────────────────────────────────────────────────────────────────────────────────

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await self._on_body(message.get("body", b""), message.get("more_body", False))
        elif message["type"] == "http.response.start":
            self._on_start(message)
        else:
            await self._pass_on(message)

    def _on_start(self, message: Message) -> None:
        self._seen.answering()
        self._start = message
        self._status = message["status"]
        content_type = encoding = ""
        for name, value in message.get("headers", ()):
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"content-encoding":
                encoding = value.decode("latin-1")
        self._meter = open_meter(self.route.dialect, content_type, encoding, self.route.usage_path)
        self._is_stream = "event-stream" in content_type or "ndjson" in content_type
        if not self._is_stream and not self._facts.stream and "json" in content_type:
            self._collected = []
        if (
            isinstance(self._hold.charge, UsagePrice)
            and (self._is_stream or self._facts.stream)
            and self._status < 300
            and not encoding  # No words could be put behind a compressed stream.
        ):
            self._cover = self._cover_for(self._hold.charge, self._meter, content_type)
        self._says_balance = self.route.stream_balance and "event-stream" in content_type and not encoding
        if self._is_stream and must_ask_for_usage(self.route, self._facts):
            self._filter = UsageChunkFilter()

    async def _on_body(self, data: bytes, more: bool) -> None:
        if self._is_cut:
            await asyncio.sleep(0)  # The app is cancelled, and hears of it here.
            return
        meter, cover = self._meter, self._cover
        if cover is not None and (self._hold.concluded or not more):
            data, cover = cover.release() + data, None
        if meter is not None and not self._hold.concluded:
            if cover is None:
                meter.feed(data)
            elif not cover.passes(data):
                admitted = await cover.admit(data)
                if isinstance(admitted, Line):
                    await self._cut(admitted)
                    return
                data = admitted
            if not more:
                meter.finish()
                await self._conclude(End.WHOLE)
            elif meter.complete:
                self._wait_for_the_end(data)
                return
        if self._last_word_timer is not None or self._last_word_task is not None:
            await self._say_last_word()
        await self._forward(data, more)

    def _wait_for_the_end(self, data: bytes) -> None:
        self._last_word += data
        if self._last_word_timer is None:
            self._last_word_timer = self._gate.loop.call_later(LAST_WORD_S, self._no_end_came)

    def _no_end_came(self) -> None:
        self._last_word_task = asyncio.ensure_future(self._settle_without_end())

    async def _settle_without_end(self) -> None:
        await self._conclude(End.WHOLE)
        word, self._last_word = self._last_word, b""
        await self._forward(word, more=True)

    async def _say_last_word(self) -> None:
        """The stream went on, or ended: what waited goes out first."""
        if self._last_word_timer is not None:
            self._last_word_timer.cancel()
            self._last_word_timer = None
        if self._last_word_task is not None:
            await self._last_word_task
            self._last_word_task = None
        if self._last_word:
            word, self._last_word = self._last_word, b""
            await self._forward(word, more=True)

    async def _forward(self, data: bytes, more: bool) -> None:
        if self._filter is not None:
            data = self._filter.feed(data) if more else self._filter.feed(data) + self._filter.rest()
        if self._collected is not None:
            self._collected.append(data)
            self._collected_bytes += len(data)
            if more and self._collected_bytes <= COLLECT_BYTES:
                return
            data, self._collected = b"".join(self._collected), None
        if self._start is not None:
            start, self._start = self._start, None
            self._started = True
            has_length = not more and not self._is_stream and self._status not in (204, 304) and not self._is_head
            await self._pass_on(self._with_balance(start, len(data) if has_length else None))
        if not more and self._says_balance:
            # Some streams end without their last line end.
            data += (b"" if data.endswith(b"\n") or not data else b"\n\n") + self._hold.balance_comment()
        if data or not more:
            await self._pass_on({"type": "http.response.body", "body": data, "more_body": more})

    def _with_balance(self, start: Message, length: int | None) -> Message:
        """The start of the answer, with the balance in its headers, and the length when it is known."""
        headers = start.get("headers", ())
        if length is not None:
            headers = [item for item in headers if item[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % length))
        balance = self._hold.balance_headers()
        return {"type": "http.response.start", "status": self._status, "headers": [*headers, *balance]}

    async def _pass_on(self, message: Message) -> None:
        if not self._client_left:
            try:
                await self._client_send(message)
            except OSError:  # ASGI 2.4: the client has left. The call goes on until its drain ends.
                self._client_left = True

    # ── a stream that outgrows its hold (gateway.proxy.cover) ────────────────────────────────────────────────────────

    def _cover_for(self, charge: UsagePrice, meter: Meter, content_type: str) -> Cover:
        route = self.route
        new_meter = partial(open_meter, route.dialect, content_type, "", route.usage_path)
        record = Record(ending_of(route.dialect), content_type)
        return Cover(meter, new_meter, record, charge, self._facts, route, self._hold.amount, self._renew)

    async def _cut(self, line: Line) -> None:
        """Charges what was delivered, ends the stream in its dialect, and stops the call upstream."""
        assert self._cover is not None
        self._is_cut = True
        await self._say_last_word()
        if not self._hold.concluded:
            charged = (line.cost, line.usage)
            self._seen.was_cut = True
            self._seen.answered(self._status, False, False, charged)
            self._seen.settled(await self._hold.end(self._status, charged))
        log.info("the stream of %s is cut at %d unit(s): %s", self.id, line.cost, line.code)
        cut = Cut(self.id, self._facts.model, line.usage, self._facts.asks_usage, line.code, line.message)
        await self._forward(line.data + self._cover.record.end(cut), more=False)
        if self._task is not None:
            self._stopped = True
            self._task.cancel()
            await asyncio.sleep(0)

    # ── the end of the hold ──────────────────────────────────────────────────────────────────────────────────────────

    async def _conclude(self, end: End) -> None:
        """Settles or releases, once."""
        hold = self._hold
        if hold.concluded:
            return
        charged = bill(
            end, self._status, self._body_taken, self._started,
            self._meter, hold.charge, self._facts, self.route, hold.amount,
        )  # fmt: skip
        self._seen.answered(self._status, self._client_left or end is End.LEFT, end is End.BROKEN, charged)
        self._seen.settled(await hold.end(self._status, charged))

    async def _broke_off(self, error: UpstreamError) -> None:
        """The inner app did not bring its answer to an end."""
        is_whole = self._meter is not None and self._meter.complete
        await self._conclude(End.WHOLE if is_whole else End.BROKEN)
        await self._say_last_word()
        if is_whole and self._collected is not None:  # It has said its last word, and is paid for.
            await self._forward(b"", more=False)
            return
        log.warning("call %s at %s broke off: %s", self.id, self.route.path, error, extra={"request_id": self.id})
        status = 504 if error.code == "upstream_timeout" else 502
        sentence = f"The backend did not answer as it should: {error}. Nothing was charged."
        await self._refuse(Refusal(status, error.code, sentence))

    async def _refuse(self, refusal: Refusal) -> None:
        self._seen.refused(self._status if self._started else refusal.status, refusal.code)
        if self._started:
            return  # The server sees an answer without an end and closes the connection: the client sees it too.
        headers, body = render(refusal, self.route.dialect, self.id)
        await self._pass_on({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self._pass_on({"type": "http.response.body", "body": body, "more_body": False})

    # ── calls that last (gateway.proxy.leases) ───────────────────────────────────────────────────────────────────────

    async def renew(self) -> None:
        """Lengthens the lease and notes what was counted."""
        if not self._hold.concluded:
            await self._renew(0)

    async def _renew(self, more: int) -> RenewOutcome | None:
        """The same, and holds so many units more. None: the store cannot be asked."""
        self._renew_later()
        usage = None
        if self._meter is not None:
            usage = used_so_far(self._meter) or counted(self._meter, self._facts)
        return await self._hold.renew(usage, more)

    def _renew_later(self) -> None:
        self.renew_at = self._gate.loop.time() + renewal_s(self.config.lease_ms)

    async def watch(self) -> None:
        """Waits for the client to leave, then does what the route says: reads on for a while, and stops."""
        if not (self._body_taken or self._started):
            self.watched = False  # The inner app is still reading from the client: look again later.
            return
        gone, ended = asyncio.ensure_future(self._gone()), self._until_ended()
        try:
            await asyncio.wait([gone, ended], return_when=asyncio.FIRST_COMPLETED)
            if self._hold.concluded or not gone.done() or gone.exception() is not None:
                return
            self.client_is_gone = True
            if self.route.on_disconnect == "drain" and self._gate.draining < MAX_DRAINING:
                self._gate.draining += 1
                try:
                    await asyncio.wait([ended], timeout=self.route.drain_s)
                finally:
                    self._gate.draining -= 1
            if not self._hold.concluded and self._task is not None:
                self._stopped = True
                self._task.cancel()
        finally:
            gone.cancel()

    async def _gone(self) -> None:
        while (await self._client_receive())["type"] != "http.disconnect":
            pass
