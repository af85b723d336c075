"""The governed call in one process: an app of one's own behind the middleware, the real scripts behind the gate."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.config import parse
from gateway.domain.errors import ScriptFault, StoreUnavailable, UpstreamTimeout
from gateway.proxy import leases
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import QuotaMiddleware
from gateway.store.keys import Keys
from tests.proxy.pools import eventually, on_a_loop
from tests.proxy.stores import FakeStore
from tests.support.config import config_text
from tests.support.epoch import ready
from tests.support.upstream import openai_json

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ACCOUNT = "qg:{p00}:account:ada"
CHAT = "/v1/chat/completions"
SECRET = b"a secret of the backend"


@dataclass
class Backend:
    """The inner app: it answers as a test says, and keeps what it heard."""

    status: int = 200
    pieces: list[bytes] = field(default_factory=lambda: [json.dumps(openai_json(21, 25)).encode()])
    content_type: bytes = b"application/json"
    fault: Exception | None = None
    bodies: list[bytes] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    store: FakeStore | None = None

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        self.bodies.append((await receive())["body"])
        if self.store is not None:
            self.held.append(self.store.hash(ACCOUNT).get("held", ""))
        if self.fault is not None:
            raise self.fault
        headers = [(b"content-type", self.content_type)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass
class Heard:
    """What a client heard."""

    messages: list[Message] = field(default_factory=list)
    #: What the account had spent when the last byte went out.
    spent_at_end: str | None = None

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


class Site:
    """The middleware around a backend."""

    def __init__(self, store: FakeStore, text: str | None = None) -> None:
        self.store = store
        self.backend = Backend(store=store)
        self.gate = Gate(parse(text or config_text(), "config.toml", {}), store)
        self.elsewhere: list[str] = []
        self.app = QuotaMiddleware(self.backend, self.gate, self._otherwise)

    async def _otherwise(self, scope: Message, receive: Any, send: Send) -> None:
        self.elsewhere.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def call(
        self,
        path: str = CHAT,
        body: bytes = b'{"model": "m1"}',
        *,
        account: bytes = b"ada",
        method: str = "POST",
        headers: list[tuple[bytes, bytes]] | None = None,
        messages: list[Message] | None = None,
    ) -> Heard:
        heard = Heard()
        arriving = messages or [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if arriving:
                return arriving.pop(0)
            await asyncio.Event().wait()
            raise AssertionError("the client stays")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message["more_body"]:
                heard.spent_at_end = self.store.hash(ACCOUNT).get("spent")
            heard.messages.append(message)

        if headers is None:
            headers = [(b"host", b"h"), (b"x-gateway-secret", SECRET), (b"x-user-id", account)]
        scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
                 "query_string": b"", "headers": headers}  # fmt: skip
        await self.app(scope, receive, send)
        return heard

    def account(self) -> dict[str, int]:
        """What stands in Redis of the account's numbers."""
        fields = self.store.hash(ACCOUNT)
        return {name: int(fields[name]) for name in ("granted", "spent", "held")}


@pytest.fixture
def site(store: FakeStore) -> Site:
    return Site(store)


# ── a call that is served ────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_call_is_held_before_it_is_served_and_settled_before_its_last_byte(site: Site) -> None:
    heard = await site.call()
    await site.gate.close()

    assert (heard.status, site.backend.held, heard.spent_at_end) == (200, ["1"], "1")
    assert site.account() == {"granted": 20, "spent": 1, "held": 0}
    assert json.loads(heard.body) == openai_json(21, 25)


@on_a_loop
async def test_an_answer_says_what_is_left_after_it(site: Site) -> None:
    heard = await site.call()
    await site.gate.close()

    assert heard.headers[b"x-quota-remaining"] == b"19"
    assert heard.headers[b"content-length"] == b"%d" % len(heard.body)
    assert heard.headers[b"x-request-id"]
    assert b"x-quota-warning" not in heard.headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"chat-7", "chat-7"),
        ("größer ✓".encode(), "größer ✓"),
        (b"x" * 200, "x" * 200),
        (None, ""),
        (b"", ""),
        (b"x" * 201, ""),
        (b"a\x7fb", ""),
        (b"\xff", ""),
    ],
)
@on_a_loop
async def test_the_session_that_a_client_names_goes_to_the_ledger_and_what_is_none_is_passed_over(
    site: Site, store: FakeStore, sent: bytes | None, kept: str
) -> None:
    named = [] if sent is None else [(b"x-session-id", sent)]

    heard = await site.call(headers=[(b"host", b"g"), (b"x-gateway-secret", SECRET), (b"x-user-id", b"ada"), *named])
    await site.gate.close()

    assert heard.status == 200
    events: Any = store.client.xrange("qg:{p00}:events")
    [told] = [fields for _, fields in events if fields[b"kind"] == b"usage"]
    assert told.get(b"session", b"").decode() == kept


