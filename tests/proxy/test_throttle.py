"""Throttled streams, on a loop whose clock only waiting moves: how long a piece waits is exact, and nobody does."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine, MutableMapping
from typing import Any

import pytest

from gateway.domain.policy import Policy, parse_rate
from gateway.meters.estimate import tokens_of_text
from gateway.proxy.pace import Pace, throttled
from gateway.store import calls
from tests.proxy.pools import eventually
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import CHAT, SECRET, Send, Site
from tests.support.config import config_text, route
from tests.support.upstream import DONE, openai_chunk, openai_usage_chunk

Message = MutableMapping[str, Any]


class _Jumps(selectors.DefaultSelector):
    """Lets time pass in place of waiting for it."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all wait for each other"
            self.now_s += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now_s


def in_no_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a coroutine as a test, on such a loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Client:
    """Notes what it hears and when, in seconds since it came."""

    def __init__(self) -> None:
        self._came_s = now_s()
        self.heard: list[tuple[float, Message]] = []
        self.left = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.heard.append((now_s() - self._came_s, message))

    def times(self) -> list[float]:
        return [at_s for at_s, _ in self.heard]


def pace(text: str) -> Pace:
    return Pace(Policy("slow", parse_rate(text), mode="throttle"))


class Stream:
    """What a throttled call sends. `counted` grows by what each piece brings."""

    def __init__(self, client: Client, *paces: Pace) -> None:
        self.counted = 0
        self._send: Send = throttled(client.send, paces, lambda: self.counted, client.left.is_set)

    async def piece(self, tokens: int, *, more: bool = True) -> None:
        self.counted += tokens
        await self._send({"type": "http.response.body", "body": b"%d" % tokens, "more_body": more})

    async def start(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": []})


# ── one stream ───────────────────────────────────────────────────────────────────────────────────────────────────────


@in_no_time
async def test_a_burst_goes_out_at_once_and_the_rest_at_the_rate() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 4"))

    for _ in range(8):
        await stream.piece(1)

    assert client.times() == pytest.approx([0, 0, 0, 0, 0, 0.1, 0.2, 0.3])


@in_no_time
async def test_the_last_piece_of_a_stream_waits_for_what_it_brings() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 4"))

    await stream.piece(5)
    await stream.piece(10, more=False)

    assert client.times() == pytest.approx([0, 1])


@in_no_time
async def test_a_large_piece_waits_for_all_it_brings_and_the_next_one_for_its_own() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 4"))

    for tokens in (25, 0, 10):
        await stream.piece(tokens)

    assert client.times() == pytest.approx([2, 2, 3])


@in_no_time
async def test_a_stream_that_is_slow_by_itself_is_not_slowed_further() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 0"))

    for _ in range(4):
        await stream.piece(1)
        await asyncio.sleep(0.5)

    assert client.times() == pytest.approx([0, 0.5, 1, 1.5])


@in_no_time
async def test_the_start_and_the_end_of_an_answer_wait_for_nothing() -> None:
    client = Client()
    stream = Stream(client, pace("1 output token/hour"))

    await stream.start()
    await stream.piece(1000, more=False)

    assert client.times() == [0, 0]


@in_no_time
async def test_what_goes_out_is_what_came_in_its_order() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 0"))

    await stream.start()
    for tokens in (3, 1, 2):
        await stream.piece(tokens)
    await stream.piece(0, more=False)

    assert [message["type"] for _, message in client.heard] == ["http.response.start"] + 4 * ["http.response.body"]
    assert [message["body"] for _, message in client.heard[1:]] == [b"3", b"1", b"2", b"0"]
    assert [message["more_body"] for _, message in client.heard[1:]] == [True, True, True, False]


@in_no_time
async def test_of_several_throttles_the_slowest_counts_and_each_counts_all() -> None:
    client = Client()
    stream = Stream(client, pace("10 output tokens/second burst 0"), pace("60 output tokens/minute burst 29"))

    for _ in range(5):
        await stream.piece(10)

    assert client.times() == pytest.approx([0.9, 1.9, 2.9, 10, 20])


@in_no_time
async def test_streams_that_share_a_pace_have_its_rate_together() -> None:
    shared, client = pace("10 output tokens/second burst 0"), Client()

    async def stream() -> None:
        one = Stream(client, shared)
        for _ in range(10):
            await one.piece(1)

    await asyncio.gather(stream(), stream())

    assert client.times() == pytest.approx([0.1 * n for n in range(20)])


# ── a call ───────────────────────────────────────────────────────────────────────────────────────────────────────────

#: A text of some ten tokens a piece.
WORDS = "seven small words that take some time. "
PIECE = tokens_of_text(WORDS.encode())
ASK = b'{"model": "m1", "stream": true, "messages": []}'


class Throttled(Site):
    """A site where ada streams, ten tokens a second from the eleventh on."""

    def __init__(self, store: FakeStore, pieces: int, extra: str = "", limit: str = "10 output tokens/second burst 9"):
        tier = f'[tiers.slow]\nsignup = 1_000_000\nlimits = [{{ limit = "{limit}", mode = "throttle" }}]'
        routes = route(CHAT, "openai-chat", extra=extra)
        super().__init__(store, config_text(store="lease_s = 3", routes=routes, more=tier))
        store.runner.run(calls.open_account(self.gate.keys.account("ada"), self.gate.config.tiers["slow"]))
        self.backend.content_type = b"text/event-stream"
        self.backend.pieces = [openai_chunk(WORDS)] * pieces + [openai_usage_chunk(7, 5000) + DONE]

    async def serve(self, client: Client) -> float:
        """Serves one call to its end. Returns how long that took."""
        asked = [{"type": "http.request", "body": ASK, "more_body": False}]

        async def receive() -> Message:
            if asked:
                return asked.pop()
            await client.left.wait()
            return {"type": "http.disconnect"}

        headers = [(b"host", b"h"), (b"x-gateway-secret", SECRET), (b"x-user-id", b"ada")]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(),
                 "query_string": b"", "headers": headers}  # fmt: skip
        began_s = now_s()
        await self.app(scope, receive, client.send)
        return now_s() - began_s


