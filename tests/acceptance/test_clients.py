"""The official clients, unchanged but for their base URL, through a gateway that runs as a process."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai

from tests.support.processes import GatewaySystem
from tests.support.upstream import (
    DONE,
    Upstream,
    json_answer,
    openai_chunk,
    openai_json,
    openai_usage_chunk,
    sse,
    stream_answer,
)

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
ANTHROPIC_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 11, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0, "output_tokens": 7},
}


def openai_client(system: GatewaySystem, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{system.url}/v1", api_key=key)


def anthropic_client(system: GatewaySystem, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=system.url, api_key=key)


def anthropic_stream() -> list[bytes]:
    begun = ANTHROPIC_MESSAGE | {"content": [], "stop_reason": None}
    begun["usage"] = {"input_tokens": 11, "cache_read_input_tokens": 5, "output_tokens": 1}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        sse({"type": "message_start", "message": begun}, "message_start"),
        sse(block, "content_block_start"),
        sse({"type": "ping"}, "ping"),
        sse(delta, "content_block_delta"),
        sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
        sse({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 7}}, "message_delta"),
        sse({"type": "message_stop"}, "message_stop"),
    ]


def test_openai_gets_its_answer_and_the_account_pays_what_it_used(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("openai-json", "pro")
    shared_upstream.script = lambda request: json_answer(openai_json(prompt=21, completion=25))
    with openai_client(system, key) as client:
        answer = client.chat.completions.create(model="some-model", messages=HELLO)

    assert answer.choices[0].message.content == "Hello."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 46
    balance = system.balance("openai-json")
    assert balance["spent"] == 46
    assert balance["held"] == 0


def test_an_openai_stream_arrives_whole_and_is_paid_before_it_ends(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("openai-stream", "pro")
    shared_upstream.script = lambda request: stream_answer(
        [openai_chunk("Hel"), openai_chunk("lo."), openai_usage_chunk(9, 2), DONE]
    )
    with openai_client(system, key) as client:
        stream = client.chat.completions.create(model="some-model", messages=HELLO, stream=True)
        chunks = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello."
    assert system.balance("openai-stream")["spent"] == 11


def test_usage_is_asked_for_upstream_and_hidden_from_a_client_that_did_not_ask(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("openai-hidden", "pro")
    pieces = [openai_chunk("Hello."), openai_usage_chunk(9, 1), DONE]
    shared_upstream.script = lambda request: stream_answer(pieces)
    asked = {"model": "some-model", "messages": HELLO, "stream": True}
    headers = {"Authorization": f"Bearer {key}"}

    hidden = httpx2.post(f"{system.url}/v1/chat/completions", json=asked, headers=headers)
    upstream_saw = shared_upstream.requests[-1].json()
    shown = httpx2.post(
        f"{system.url}/v1/chat/completions",
        json=asked | {"stream_options": {"include_usage": True}},
        headers=headers,
    )

    assert upstream_saw == asked | {"stream_options": {"include_usage": True}}
    assert hidden.content == pieces[0] + DONE
    assert shown.content == b"".join(pieces)
    assert system.balance("openai-hidden")["spent"] == 20


def test_anthropic_gets_its_answer_and_the_account_pays_what_it_used(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("anthropic-json", "pro")
    shared_upstream.script = lambda request: json_answer(ANTHROPIC_MESSAGE)
    with anthropic_client(system, key) as client:
        answer = client.messages.create(model="claude-x", max_tokens=100, messages=HELLO)

    assert answer.content[0].text == "Hello."  # type: ignore[union-attr]
    seen = shared_upstream.requests[-1]
    assert seen.header("anthropic-version") is not None
    assert seen.header("x-api-key") is None
    assert seen.header("authorization") == "Bearer upstream-secret"
    assert system.balance("anthropic-json")["spent"] == 11 + 5 + 7


def test_an_anthropic_stream_is_metered_by_its_last_word(system: GatewaySystem, shared_upstream: Upstream) -> None:
    key = system.key("anthropic-stream", "pro")
    shared_upstream.script = lambda request: stream_answer(anthropic_stream())
    with (
        anthropic_client(system, key) as client,
        client.messages.stream(model="claude-x", max_tokens=100, messages=HELLO) as stream,
    ):
        text = "".join(stream.text_stream)

    assert text == "Hello."
    assert system.balance("anthropic-stream")["spent"] == 11 + 5 + 7


def test_a_free_account_spends_its_day_then_its_signup_then_is_refused(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("free-user", "free")
    shared_upstream.script = lambda request: json_answer(openai_json())
    remaining = []
    with httpx2.Client(base_url=system.url, headers={"x-api-key": key}) as client:
        for _ in range(20):
            answer = client.post("/v1/chat/completions", json={"model": "some-model", "messages": HELLO})
            remaining.append(int(answer.headers["x-quota-remaining"]))
        refused = client.post("/v1/chat/completions", json={"model": "some-model", "messages": HELLO})

    assert remaining == list(range(19, -1, -1))
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"
    # Tomorrow's allowance covers one more call: waiting helps, and the answer says how long.
    assert 0 < int(refused.headers["retry-after"]) <= 26 * 3600
    system.drained()
    kinds = [entry["kind"] for entry in system.ledger("free-user")]
    assert kinds == ["SIGNUP", "DAILY_RESET"] + ["USAGE"] * 20
    assert [entry["bucket"].split(":")[0] for entry in system.ledger("free-user")][2:] == ["day"] * 5 + ["credits"] * 15
