"""Streams that outgrow their holds: renewed in time, cut where the balance ends, and charged for what was delivered."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from gateway.config import parse
from gateway.domain.errors import StoreUnavailable
from gateway.domain.event import read_event
from gateway.meters import open_meter
from gateway.proxy import request
from gateway.store.calls import Call
from tests.meters.test_transcripts import Transcript, recorded_transcripts
from tests.proxy.pools import eventually, on_a_loop
from tests.proxy.sdks import events_of
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import CHAT, Heard, Message, Site
from tests.support.config import ROUTES, config_text, route
from tests.support.upstream import DONE, openai_chunk, openai_usage_chunk

BODY = b'{"model": "m1", "stream": true}'
WORDS = 400
#: One token each, by the estimate.
CHUNKS = [openai_chunk(" word") for _ in range(WORDS)]
#: What a day's allowance adds to the sign-up grant of these accounts.
DAY = 5


def site_with(store: FakeStore, balance: int, says: str = "default_output_tokens = 20") -> Site:
    """A site whose calls are priced by tokens, one unit each, and whose accounts have so many units."""
    routes = "\n".join(route(path, dialect, extra=says) for path, dialect in ROUTES.items())
    text = config_text(routes=routes + route("/fixed", "openai-chat", "fixed"))
    text = text.replace("operations = { chat = 1 }", "").replace("signup = 15", f"signup = {balance - DAY}")
    site = Site(store, text)
    site.backend.content_type = b"text/event-stream"
    site.backend.pieces = [*CHUNKS, DONE]
    return site


def input_tokens(body: bytes = BODY, path: str = CHAT) -> int:
    config = parse(config_text(), "config.toml", {})
    known = config.routes.match("POST", path)
    assert known is not None
    return request.read(known, path, b"application/json", body).input_tokens


def text_of(heard: Heard) -> str:
    choices = [choice for event in events_of(heard.body) for choice in event["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def written_off(store: FakeStore) -> int:
    entries: Any = store.client.xrange("qg:{p00}:events")
    events = [read_event({name.decode(): value.decode() for name, value in fields.items()}) for _, fields in entries]
    return sum(entry.amount for event in events for entry in event.entries if entry.kind == "WRITE_OFF")


def renewals(store: FakeStore) -> list[int]:
    """How much more each renewal asked for."""
    return [int(call.args[7]) for call in store.calls if call.script == "renew"]


# ── a balance that suffices ──────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_stream_that_outgrows_its_hold_renews_it_and_passes_unchanged(store: FakeStore) -> None:
    site = site_with(store, 100_000)
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert heard.body == b"".join(CHUNKS) + DONE
    assert site.account()["held"] == 0
    assert WORDS < site.account()["spent"] < 3 * WORDS
    assert written_off(store) == 0


@on_a_loop
async def test_each_renewal_asks_for_twice_as_much_up_to_a_bound(store: FakeStore) -> None:
    site = site_with(store, 100_000, "default_output_tokens = 2")
    await site.call(body=BODY)
    await site.gate.close()

    asked = renewals(store)
    # A chunk may lie a token or two beyond the line.
    assert all(step <= more <= step + 2 for step, more in zip((2, 4, 8, 16, 32, 32, 32), asked, strict=False))
    assert len(asked) > 10


@on_a_loop
async def test_a_stream_within_its_hold_asks_for_nothing(store: FakeStore) -> None:
    site = site_with(store, 100_000, "default_output_tokens = 4000")
    await site.call(body=BODY)
    await site.gate.close()

    assert renewals(store) == []


@on_a_loop
async def test_a_stream_is_not_held_up_while_there_is_room_and_waits_when_there_is_none(store: FakeStore) -> None:
    sent: list[int] = []
    site, slow = site_with(store, 100_000, "default_output_tokens = 40"), SlowRenewals(store, sent)
    site.gate.store = slow
    site.app.app = counting_app(CHUNKS, sent)
    call = asyncio.ensure_future(site.call(body=BODY))
    await eventually(lambda: len(slow.sent_when_asked) == 1)
    for _ in range(100):
        await asyncio.sleep(0)

    assert slow.sent_when_asked[0] + 3 <= len(sent) <= 40

    slow.go_on.set()
    heard = await call
    await site.gate.close()

    assert text_of(heard) == " word" * WORDS


class SlowRenewals(FakeStore):
    """Answers renewals when a test lets it."""

    def __init__(self, store: FakeStore, sent: list[int]) -> None:
        self.__dict__ |= store.__dict__
        self.go_on = asyncio.Event()
        self._sent = sent
        self.sent_when_asked: list[int] = []

    async def run(self, call: Call[Any]) -> Any:
        if call.script == "renew":
            self.sent_when_asked.append(len(self._sent))
            await self.go_on.wait()
        return await super().run(call)


def counting_app(pieces: list[bytes], sent: list[int], pause_at: int = -1, until: asyncio.Event | None = None) -> Any:
    """An app that says how many pieces it has sent, and pauses as a test says."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for n, piece in enumerate(pieces):
            if n == pause_at and until is not None:
                await until.wait()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.append(n)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": DONE, "more_body": False})

    return app


