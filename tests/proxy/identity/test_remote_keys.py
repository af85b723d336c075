"""Keys at a URL: fetched once for all who wait, again for a key that is new, kept while the URL is down."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config import JwtIssuer
from gateway.domain.principal import Principal
from gateway.proxy.identity import key_sets
from gateway.proxy.identity.key_sets import FETCH_EVERY_S, MAX_KEY_SET_BYTES, REFRESH_S, read_key_set
from gateway.proxy.identity.refusals import KEYS_UNAVAILABLE, UNAUTHENTICATED
from gateway.proxy.identity.tokens import Tokens
from gateway.proxy.refusals import CallRefused, Refusal
from tests.proxy.identity.signing import AUDIENCE, ISSUER, jwk, key_set, token
from tests.proxy.pools import eventually, on_a_loop
from tests.support.upstream import CLOSE, RESET, Pause, Request, Step, Upstream, Wait, json_answer


class Publisher:
    """A server that publishes a key set, and counts who asks."""

    def __init__(self, upstream: Upstream) -> None:
        self.steps: list[Step] = []
        self.requests: list[Request] = []
        self.base_url = upstream.url
        upstream.script = self._answer
        self.publish("rsa-1")

    @property
    def asked(self) -> int:
        return len(self.requests)

    def publish(self, *keys: str) -> None:
        self.steps = json_answer(key_set(*keys))

    def _answer(self, request: Request) -> Iterator[Step]:
        self.requests.append(request)
        return iter(self.steps)


@pytest.fixture
def publisher(upstream: Upstream) -> Publisher:
    return Publisher(upstream)


@pytest.fixture
def tokens(publisher: Publisher) -> Tokens:
    url = publisher.base_url + "/.well-known/jwks.json"
    return Tokens((JwtIssuer(ISSUER, (AUDIENCE,), ("RS256",), jwks_url=url),))


class Clock:
    def __init__(self) -> None:
        self.passed_s = 0.0
        self._steady = time.monotonic

    def __call__(self) -> float:
        return self._steady() + self.passed_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


async def heard(tokens: Tokens, key: str = "rsa-1", **change: Any) -> Principal | Refusal:
    try:
        return await tokens.find(b"Bearer " + token(key, **change))
    except CallRefused as refused:
        return refused.refusal


ADA = Principal("ada")


@on_a_loop
async def test_keys_are_fetched_once_for_all_who_wait_and_then_not_again(publisher: Publisher, tokens: Tokens) -> None:
    found = await asyncio.gather(*(heard(tokens, sub=f"user-{n}") for n in range(20)))

    assert found == [Principal(f"user-{n}") for n in range(20)]
    assert publisher.asked == 1
    assert publisher.requests[0].target == "/.well-known/jwks.json"


@on_a_loop
async def test_a_token_of_a_rotated_key_is_believed_at_once(publisher: Publisher, tokens: Tokens, clock: Clock) -> None:
    assert await heard(tokens) == ADA
    publisher.publish("rsa-1", "rsa-2")
    clock.passed_s += FETCH_EVERY_S

    assert await heard(tokens, "rsa-2") == ADA
    assert publisher.asked == 2


@on_a_loop
async def test_made_up_key_ids_do_not_make_the_gateway_ask_more_often(
    publisher: Publisher, tokens: Tokens, clock: Clock
) -> None:
    assert await heard(tokens) == ADA

    for n in range(50):
        assert await heard(tokens, header={"kid": f"k{n}"}) is UNAUTHENTICATED
        clock.passed_s += FETCH_EVERY_S / 25

    assert publisher.asked <= 3


@on_a_loop
async def test_keys_are_refreshed_beside_the_calls_and_old_ones_go(
    publisher: Publisher, tokens: Tokens, clock: Clock
) -> None:
    assert await heard(tokens) == ADA
    publisher.publish("rsa-2")
    clock.passed_s += REFRESH_S - 1
    tokens.refresh_keys()
    assert publisher.asked == 1

    clock.passed_s += 1
    tokens.refresh_keys()
    await _fetched(publisher, tokens, 2)

    assert await heard(tokens, sub="bob") is UNAUTHENTICATED
    assert await heard(tokens, "rsa-2") == ADA


@pytest.mark.parametrize(
    "steps",
    [
        [RESET],
        [CLOSE],
        [b"not HTTP\r\n\r\n"],
        json_answer({"keys": []}),
        json_answer({"keys": [jwk("ec-1")]}),
        json_answer(b"{"),
        json_answer(key_set("rsa-2"), status=500),
        json_answer(key_set("rsa-2"), status=204),
        json_answer(gzip.compress(key_set("rsa-2")), headers="Content-Encoding: gzip\r\n"),
        json_answer(key_set("rsa-2") + b" " * MAX_KEY_SET_BYTES),
        json_answer(b"[" * (MAX_KEY_SET_BYTES - 1)),
    ],
    ids=["reset", "close", "not-http", "empty", "other-kind", "cut", "500", "204", "packed", "too-long", "deep"],
)
@on_a_loop
async def test_while_the_url_is_down_the_old_keys_stay(
    publisher: Publisher, tokens: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture, steps: list[Step]
) -> None:
    assert await heard(tokens) == ADA
    publisher.steps = steps
    for n in range(3):
        clock.passed_s += REFRESH_S
        tokens.refresh_keys()
        await _fetched(publisher, tokens, n + 2)

    assert await heard(tokens, sub="bob") == Principal("bob")
    assert await heard(tokens, "rsa-2") is UNAUTHENTICATED
    assert len([line for line in caplog.messages if "cannot be fetched" in line]) == 1

    publisher.publish("rsa-2")
    clock.passed_s += REFRESH_S
    assert await heard(tokens, "rsa-2", sub="eve") == Principal("eve")


@on_a_loop
async def test_without_any_key_a_token_is_neither_good_nor_bad(
    publisher: Publisher, tokens: Tokens, clock: Clock
) -> None:
    publisher.steps = [RESET]
    assert [await heard(tokens) for _ in range(3)] == [KEYS_UNAVAILABLE] * 3
    assert publisher.asked == 1

    publisher.publish("rsa-1")
    clock.passed_s += FETCH_EVERY_S
    assert await heard(tokens) == ADA


@on_a_loop
async def test_a_redirect_is_not_followed(publisher: Publisher, tokens: Tokens) -> None:
    elsewhere = f"Location: {publisher.base_url}/elsewhere\r\n"
    publisher.steps = json_answer(key_set("rsa-1"), status=302, headers=elsewhere)

    assert await heard(tokens) is KEYS_UNAVAILABLE
    assert [request.target for request in publisher.requests] == ["/.well-known/jwks.json"]


@on_a_loop
async def test_no_address_in_a_token_is_called(publisher: Publisher, tokens: Tokens) -> None:
    evil = {"kid": "rsa-evil", "jku": publisher.base_url + "/evil", "x5u": publisher.base_url + "/evil"}

    assert await heard(tokens, "rsa-evil", header=evil) is UNAUTHENTICATED
    assert {request.target for request in publisher.requests} == {"/.well-known/jwks.json"}


@on_a_loop
async def test_a_fetch_that_drips_is_given_up(
    publisher: Publisher, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece would be in time, and the whole never."""
    monkeypatch.setattr(key_sets, "FETCH_TIMEOUT_S", 0.3)
    head = b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n"
    publisher.steps = [head] + [step for _ in range(200) for step in (b" ", Pause(0.05))]

    began = time.monotonic()
    assert await heard(tokens) is KEYS_UNAVAILABLE
    assert time.monotonic() - began < 5