def pieces_of(client: Client) -> list[float]:
    """When each piece of the text was heard."""
    return [at_s for at_s, message in client.heard if WORDS.encode() in message.get("body", b"")]


@in_no_time
async def test_a_throttled_call_is_slowed_by_what_is_counted_of_it_and_charged_as_any_other(store: FakeStore) -> None:
    site, client = Throttled(store, pieces=8), Client()

    await site.serve(client)
    await site.gate.close()

    counted = [tokens_of_text(WORDS.encode() * n) for n in range(1, 9)]
    assert pieces_of(client) == pytest.approx([(tokens - 10) / 10 for tokens in counted])
    assert site.account() == {"granted": 1_000_000, "spent": 5007, "held": 0}


@in_no_time
async def test_the_lease_of_a_throttled_call_is_renewed_while_it_waits(store: FakeStore) -> None:
    """One piece waits longer than a lease lasts."""
    site, client = Throttled(store, pieces=1, limit=f"{PIECE - 1} output tokens/minute burst {PIECE - 2}"), Client()

    took_s = await site.serve(client)
    await site.gate.close()

    assert took_s == pytest.approx(60 / (PIECE - 1), abs=0.5)
    assert took_s > 3
    assert store.scripts().count("renew") == pytest.approx(took_s, rel=0.3)
    assert site.account()["held"] == 0


@in_no_time
async def test_a_client_that_leaves_does_not_wait_for_the_throttle(store: FakeStore) -> None:
    site = Throttled(store, 8, 'on_disconnect = "stop"', "1 output token/hour burst 29")
    client = Client()
    call = asyncio.create_task(site.serve(client))
    await eventually(lambda: len(pieces_of(client)) == 2)

    client.left.set()

    assert await call < 2
    await site.gate.close()
    assert len(pieces_of(client)) == 2
    assert site.account()["held"] == 0
    assert 2 * PIECE <= site.account()["spent"] < 8 * PIECE


@in_no_time
async def test_a_throttled_call_reads_on_no_longer_than_its_route_says(store: FakeStore) -> None:
    site = Throttled(store, 8, "drain_s = 5", "1 output token/hour burst 29")
    client = Client()
    call = asyncio.create_task(site.serve(client))
    await eventually(lambda: len(pieces_of(client)) == 2)

    client.left.set()

    assert await call == pytest.approx(5, abs=1.5)
    await site.gate.close()
    assert site.account()["held"] == 0
    assert 2 * PIECE <= site.account()["spent"] < 8 * PIECE


@in_no_time
async def test_reading_on_to_the_usage_is_not_slowed_for_a_client_that_left(store: FakeStore) -> None:
    site, client = Throttled(store, pieces=40), Client()
    call = asyncio.create_task(site.serve(client))
    await eventually(lambda: len(pieces_of(client)) == 2)

    client.left.set()

    await call
    await site.gate.close()
    assert site.account() == {"granted": 1_000_000, "spent": 5007, "held": 0}