@on_a_loop
async def test_an_account_that_is_running_low_is_warned(site: Site) -> None:
    heard = [await site.call("/fixed") for _ in range(5)][-1]
    await site.gate.close()

    assert heard.headers[b"x-quota-remaining"] == b"5"
    assert heard.headers[b"x-quota-warning"] == b"low"


@on_a_loop
async def test_calls_at_once_spend_exactly_what_there_is(site: Site) -> None:
    heard = await asyncio.gather(*(site.call() for _ in range(30)))
    await site.gate.close()

    assert sorted(one.status for one in heard) == [200] * 20 + [429] * 10
    assert site.account() == {"granted": 20, "spent": 20, "held": 0}
    assert len(site.backend.bodies) == 20


@on_a_loop
async def test_a_body_that_comes_in_pieces_reaches_the_app_whole(site: Site) -> None:
    pieces: list[Message] = [
        {"type": "http.request", "body": b'{"model"', "more_body": True},
        {"type": "http.request", "body": b': "m1"}', "more_body": False},
    ]
    heard = await site.call(messages=pieces)
    await site.gate.close()

    assert heard.status == 200
    assert site.backend.bodies == [b'{"model": "m1"}']


@on_a_loop
async def test_a_stream_is_asked_for_its_usage_and_the_client_sees_every_other_byte(site: Site) -> None:
    chunks = [b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
              b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}\n\n',
              b"data: [DONE]\n\n"]  # fmt: skip
    site.backend.pieces, site.backend.content_type = chunks, b"text/event-stream"

    heard = await site.call(body=b'{"model": "m1", "stream": true}')
    await site.gate.close()

    assert json.loads(site.backend.bodies[0])["stream_options"] == {"include_usage": True}
    assert heard.body == chunks[0] + chunks[2]
    assert site.account()["spent"] == 1


# ── a call that fails ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@on_a_loop
async def test_a_failure_of_the_backend_reaches_the_client_and_costs_nothing(site: Site, status: int) -> None:
    site.backend.status, site.backend.pieces = status, [b'{"error": {"code": "its own"}}']

    heard = await site.call()
    await site.gate.close()

    assert (heard.status, heard.body) == (status, b'{"error": {"code": "its own"}}')
    assert site.account() == {"granted": 20, "spent": 0, "held": 0}
    assert heard.headers[b"x-quota-remaining"] == b"20"


@on_a_loop
async def test_a_backend_that_does_not_answer_is_a_504_and_costs_nothing(site: Site) -> None:
    site.backend.fault = UpstreamTimeout("it kept silent")

    heard = await site.call()
    await site.gate.close()

    assert (heard.status, heard.code) == (504, "upstream_timeout")
    assert site.account() == {"granted": 20, "spent": 0, "held": 0}


@on_a_loop
async def test_an_app_with_a_defect_costs_nothing_and_the_defect_is_the_servers_to_report(site: Site) -> None:
    site.backend.fault = ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await site.call()
    await site.gate.close()

    assert site.account() == {"granted": 20, "spent": 0, "held": 0}


@on_a_loop
async def test_a_call_that_is_cancelled_ends_its_hold(site: Site) -> None:
    served = asyncio.Event()

    async def silent(scope: Message, receive: Any, send: Send) -> None:
        served.set()
        await asyncio.Event().wait()

    site.app.app = silent
    call = asyncio.ensure_future(site.call())
    await served.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await eventually(lambda: site.account()["held"] == 0)
    await site.gate.close()

    assert call.cancelled()
    assert site.account() == {"granted": 20, "spent": 0, "held": 0}


@on_a_loop
async def test_a_settlement_that_redis_did_not_take_is_made_up_for(site: Site, store: FakeStore) -> None:
    store.faults["settle"] = StoreUnavailable("Redis cannot be reached")
    heard = await site.call()
    assert (heard.status, site.account()["spent"], len(site.gate.outbox)) == (200, 0, 1)

    store.faults.clear()
    await site.gate.close()

    assert site.account() == {"granted": 20, "spent": 1, "held": 0}


# ── a client that leaves ─────────────────────────────────────────────────────────────────────────────────────────────


class Streaming:
    """An app in the middle of its stream, which goes on when a test lets it."""

    def __init__(self, *, begins: bool = True) -> None:
        self.begins = begins
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.stopped = False

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        await receive()
        if self.begins:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
                        "more_body": True})  # fmt: skip
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        usage = b'data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":40,"total_tokens":70}}\n\n'
        await send({"type": "http.response.body", "body": usage + b"data: [DONE]\n\n", "more_body": False})