@on_a_loop
async def test_a_caller_who_leaves_does_not_end_the_fetch_of_others(publisher: Publisher, tokens: Tokens) -> None:
    gone = threading.Event()
    publisher.steps = [Wait(gone), *publisher.steps]
    leaving = asyncio.create_task(heard(tokens, sub="bob"))
    staying = asyncio.create_task(heard(tokens))
    await eventually(lambda: publisher.asked == 1)

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gone.set()

    assert await staying == ADA


@on_a_loop
async def test_a_fetch_ends_with_the_process(publisher: Publisher, tokens: Tokens) -> None:
    publisher.steps = [Wait()]
    waiting = asyncio.create_task(heard(tokens))
    await eventually(lambda: publisher.asked == 1)

    tokens.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


@on_a_loop
async def test_an_address_with_a_secret_in_it_is_not_logged(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (publisher.base_url + "/keys?key=hunter2", "http://127.0.0.1:1/hunter2"):
        publisher.steps = json_answer({}, status=404)
        issuer = JwtIssuer(ISSUER, (AUDIENCE,), ("RS256",), jwks_url=url)
        assert await heard(Tokens((issuer,))) is KEYS_UNAVAILABLE
        assert "hunter2" not in repr(issuer)

    assert len([line for line in caplog.messages if "cannot be fetched" in line]) == 2
    assert "hunter2" not in caplog.text


async def _fetched(publisher: Publisher, tokens: Tokens, times: int) -> None:
    """Waits until so many fetches were made and none is under way."""
    keys: Any = tokens._verifiers[ISSUER].keys
    await eventually(lambda: publisher.asked == times and keys._fetching is None)


# ── what stands in a key set ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key",
    [
        jwk("rsa-2", use="enc"),
        jwk("rsa-2", key_ops=["encrypt"]),
        jwk("rsa-2", key_ops=7),
        jwk("rsa-2", alg="RSA-OAEP"),
        jwk("rsa-2", alg=["RS256"]),
        jwk("rsa-2", kid=7),
        jwk("rsa-2", kty=["RSA"]),
        jwk("rsa-2", kty="EC"),
        jwk("rsa-2", n=None),
        jwk("rsa-2", n=7),
        jwk("rsa-2", n="!"),
        jwk("rsa-2", e=""),
        jwk("ec-1", x="AA"),
        jwk("ec-1", crv="P-384"),
        jwk("ec-1", crv={}),
        jwk("ed-1", x=None),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "rsa-2"},
        {},
        [],
        None,
        7,
    ],
    ids=[str(number) for number in range(21)],  # The keys are new in each process: their text names no test.
)
def test_a_key_for_something_else_or_broken_is_passed_over(key: Any) -> None:
    found = read_key_set(key_set("rsa-1", key), ("RS256", "ES256", "EdDSA"))

    assert found.find("rsa-1", "RS256") is not None
    assert len(found._keys) == 1


def test_a_key_without_an_algorithm_of_its_own_serves_those_that_are_allowed() -> None:
    found = read_key_set(key_set("rsa-1", "ec-1", jwk("ec-384")), ("RS256", "PS512", "ES384"))

    assert set(found._keys) == {("rsa-1", "RS256"), ("rsa-1", "PS512"), ("ec-384", "ES384")}
