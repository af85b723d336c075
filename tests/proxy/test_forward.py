"""The proxy app: what it sends upstream, how it streams the answer back, and that it lets go of every answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, MutableMapping
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.domain.errors import UpstreamBroken, UpstreamTimeout
from gateway.domain.route import Timeouts, Upstream
from gateway.proxy.forward import ForwardApp
from tests.proxy.pools import on_a_loop
from tests.support.config import config_text

Headers = list[tuple[bytes, bytes]]
Message = MutableMapping[str, Any]


class Answer:
    """An upstream's answer, piece by piece. An exception among the pieces is raised in its place."""

    def __init__(self, *pieces: bytes | Exception, status: int = 200, headers: Headers | None = None) -> None:
        self.status = status
        self.headers = headers or [(b"content-type", b"application/json")]
        self.pieces = list(pieces)
        self.closed = 0

    async def read(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def ended(self) -> bool:
        return not self.pieces

    def close(self) -> None:
        self.closed += 1


class Client:
    """An `UpstreamClient` that answers as a test says and keeps what it was sent."""

    def __init__(self, upstream: Upstream, answer: Answer | Exception) -> None:
        self.upstream = upstream
        self.answer = answer
        self.sent: list[tuple[bytes, bytes, Headers, bytes | list[bytes], Timeouts]] = []
        self.closed = 0

    async def send(
        self, method: bytes, target: bytes, headers: Headers, body: bytes | AsyncIterator[bytes], timeouts: Timeouts
    ) -> Answer:
        whole = body if isinstance(body, bytes) else [piece async for piece in body]
        self.sent.append((method, target, headers, whole, timeouts))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed += 1


class Stage:
    """A `ForwardApp`, the upstreams it connects to, and what its caller hears."""

    def __init__(self, answer: Answer | Exception, config: Config | None = None) -> None:
        self.answer = answer
        self.config = config or parse(config_text(), "config.toml", {})
        self.clients: list[Client] = []
        self.app = ForwardApp(self._connect)
        self.heard: list[Message] = []

    def _connect(self, upstream: Upstream) -> Client:
        self.clients.append(Client(upstream, self.answer))
        return self.clients[-1]

    async def call(self, *messages: Message, **scope: Any) -> None:
        """One call, whose request comes in these messages."""
        path = "/v1/chat/completions"
        route = self.config.routes.match("POST", path)
        arriving = list(messages or [{"type": "http.request", "body": b"{}", "more_body": False}])

        async def receive() -> Message:
            return arriving.pop(0)

        async def send(message: Message) -> None:
            self.heard.append(message)

        usual = {"method": "POST", "raw_path": path.encode(), "query_string": b"", "headers": []}
        await self.app({**usual, **scope, "quotagate": SimpleNamespace(config=self.config, route=route)}, receive, send)

    @property
    def sent(self) -> tuple[bytes, bytes, Headers, bytes | list[bytes], Timeouts]:
        """The one call that went upstream."""
        ((sent,),) = [client.sent for client in self.clients]
        return sent


def request(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


# ── towards the upstream ─────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_call_goes_upstream_as_it_came_but_for_credentials() -> None:
    stage = Stage(Answer(b"{}"))

    await stage.call(
        request(b'{"model": "m"}'),
        method="PUT",
        raw_path=b"/v1/a%20b",
        query_string=b"beta=1&key=qg_secret",
        headers=[(b"content-type", b"application/json"), (b"authorization", b"Bearer qg_secret"), (b"cookie", b"a=b")],
    )

    method, target, headers, body, _ = stage.sent
    assert (method, target, body) == (b"PUT", b"/v1/a%20b?beta=1", b'{"model": "m"}')
    assert dict(headers) == {
        b"content-type": b"application/json",
        b"accept-encoding": b"identity",
        b"authorization": b"Bearer upstream-secret",
    }


@on_a_loop
async def test_the_routes_timeouts_go_with_the_call() -> None:
    text = config_text().replace('dialect = "openai-chat"', 'dialect = "openai-chat"\ntimeouts = { idle_s = 7 }')
    stage = Stage(Answer(b"{}"), parse(text, "config.toml", {}))

    await stage.call()

    assert stage.sent[-1] == Timeouts(connect_s=2, first_byte_s=20, idle_s=7)


@on_a_loop
async def test_a_body_that_comes_in_pieces_goes_on_in_pieces() -> None:
    stage = Stage(Answer(b"{}"))

    await stage.call(request(b"one", True), request(b"", True), request(b"two", True), request(b"three"))

    assert stage.sent[3] == [b"one", b"", b"two", b"three"]


@on_a_loop
async def test_a_client_that_leaves_within_its_request_breaks_the_call_off() -> None:
    stage = Stage(Answer(b"{}"))

    with pytest.raises(UpstreamBroken, match="the client left"):
        await stage.call(request(b"one", True), {"type": "http.disconnect"})
    assert stage.heard == []


# ── towards the client ───────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_an_answer_comes_back_piece_by_piece_with_its_status() -> None:
    answer = Answer(b"one", b"two", b"three", status=418, headers=[(b"content-type", b"text/plain"), (b"x-a", b"1")])
    stage = Stage(answer)

    await stage.call()

    assert stage.heard == [
        {"type": "http.response.start", "status": 418, "headers": [(b"content-type", b"text/plain"), (b"x-a", b"1")]},
        {"type": "http.response.body", "body": b"one", "more_body": True},
        {"type": "http.response.body", "body": b"two", "more_body": True},
        {"type": "http.response.body", "body": b"three", "more_body": False},
    ]
    assert answer.closed == 1


@on_a_loop
async def test_an_answer_without_a_body_has_an_end() -> None:
    stage = Stage(Answer(status=204))

    await stage.call()

    assert stage.heard[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@on_a_loop
async def test_headers_that_are_the_operators_own_business_stay_here() -> None:
    private: Headers = [(b"set-cookie", b"a=b"), (b"openai-organization", b"o"), (b"x-ratelimit-limit-requests", b"9")]
    stage = Stage(Answer(b"{}", headers=[*private, (b"content-type", b"application/json")]))

    await stage.call()

    assert stage.heard[0]["headers"] == [(b"content-type", b"application/json")]


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_an_upstream_that_does_not_answer_is_the_callers_to_tell() -> None:
    stage = Stage(UpstreamTimeout("no answer"))

    with pytest.raises(UpstreamTimeout):
        await stage.call()
    assert stage.heard == []


@on_a_loop
async def test_an_answer_that_breaks_off_is_let_go_and_has_no_end() -> None:
    answer = Answer(b"one", UpstreamBroken("it closed"), b"never")
    stage = Stage(answer)

    with pytest.raises(UpstreamBroken):
        await stage.call()

    assert [message.get("more_body") for message in stage.heard] == [None, True]
    assert answer.closed == 1


@on_a_loop
async def test_an_answer_is_let_go_when_its_call_is_cancelled() -> None:
    class Silent(Answer):
        async def read(self) -> bytes:
            await asyncio.Event().wait()
            return b""

    answer = Silent(b"never")
    stage = Stage(answer)
    call = asyncio.ensure_future(stage.call())
    await asyncio.sleep(0)
    while not stage.heard:
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    assert answer.closed == 1


@on_a_loop
async def test_an_answer_is_let_go_when_it_cannot_be_handed_on() -> None:
    answer = Answer(b"one", b"two")
    stage = Stage(answer)
    stage.heard = None  # type: ignore[assignment]

    with pytest.raises(AttributeError):
        await stage.call()
    assert answer.closed == 1


# ── its clients ──────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_calls_to_one_upstream_share_a_client() -> None:
    stage = Stage(Answer())

    for _ in range(3):
        await stage.call()

    assert [len(client.sent) for client in stage.clients] == [3]


@on_a_loop
async def test_a_config_that_is_read_again_keeps_the_clients_of_upstreams_that_stayed() -> None:
    stage = Stage(Answer())
    await stage.call()
    stage.config = parse(config_text(), "config.toml", {})
    await stage.call()
    await stage.call()

    assert [len(client.sent) for client in stage.clients] == [3]


@on_a_loop
async def test_an_upstream_that_moved_is_called_where_it_is_now() -> None:
    stage = Stage(Answer())
    await stage.call()
    stage.config = parse(config_text(upstream_url="http://127.0.0.1:10"), "config.toml", {})
    await stage.call()

    assert [client.upstream.base_url for client in stage.clients] == ["http://127.0.0.1:9", "http://127.0.0.1:10"]
    assert [len(client.sent) for client in stage.clients] == [1, 1]


@on_a_loop
async def test_a_credential_that_changed_is_sent_from_then_on() -> None:
    stage = Stage(Answer())
    await stage.call()
    stage.config = parse(config_text().replace("upstream-secret", "another"), "config.toml", {})
    await stage.call()

    credentials = [dict(sent[2])[b"authorization"] for client in stage.clients for sent in client.sent]
    assert credentials == [b"Bearer upstream-secret", b"Bearer another"]


@on_a_loop
async def test_closing_closes_every_client_those_of_upstreams_that_moved_too() -> None:
    stage = Stage(Answer())
    await stage.call()
    stage.config = dataclasses.replace(parse(config_text(upstream_url="http://127.0.0.1:10"), "config.toml", {}))
    await stage.call()

    await stage.app.close()

    assert [client.closed for client in stage.clients] == [1, 1]