# ── a balance that ends ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("extra", [0, 1, 7, 20, 21, 33, 100, 199])
@pytest.mark.parametrize("piece_bytes", [50, 171, 1000, 10**6])
@on_a_loop
async def test_a_stream_is_cut_where_the_balance_ends_and_writes_nothing_off(
    store: FakeStore, extra: int, piece_bytes: int
) -> None:
    balance = input_tokens() + 20 + extra
    site = site_with(store, balance)
    body = b"".join(CHUNKS)
    site.backend.pieces = [body[n : n + piece_bytes] for n in range(0, len(body), piece_bytes)]
    heard = await site.call(body=BODY)
    await site.gate.close()

    *_, last = events_of(heard.body)
    assert last["choices"][0]["finish_reason"] == "length"
    assert heard.body.endswith(DONE)
    assert heard.messages[-1]["more_body"] is False
    account = site.account()
    assert account["held"] == 0
    assert account["spent"] <= balance
    assert written_off(store) == 0
    # Nearly all of it was used: a word is a token and a third, and one event may not have fitted.
    assert account["spent"] >= balance - 3
    assert heard.spent_at_end == str(account["spent"])


@on_a_loop
async def test_the_backend_is_stopped_when_its_stream_is_cut(store: FakeStore) -> None:
    site, sent = site_with(store, input_tokens() + 30), list[int]()
    site.app.app = counting_app(CHUNKS, sent)
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert len(sent) < 40
    assert heard.body.endswith(DONE)
    assert [message["more_body"] for message in heard.messages[1:]].count(False) == 1


