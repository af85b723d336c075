"""What a call is held at before anyone knows its cost: the request's own limits, and estimates where it has none."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.domain.route import Route
from gateway.proxy.gate import Gate
from gateway.proxy.request import MAX_TOKENS, RequestFacts, read
from tests.proxy.pools import on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_gate import hold, open_on
from tests.support.config import config_text

#: What is named but not shown is worth 1,000 tokens here; an answer without a limit 100.
CHAT = Route("/x", "main", "chat", "openai-chat", default_output_tokens=100, default_input_tokens=1000)


def facts_of(body: Any, dialect: str = "openai-chat", **route: Any) -> RequestFacts:
    chosen = dataclasses.replace(CHAT, dialect=dialect, **route)
    return read(chosen, "/x", b"application/json", json.dumps(body).encode())


# ── limits of the output, in every dialect ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dialect", "body", "limit"),
    [
        ("openai-chat", {"max_tokens": 9, "max_completion_tokens": 5}, 9),
        ("openai-chat", {"max_tokens": 9, "max_completion_tokens": 50}, 50),
        ("openai-chat", {"max_tokens": 9, "n": 2, "best_of": 5}, 45),
        ("openai-responses", {"max_output_tokens": 50, "reasoning": {"effort": "high"}}, 50),
        # OpenRouter's budget lies within the limit, and is believed where it is larger.
        ("openai-chat", {"max_tokens": 100, "reasoning": {"max_tokens": 60}}, 100),
        ("openai-chat", {"max_tokens": 100, "reasoning": {"max_tokens": 600}}, 600),
        ("anthropic-messages", {"max_tokens": 16_000, "thinking": {"budget_tokens": 10_000}}, 16_000),
        # Interleaved thinking may exceed max_tokens.
        ("anthropic-messages", {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 9000}}, 9000),
        ("anthropic-messages", {"max_tokens": 4000, "thinking": {"type": "disabled"}}, 4000),
        ("cohere", {"max_tokens": 300, "thinking": {"type": "enabled", "token_budget": 200}}, 300),
        ("gemini", {"generationConfig": {"maxOutputTokens": 64, "thinkingConfig": {"thinkingBudget": 640}}}, 640),
        ("gemini", {"generation_config": {"max_output_tokens": 64, "thinking_config": {"thinking_budget": 6}}}, 64),
        ("gemini", {"generationConfig": {"maxOutputTokens": 64, "thinkingConfig": {"thinkingBudget": -1}}}, 64),
        ("gemini-interactions", {"generation_config": {"max_output_tokens": 32}}, 32),
        ("ollama", {"options": {"num_predict": 77}, "think": True}, 77),
        ("dify", {"query": "hi", "inputs": {}, "user": "u"}, None),
        ("openai-embeddings", {"input": "hi", "max_tokens": 9}, 0),
        # What is not of the usual shape is the backend's to refuse.
        ("openai-chat", {"max_tokens": 9, "thinking": True, "reasoning": "high", "thinking_budget": "much"}, 9),
        ("anthropic-messages", {"max_tokens": 9, "thinking": {"budget_tokens": [1]}}, 9),
        ("openai-chat", {"max_tokens": 10**12, "n": 10**12}, MAX_TOKENS),
    ],
)  # fmt: skip
def test_a_limit_is_read_under_any_of_its_names_and_the_larger_is_believed(
    dialect: str, body: dict[str, Any], limit: int | None
) -> None:
    assert facts_of(body, dialect).output_limit == limit


# ── inputs that a request only names ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("things", "body"),
    [
        (1, {"previous_response_id": "resp_1", "input": "hi"}),
        (1, {"conversation": {"id": "conv_1"}, "input": "hi"}),
        (1, {"conversation": "conv_1", "input": "hi"}),
        (1, {"previous_interaction_id": "i_1", "input": "hi"}),
        (1, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://h/a.png"}]}]}),
        (1, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}),
        (2, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://h/a.png"}}] * 2}]}),
        (1, {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "http://h/a"}}]}]}),
        (1, {"messages": [{"content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}]}]}),
        (1, {"contents": [{"parts": [{"fileData": {"fileUri": "https://h/v.mp4"}}]}]}),
        (1, {"contents": [{"parts": [{"file_data": {"file_uri": "gs://b/v.mp4"}}]}], "cachedContent": ""}),
        (1, {"cachedContent": "cachedContents/1"}),
        (1, {"query": "hi", "files": [{"type": "image", "transfer_method": "remote_url", "url": "https://h/a"}]}),
        (2, {"query": "hi", "conversation_id": "c1", "files": [{"upload_file_id": "u1"}]}),
        (0, {"query": "hi", "conversation_id": ""}),
        (0, {"previous_response_id": None, "input": "hi"}),
        (0, {"messages": [{"content": [{"image_url": {"url": "data:image/png;base64,aGFsbG8="}}]}]}),
        # Within a text it is a text.
        (0, {"messages": [{"content": '{"file_id": "file-1", "url": "https://h/a.png"} https://h/b.png'}]}),
    ],
)  # fmt: skip
def test_each_input_that_is_only_named_adds_the_routes_estimate(things: int, body: dict[str, Any]) -> None:
    without = facts_of(body, default_input_tokens=0).input_tokens

    assert facts_of(body).input_tokens == without + 1000 * things


def test_no_number_of_things_passes_the_limit_of_a_call() -> None:
    assert facts_of({"file_ids": [{"file_id": "f"}] * 9}, default_input_tokens=10**9).input_tokens == MAX_TOKENS


# ── images and audio ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("body", "images"), [({"n": 3}, 3), ({}, 1), ({"n": 0}, 1), ({"n": "2"}, 2)])
def test_as_many_images_are_held_for_as_are_asked_for(body: dict[str, Any], images: int) -> None:
    assert facts_of(body, "openai-images").images == images
    assert facts_of(body, "openai-chat").images == 0


def test_a_form_may_ask_for_several_images() -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n4\r\n--b--'
    route = dataclasses.replace(CHAT, dialect="openai-images")

    assert read(route, "/x", b"multipart/form-data; boundary=b", body).images == 4


# ── what is held ─────────────────────────────────────────────────────────────────────────────────────────────────────

#: Beside tokens at one unit each: 10 a call, 100 a second of audio, 40 an image.
PARTS = '[prices."parts"]\ninput = 1_000_000\noutput = 1_000_000\nrequest = 10\naudio_second = 100\nimage = 40\n'


@pytest.fixture(scope="module")
def config() -> Config:
    return parse(config_text(more=PARTS + '[tiers.half]\nsignup = 1_000_000\nmultiplier = "0.5"\n'), "config.toml", {})


@pytest.mark.parametrize(
    ("facts", "route", "amount"),
    [
        (RequestFacts("parts", counted=5, output_limit=20), {}, 10 + 5 + 20),
        (RequestFacts("parts", counted=5, images=3), {}, 10 + 5 + 100 + 120),
        (RequestFacts("parts", counted=5, output_limit=0, audio_ms=1500), {}, 10 + 5 + 150),
        (RequestFacts("m1", counted=5, thinking_tokens=400), {}, 5 + 400 + 100),
        (RequestFacts("m1", counted=5, thinking_tokens=400, answers=2), {}, 5 + 1000),
        # A cap holds for streams, which can hold more as they go.
        (RequestFacts("m1", counted=5, output_limit=9000, stream=True), {"max_hold": 50}, 50),
        (RequestFacts("m1", counted=5, output_limit=9000), {"max_hold": 50}, 9005),
        (RequestFacts("m1", counted=5, output_limit=9, stream=True), {"max_hold": 50}, 14),
        (RequestFacts("m1", counted=70, output_limit=9000, stream=True), {"max_hold": 50}, 70),
        (RequestFacts("m1", counted=5, output_limit=9000, stream=True), {"max_hold": 0}, 5),
        (RequestFacts("parts", counted=5, output_limit=9, stream=True), {"operation": "fixed", "max_hold": 1}, 3),
    ],
)  # fmt: skip
@on_a_loop
async def test_a_call_is_held_at_the_most_it_may_cost_up_to_the_cap(
    store: FakeStore, gate: Gate, facts: RequestFacts, route: dict[str, Any], amount: int
) -> None:
    open_on(store, gate, "pro")

    _, _, held = await hold(gate, dataclasses.replace(CHAT, **route), facts)

    assert held == amount


@on_a_loop
async def test_multipliers_of_tier_and_route_are_in_the_hold(store: FakeStore, gate: Gate) -> None:
    discounted = parse(
        config_text(more='[tiers.half]\nsignup = 1_000_000\nmultiplier = "0.5"\n').replace(
            'path = "/v1/responses"', 'path = "/v1/responses"\nmultiplier = "0.5"'
        ),
        "config.toml",
        {},
    )
    open_on(store, gate, "half")
    route = discounted.routes.match("POST", "/v1/responses")
    assert route is not None

    _, _, held = await hold(gate, route, RequestFacts("m1", counted=5, output_limit=90), discounted)

    assert held == 24  # A quarter of 95, rounded up once.