def by_tokens(store: FakeStore, route_says: str) -> Site:
    """A site whose chats are priced by tokens."""
    text = config_text().replace("operations = { chat = 1 }", "").replace("signup = 15", "signup = 100_000")
    return Site(store, text.replace('dialect = "openai-chat"', f'dialect = "openai-chat"\n{route_says}'))


def leaving() -> list[Message]:
    body = b'{"model": "m1", "stream": true}'
    return [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TICK_S", 0.005)


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_call_whose_client_left_is_read_on_to_its_usage_and_charged_to_the_unit(store: FakeStore) -> None:
    site, app = by_tokens(store, 'on_disconnect = "drain"'), Streaming()
    site.app.app = app
    call = asyncio.ensure_future(site.call(messages=leaving()))
    await eventually(lambda: site.gate.draining == 1)

    app.go_on.set()
    await call
    await site.gate.close()

    assert not app.stopped
    assert (site.account()["spent"], site.account()["held"], site.gate.draining) == (70, 0, 0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("says", ['on_disconnect = "stop"', 'on_disconnect = "drain"\ndrain_s = 0.02'])
@on_a_loop
async def test_a_call_that_nobody_waits_for_is_stopped_and_charged_what_was_counted(
    store: FakeStore, says: str
) -> None:
    site, app = by_tokens(store, says), Streaming()
    site.app.app = app

    await site.call(messages=leaving())
    await site.gate.close()

    assert app.stopped
    assert 0 < site.account()["spent"] < 70
    assert (site.account()["held"], site.gate.draining) == (0, 0)


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_client_that_leaves_before_the_answer_began_pays_for_what_it_asked(store: FakeStore) -> None:
    """The backend has the call by then, and works for it."""
    site, app = by_tokens(store, 'on_disconnect = "stop"'), Streaming(begins=False)
    site.app.app = app

    await site.call(messages=leaving())
    await site.gate.close()

    assert app.stopped
    assert 0 < site.account()["spent"] < 30
    assert site.account()["held"] == 0


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_call_that_lasts_keeps_its_lease_and_reports_what_was_counted(store: FakeStore) -> None:
    site, app = by_tokens(store, ""), Streaming()
    object.__setattr__(site.gate.config, "lease_ms", 60)
    site.app.app = app
    call = asyncio.ensure_future(site.call(body=b'{"model": "m1", "stream": true}'))
    await eventually(lambda: store.scripts().count("renew") >= 3)
    (hold,) = [store.hash(key.decode()) for key in store.client.scan_iter("*:hold:*")]

    app.go_on.set()
    await call
    await site.gate.close()

    assert int(hold["counted"]) > 0
    assert site.account()["spent"] == 70


# ── a call that is refused ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ({"headers": [(b"host", b"h")]}, 401, "invalid_api_key"),
        ({"headers": [(b"host", b"h"), (b"authorization", b"Bearer qg_unknown")]}, 401, "invalid_api_key"),
        ({"headers": []}, 400, "missing_host"),
        ({"headers": [(b"host", b"a"), (b"host", b"b")]}, 400, "ambiguous_header"),
        ({"headers": [(b"host", b"a"), (b"content-encoding", b"gzip")]}, 415, "encoded_request"),
        ({"body": b"{"}, 400, "invalid_request_body"),
        ({"body": b"[]"}, 400, "invalid_request_body"),
        ({"body": b" " * 2000}, 413, "request_too_large"),
        ({"method": "GET"}, 405, "method_not_allowed"),
    ],
)
@on_a_loop
async def test_a_call_that_cannot_be_served_is_refused_before_anything_is_held(
    store: FakeStore, call: dict[str, Any], status: int, code: str
) -> None:
    text = config_text().replace('default_tier = "free"', 'default_tier = "free"\nmax_request_bytes = 1024')
    site = Site(store, text)

    heard = await site.call(**call)
    await site.gate.close()

    assert (heard.status, heard.code) == (status, code)
    assert heard.headers[b"content-length"] == b"%d" % len(heard.body)
    assert store.calls == []
    assert site.backend.bodies == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (StoreUnavailable("Redis cannot be reached"), 503, "store_unavailable"),
        (ScriptFault("a wrong reply"), 500, "internal_error"),
    ],
)
@pytest.mark.parametrize("where", ["reserve", "read"])
@on_a_loop
async def test_a_call_that_cannot_be_paid_is_not_served(
    site: Site, store: FakeStore, fault: Exception, status: int, code: str, where: str
) -> None:
    store.faults[where] = fault
    key = [(b"host", b"h"), (b"x-api-key", b"qg_key")] if where == "read" else None

    heard = await site.call(headers=key)
    await site.gate.close()

    assert (heard.status, heard.code) == (status, code)
    assert site.backend.bodies == []