@on_a_loop
async def test_a_backend_that_will_not_stop_is_not_heard_any_more(store: FakeStore) -> None:
    site = site_with(store, input_tokens() + 30)

    async def stubborn(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in CHUNKS:
            try:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            except asyncio.CancelledError:
                continue

    site.app.app = stubborn
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert heard.body.count(DONE) == 1
    assert heard.body.endswith(DONE)


@on_a_loop
async def test_what_is_left_is_asked_for_once_before_the_cut(store: FakeStore) -> None:
    site = site_with(store, input_tokens() + 20 + 7)
    await site.call(body=BODY)
    await site.gate.close()

    assert renewals(store)[:2] == [20, 7]


@on_a_loop
async def test_what_another_call_gives_back_is_taken_before_the_cut(store: FakeStore) -> None:
    """The early ask is refused while another call holds the rest; that one ends before the line is reached."""
    site = site_with(store, 2 * (input_tokens() + 20))
    ended = asyncio.Event()
    site.app.app = failing_when(ended)
    other = asyncio.ensure_future(site.call(body=BODY))
    await eventually(lambda: store.scripts().count("reserve") >= 1 and len(site.gate.leases.open) == 1)
    go_on, sent = asyncio.Event(), list[int]()
    site.app.app = counting_app(CHUNKS[:30], sent, pause_at=13, until=go_on)
    call = asyncio.ensure_future(site.call(body=BODY))
    await eventually(lambda: len(sent) == 13 and len(renewals(store)) == 1)
    ended.set()
    await other
    go_on.set()
    heard = await call
    await site.gate.close()

    assert text_of(heard) == " word" * 30


def failing_when(ended: asyncio.Event) -> Any:
    """An app that takes its time, and fails."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        await ended.wait()
        await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


@on_a_loop
async def test_usage_in_the_end_of_a_cut_stream_is_what_is_charged(store: FakeStore) -> None:
    body = b'{"model": "m1", "stream": true, "stream_options": {"include_usage": true}}'
    site = site_with(store, input_tokens(body) + 40)
    heard = await site.call(body=body)
    await site.gate.close()

    assert events_of(heard.body)[-1]["usage"]["total_tokens"] == site.account()["spent"]


# ── what is not cut ──────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_fixed_price_is_no_reason_to_cut(store: FakeStore) -> None:
    site = site_with(store, 10)
    heard = await site.call("/fixed", body=BODY)
    await site.gate.close()

    assert heard.body == b"".join(CHUNKS) + DONE
    assert site.account()["spent"] == 3


@on_a_loop
async def test_an_answer_that_has_said_its_last_word_is_not_cut(store: FakeStore) -> None:
    """Its true usage is known by then, and what nothing covers is written off."""
    whole = b"".join(CHUNKS) + openai_usage_chunk(5, WORDS) + DONE
    site = site_with(store, input_tokens() + 30)
    site.backend.pieces = [whole]
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert text_of(heard) == " word" * WORDS
    assert written_off(store) > 0


@on_a_loop
async def test_an_answer_within_the_requests_own_limit_is_not_cut_for_a_coarse_estimate(store: FakeStore) -> None:
    """100 words are 133 tokens by the estimate, and 110 by the provider."""
    body = b'{"model": "m1", "stream": true, "max_tokens": 110}'
    site = site_with(store, input_tokens(body) + 110)
    site.backend.pieces = [*CHUNKS[:100], openai_usage_chunk(5, 110), DONE]
    heard = await site.call(body=body)
    await site.gate.close()

    assert text_of(heard) == " word" * 100
    assert renewals(store) == []
    assert site.account()["spent"] == 115


@on_a_loop
async def test_a_backend_that_ignores_the_requests_limit_is_cut(store: FakeStore) -> None:
    body = b'{"model": "m1", "stream": true, "max_tokens": 40}'
    site = site_with(store, input_tokens(body) + 40)
    heard = await site.call(body=body)
    await site.gate.close()

    assert events_of(heard.body)[-1]["choices"][0]["finish_reason"] == "length"
    assert (site.account()["spent"], written_off(store)) == (input_tokens(body) + 40, 0)


# ── a store that is away ─────────────────────────────────────────────────────────────────────────────────────────────


def lose(site: Site, store: FakeStore) -> None:
    """The store goes away when the call has begun."""
    store.faults["renew"] = StoreUnavailable("Redis cannot be reached")


@on_a_loop
async def test_a_stream_goes_on_to_the_end_of_its_hold_while_redis_is_away_and_is_cut_there(
    store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site = site_with(store, 100_000, "default_output_tokens = 100")
    lose(site, store)
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert 50 < text_of(heard).count("word") < 100
    assert site.account()["spent"] <= input_tokens() + 100
    assert "is cut at" in caplog.text
    assert "store_unavailable" in caplog.text


@on_a_loop
async def test_a_route_may_stream_on_while_redis_is_away(store: FakeStore) -> None:
    site = site_with(store, 100_000, 'default_output_tokens = 100\non_renewal_outage = "stream"')
    lose(site, store)
    heard = await site.call(body=BODY)
    await site.gate.close()

    assert heard.body == b"".join(CHUNKS) + DONE
    assert site.account()["spent"] > WORDS
    assert len(renewals(store)) < 10


# ── what real providers stream ───────────────────────────────────────────────────────────────────────────────────────

#: Its recording leaves out the middle: a chunk of one token reports 424 of them.
ELIDED = "perplexity--perplexity-text.events.jsonl"
STREAMS = [
    each
    for each in recorded_transcripts()
    if each.values[0] is None or (each.values[0].stream and each.values[0].file != ELIDED)
]


@pytest.mark.parametrize("transcript", STREAMS)
@on_a_loop
async def test_a_recorded_stream_that_is_cut_is_charged_what_was_delivered(transcript: Transcript) -> None:
    path = next(path for path, dialect in ROUTES.items() if dialect == transcript.dialect)
    path = path.replace("/*", "/m1:streamGenerateContent")
    said = [int(count) for count in re.findall(rb'"input_tokens":(\d+)', transcript.body)]
    words = "word " * max(transcript.usage.input, *said, 1)
    body = json.dumps({"model": "m1", "stream": True, "messages": words}).encode()
    for part, piece_bytes in ((10, 100), (2, 1500), (50, 333)):
        store = FakeStore()
        balance = input_tokens(body, path) + 1 + transcript.usage.output // part
        site = site_with(store, balance, "default_output_tokens = 1")
        whole = transcript.body
        site.backend.pieces = [whole[n : n + piece_bytes] for n in range(0, len(whole), piece_bytes)]
        heard = await site.call(path, body)
        await site.gate.close()

        account = site.account()
        assert (account["held"], heard.status) == (0, 200)
        assert account["spent"] <= balance
        delivered = open_meter(transcript.dialect, "text/event-stream")
        delivered.feed(heard.body)
        # Some have said their last word before anything could be counted: those are whole.
        if heard.messages[-1]["body"][-60:] not in whole or b"MAX_TOKENS" in heard.body:
            assert written_off(store) == 0
            charged = account["spent"]
            reported = delivered.reported()
            assert reported is not None or transcript.dialect == "openai-chat"
            if reported is not None:
                assert charged == reported.total
        store.client.close()
