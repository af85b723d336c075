"""Real clients whose balance ends in the middle of a stream: each ends as if the model had run out of tokens, without
an exception, and pays for what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.acceptance.test_clients import HELLO, anthropic_client, openai_client
from tests.support.processes import GatewaySystem
from tests.support.upstream import Request, Step, Upstream, Wait, chunk, openai_chunk, sse, stream_head
from tests.support.waiting import until

BALANCE = 90
#: Accounts that cannot pay for a whole answer, and routes that hold a little at a time.
CONFIG = {"more": f"[tiers.tiny]\nsignup = {BALANCE}\n"}
WORDS = 200


def endless(pieces: list[bytes]) -> Callable[[Request], list[Step]]:
    """A stream that goes on until it is stopped."""
    return lambda request: [stream_head(), *(chunk(piece) for piece in pieces), Wait()]


CHAT = [openai_chunk("").replace(b'"content"', b'"role": "assistant", "content"'), *[openai_chunk(" word")] * WORDS]


def responses_stream() -> list[bytes]:
    where = {"item_id": "i", "output_index": 0, "content_index": 0}
    response = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": [],
                "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip
    item = {"type": "message", "id": "i", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    delta = {"type": "response.output_text.delta", **where, "delta": " word", "logprobs": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        *[delta] * WORDS,
    ]
    return [sse(event | {"sequence_number": n}, event["type"]) for n, event in enumerate(events)]


def anthropic_stream() -> list[bytes]:
    message: dict[str, Any] = {"id": "msg", "type": "message", "role": "assistant", "model": "m", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}
    return [
        sse({"type": "message_start", "message": message}, "message_start"),
        sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            "content_block_start"),
        *[sse(delta, "content_block_delta")] * WORDS,
    ]  # fmt: skip


def gemini_stream() -> list[bytes]:
    content = {"role": "model", "parts": [{"text": " word"}]}
    return [sse({"candidates": [{"content": content, "index": 0}], "responseId": "r"})] * WORDS


@pytest.fixture(autouse=True)
def stopped(shared_upstream: Upstream) -> Any:
    """Each of these tests has its call stopped at the upstream."""
    before = shared_upstream.stopped
    yield
    until(lambda: shared_upstream.stopped > before, what="the end of the call upstream")


def paid(system: GatewaySystem, account: str, text: str) -> None:
    balance = system.balance(account)
    assert BALANCE // 2 < balance["spent"] <= BALANCE
    assert balance["held"] == 0
    assert 10 < text.count("word") < WORDS


def test_openais_streams_end_by_length(system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = endless(CHAT)
    with openai_client(system, system.key("cut-openai", "tiny")) as client:
        asked: Any = {"model": "m", "messages": HELLO, "max_tokens": 40}
        chunks = list(client.chat.completions.create(**asked, stream=True))

    assert chunks[-1].choices[0].finish_reason == "length"
    paid(system, "cut-openai", "".join(one.choices[0].delta.content or "" for one in chunks))


def test_openais_helper_ends_and_its_async_client_too(system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = endless(CHAT)
    key = system.key("cut-openai-helper", "tiny")

    async def ask() -> tuple[str, str]:
        async with (
            openai.AsyncOpenAI(base_url=f"{system.url}/v1", api_key=key) as client,
            client.chat.completions.stream(model="m", messages=HELLO, max_tokens=40) as stream,
        ):
            async for _ in stream:
                pass
            choice = stream.current_completion_snapshot.choices[0]
            return choice.message.content or "", choice.finish_reason

    text, finished = asyncio.run(ask())

    assert finished == "length"
    paid(system, "cut-openai-helper", text)


def test_an_openai_response_ends_as_incomplete(system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = endless(responses_stream())
    with openai_client(system, system.key("cut-responses", "tiny")) as client:
        *_, last = client.responses.create(model="m", input="Hello", max_output_tokens=40, stream=True)

    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    paid(system, "cut-responses", last.response.output_text)


def test_an_anthropic_message_ends_by_max_tokens(system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = endless(anthropic_stream())
    with (
        anthropic_client(system, system.key("cut-anthropic", "tiny")) as client,
        client.messages.stream(model="m", max_tokens=40, messages=HELLO) as stream,
    ):
        text = "".join(stream.text_stream)
        message = stream.get_final_message()

    assert isinstance(message, anthropic.types.Message)
    assert message.stop_reason == "max_tokens"
    assert message.usage.input_tokens + message.usage.output_tokens == system.balance("cut-anthropic")["spent"]
    paid(system, "cut-anthropic", text)


def test_a_gemini_stream_ends_by_max_tokens(system: GatewaySystem, shared_upstream: Upstream) -> None:
    from google import genai
    from google.genai import types

    shared_upstream.script = endless(gemini_stream())
    options = types.HttpOptions(base_url=system.url, api_version="v1beta")
    with genai.Client(api_key=system.key("cut-gemini", "tiny"), http_options=options) as client:
        config = types.GenerateContentConfig(max_output_tokens=40)
        chunks = list(client.models.generate_content_stream(model="m", contents="Hello", config=config))

    assert chunks[-1].candidates is not None
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.MAX_TOKENS
    paid(system, "cut-gemini", "".join(one.text or "" for one in chunks))


def test_a_gemini_array_is_closed(system: GatewaySystem, shared_upstream: Upstream) -> None:
    elements = [{"candidates": [{"content": {"parts": [{"text": " word"}]}, "index": 0}]}] * WORDS
    pieces = [b"[" + json.dumps(elements[0]).encode(), *(b"\n,\r\n" + json.dumps(one).encode() for one in elements[1:])]
    shared_upstream.script = lambda request: [stream_head("application/json"), *map(chunk, pieces), Wait()]
    answer = httpx2.post(
        f"{system.url}/v1beta/models/m:streamGenerateContent",
        json={"contents": [], "generationConfig": {"maxOutputTokens": 40}},
        headers={"Authorization": f"Bearer {system.key('cut-gemini-array', 'tiny')}"},
    ).json()

    assert answer[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    paid(system, "cut-gemini-array", json.dumps(answer))