@on_a_loop
async def test_an_exhausted_account_is_told_when_waiting_helps(site: Site, store: FakeStore) -> None:
    for _ in range(20):
        assert (await site.call()).status == 200

    heard = await site.call()
    await site.gate.close()

    assert (heard.status, heard.code) == (429, "insufficient_quota")
    assert 0 < int(heard.headers[b"retry-after"]) <= 86_400
    assert len(site.backend.bodies) == 20


@on_a_loop
async def test_an_exhausted_account_is_answered_with_the_status_of_the_config(store: FakeStore) -> None:
    site = Site(store, config_text().replace("[store]", "exhausted_status = 402\n[store]"))
    for _ in range(20):
        await site.call()

    heard = await site.call()
    await site.gate.close()

    assert (heard.status, heard.code, heard.headers[b"x-should-retry"]) == (402, "insufficient_quota", b"false")


@on_a_loop
async def test_a_client_that_leaves_within_its_request_is_not_answered_and_not_charged(
    site: Site, store: FakeStore
) -> None:
    heard = await site.call(
        messages=[{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    await site.gate.close()

    assert (heard.messages, store.calls, site.backend.bodies) == ([], [], [])


@on_a_loop
async def test_a_trusted_header_that_names_two_accounts_names_nobody(site: Site, store: FakeStore) -> None:
    """One may be the backend's, and the other one its client's."""
    trusted = [(b"host", b"h"), (b"x-gateway-secret", SECRET)]

    heard = await site.call(headers=[*trusted, (b"x-user-id", b"ada"), (b"x-user-id", b"eve")])
    await site.gate.close()

    assert heard.status in (400, 401)
    assert store.calls == []


@on_a_loop
async def test_what_is_not_governed_passes_untouched(site: Site, store: FakeStore) -> None:
    heard = await site.call("/healthz", headers=[])

    assert (heard.status, site.elsewhere, store.calls) == (299, ["/healthz"], [])


@on_a_loop
async def test_the_gate_starts_and_ends_with_the_servers_lifespan(store: FakeStore) -> None:
    site = Site(store)
    arriving = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    heard: list[str] = []
    running: list[bool] = []

    async def receive() -> Message:
        return arriving.pop(0)

    async def send(message: Message) -> None:
        heard.append(message["type"])

    async def server(scope: Message, receive: Any, send: Send) -> None:
        for word in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{word}"
            running.append(any(task.get_name() == "quotagate-leases" for task in asyncio.all_tasks()))
            await send({"type": f"lifespan.{word}.complete"})

    site.app.otherwise = server
    await site.app({"type": "lifespan"}, receive, send)

    assert heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert running == [True, True]
    assert len(asyncio.all_tasks()) == 1


@on_a_loop
async def test_a_websocket_to_a_governed_path_is_refused(site: Site) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await site.app({"type": "websocket", "path": CHAT, "headers": []}, receive, send)

    assert [message["type"] for message in sent] == ["websocket.close"]


# ── a store that forgot ──────────────────────────────────────────────────────────────────────────────────────────────


class Forgetting(Backend):
    """While it serves, Redis comes back as it was before the call."""

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        assert self.store is not None
        ready(self.store.client)
        await super().__call__(scope, receive, send)


@pytest.mark.parametrize("away", [False, True])
@on_a_loop
async def test_a_call_whose_hold_redis_has_lost_is_charged_all_the_same(
    store: FakeStore, site: Site, away: bool
) -> None:
    site.app.app = Forgetting(store=store)
    if away:  # The first settlement meets a dead Redis; it is repeated in the background.
        store.faults["settle"] = StoreUnavailable("Redis cannot be reached")

    await site.call()
    store.faults.clear()
    await site.gate.close()

    assert (site.account()["spent"], site.account()["held"]) == (1, 0)


# ── bodies that stream to the app ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_slow_answer_to_an_upload_is_waited_for(store: FakeStore) -> None:
    """The time between two pieces of a body is over with the body."""
    site = Site(store, config_text().replace("[store]", "body_timeout_s = 0.02\n[store]"))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Message, receive: Any, send: Send) -> None:
        await receive()
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"heard", "more_body": False})

    site.app.app = slow
    upload = [(b"host", b"h"), (b"x-gateway-secret", SECRET), (b"x-user-id", b"ada"), (b"content-type", b"audio/wav")]
    call = asyncio.ensure_future(site.call("/fixed", b"RIFF", headers=upload))
    await begun.wait()
    await eventually(lambda: all(open_call.watched for open_call in site.gate.leases.open.values()))
    await asyncio.wait([call], timeout=0.1)  # Several times the limit.

    go_on.set()
    heard = await call
    await site.gate.close()

    assert (heard.status, heard.body) == (200, b"heard")
    assert site.account()["spent"] == 3


