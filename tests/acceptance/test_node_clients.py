"""The JavaScript clients, unchanged but for their base URL: what they get, and what they make of limits."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.proxy.refusals import Refusal, render
from tests.acceptance.test_cut_clients import BALANCE, CHAT, WORDS, endless, responses_stream
from tests.support.node import NodeClients
from tests.support.processes import GatewaySystem
from tests.support.upstream import DONE, Request, Step, Upstream, json_answer, openai_json, sse, stream_answer

CONFIG = {"more": f"[tiers.tiny]\nsignup = {BALANCE}\n"}
CONFIG["routes"] = "\n".join(
    f'[[routes]]\npath = "{path}"\nupstream = "main"\ndialect = "{dialect}"\noperation = "chat"\n'
    "default_output_tokens = 40\n"
    for path, dialect in (("/v1/chat/completions", "openai-chat"), ("/v1/responses", "openai-responses"))
) + '[[routes]]\npath = "/fixed"\nupstream = "main"\ndialect = "auto"\noperation = "fixed"\n'  # fmt: skip

CHOICE = {"index": 0, "delta": {}, "finish_reason": "stop"}
FINISH = sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [CHOICE]})
EXHAUSTED = Refusal(429, "insufficient_quota", "Nothing is left until midnight.", ("day",), 3_600_000)
PAYMENT_REQUIRED = Refusal(402, "insufficient_quota", "Top up to go on.", ("credits",))
RATE_LIMITED = Refusal(429, "rate_limit_exceeded", "60 requests a minute are allowed.", ("burst",), 300)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodeClients:
    return NodeClients(tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("client", ["openai", "ai-sdk"])
def test_an_answer_arrives(client: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())

    assert node.ask(client, system.url, system.key(f"node-{client}", "pro"))["text"] == "Hello."


@pytest.mark.parametrize("client", ["openai-stream", "ai-sdk-stream"])
def test_a_stream_arrives_whole(
    client: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: stream_answer([*CHAT, FINISH, DONE])

    assert node.ask(client, system.url, system.key(f"node-{client}", "pro"))["text"] == " word" * WORDS


@pytest.mark.parametrize(
    ("client", "finished"),
    [
        ("openai-stream", "length"),
        ("openai-responses-stream", "max_output_tokens"),
        ("ai-sdk-stream", "length"),
        ("ai-sdk-responses-stream", "length"),
    ],
)
def test_a_stream_that_is_cut_ends_without_an_exception(
    client: str, finished: str, node: NodeClients, system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = endless(responses_stream() if "responses" in client else CHAT)
    account = f"cut-{client}"
    said = node.ask(client, system.url, system.key(account, "tiny"))

    assert said["finished"] == finished
    assert 10 < said["text"].count("word") < WORDS
    balance = system.balance(account)
    assert (balance["held"], BALANCE // 2 < balance["spent"] <= BALANCE) == (0, True)


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Refusing:
    """An upstream in the gateway's place that refuses every call, and notes when each came."""

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._came: list[float] = []

    def __call__(self, request: Request) -> list[Step]:
        self._came.append(time.monotonic())
        headers, body = render(self._refusal, "openai-chat", "req_1")
        lines = [f"{name.decode()}: {value.decode()}\r\n" for name, value in headers if b"content" not in name]
        return json_answer(body, self._refusal.status, "".join(lines))

    @property
    def waits_s(self) -> list[float]:
        """How long the client waited between its tries, to a second's tenth."""
        return [round(later - sooner, 1) for sooner, later in zip(self._came, self._came[1:], strict=False)]


def refused(node: NodeClients, upstream: Upstream, client: str, refusal: Refusal) -> tuple[dict[str, Any], list[float]]:
    refusing = Refusing(refusal)
    upstream.script = refusing
    said = node.ask(client, upstream.url)
    assert (said["status"], said["code"]) == (refusal.status, refusal.code)
    assert refusal.message in said["message"]
    return said, refusing.waits_s


@pytest.mark.parametrize("client", ["openai", "openai-stream"])
def test_openai_does_not_repeat_what_is_exhausted_and_waits_out_a_short_limit_twice(
    client: str, node: NodeClients, shared_upstream: Upstream
) -> None:
    said, waits_s = refused(node, shared_upstream, client, EXHAUSTED)
    assert (said["error"], waits_s) == ("RateLimitError", [])

    said, waits_s = refused(node, shared_upstream, client, PAYMENT_REQUIRED)
    assert (said["error"], waits_s) == ("APIError", [])

    said, waits_s = refused(node, shared_upstream, client, RATE_LIMITED)
    assert said["error"] == "RateLimitError"
    assert len(waits_s) == 2
    assert all(0.3 <= wait_s < 2 for wait_s in waits_s)


@pytest.mark.parametrize("client", ["ai-sdk", "ai-sdk-stream"])
def test_the_ai_sdk_repeats_every_429_twice_and_no_402(
    client: str, node: NodeClients, shared_upstream: Upstream
) -> None:
    """It does not read `x-should-retry`, and waits 2 s and 4 s of its own when it is told of more than a minute."""
    said, waits_s = refused(node, shared_upstream, client, EXHAUSTED)
    assert (said["error"], said["reason"], said["cause"]) == ("RetryError", "maxRetriesExceeded", "APICallError")
    assert [int(wait_s) for wait_s in waits_s] == [2, 4]

    said, waits_s = refused(node, shared_upstream, client, PAYMENT_REQUIRED)
    assert (said["error"], waits_s) == ("APICallError", [])

    said, waits_s = refused(node, shared_upstream, client, RATE_LIMITED)
    assert (said["error"], said["cause"]) == ("RetryError", "APICallError")
    assert len(waits_s) == 2
    assert all(0.3 <= wait_s < 2 for wait_s in waits_s)