# ── the balance at the end of a stream ───────────────────────────────────────────────────────────────────────────────

SAYS_BALANCE = 'dialect = "openai-chat"\nstream_balance = true'


def with_balance(store: FakeStore, content_type: bytes, pieces: list[bytes]) -> Site:
    site = Site(store, config_text().replace('dialect = "openai-chat"', SAYS_BALANCE))
    site.backend.content_type, site.backend.pieces = content_type, pieces
    return site


@on_a_loop
async def test_a_stream_can_end_in_a_comment_that_carries_the_balance(store: FakeStore) -> None:
    heard = await with_balance(store, b"text/event-stream", [b"data: [DONE]\n\n"]).call()

    assert heard.body.startswith(b'data: [DONE]\n\n: quota {"remaining":19,')


@on_a_loop
async def test_lines_of_json_stay_lines_of_json(store: FakeStore) -> None:
    heard = await with_balance(store, b"application/x-ndjson", [b'{"done":true}\n']).call()

    assert heard.body == b'{"done":true}\n'


@pytest.mark.parametrize("status", [204, 304])
@on_a_loop
async def test_an_answer_that_has_no_body_says_no_length(site: Site, status: int) -> None:
    site.backend.status, site.backend.pieces = status, []

    heard = await site.call()

    assert b"content-length" not in heard.headers


# ── who may call ─────────────────────────────────────────────────────────────────────────────────────────────────────


def publish(store: FakeStore, key: bytes, **terms: str) -> list[tuple[bytes, bytes]]:
    """A key that Redis knows, and the headers that show it."""
    fields = {"account": "ada", "prefix": "qg_AbCdEfGh", "status": "active"} | terms
    for name, value in fields.items():
        store.client.hset(Keys.api_key(hashlib.sha256(key).hexdigest()), name, value)
    return [(b"host", b"h"), (b"authorization", b"Bearer " + key)]


@on_a_loop
async def test_a_key_may_do_what_its_scopes_name_and_nothing_else(site: Site) -> None:
    headers = publish(site.store, b"key", scopes="fixed embed")

    allowed, denied = await site.call("/fixed", headers=headers), await site.call(CHAT, headers=headers)

    assert allowed.status == 200
    assert (denied.status, denied.code) == (403, "insufficient_scope")
    assert len(site.backend.bodies) == 1


@on_a_loop
async def test_all_bad_credentials_are_refused_in_the_same_words(site: Site) -> None:
    publish(site.store, b"revoked", status="revoked")
    publish(site.store, b"expired", expires="1")
    shown = (b"Bearer unknown", b"Bearer revoked", b"Bearer expired", b"Basic YTpi", b"Bearer a.b.c", b"")

    heard = [await site.call(headers=[(b"host", b"h"), (b"authorization", value)]) for value in shown]
    heard.append(await site.call(headers=[(b"host", b"h"), (b"x-gateway-secret", b"wrong"), (b"x-user-id", b"ada")]))

    assert {one.status for one in heard} == {401}
    assert {one.headers[b"www-authenticate"] for one in heard} == {b"Bearer"}
    assert len({json.dumps(json.loads(one.body)) for one in heard}) == 1


@on_a_loop
async def test_a_header_that_names_a_group_may_stand_only_once(store: FakeStore) -> None:
    named = 'secret = "a secret of the backend"\nteam_header = "X-Team"'
    site = Site(store, config_text().replace('secret = "a secret of the backend"', named))
    once = [(b"host", b"h"), (b"x-gateway-secret", SECRET), (b"x-user-id", b"ada"), (b"x-team", b"blue")]

    assert (await site.call(headers=once)).status == 200
    twice = await site.call(headers=[*once, (b"x-team", b"red")])
    assert (twice.status, twice.code) == (400, "ambiguous_header")


@on_a_loop
async def test_a_call_without_a_credential_pays_from_the_balance_of_its_address(store: FakeStore) -> None:
    site = Site(store, config_text(more='[identity.anonymous]\ntier = "free"'))

    heard = await site.call(headers=[(b"host", b"h")])

    assert heard.status == 200
    assert store.hash("qg:{p00}:account:ip:unknown")["spent"] == "1"
