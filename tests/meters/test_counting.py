"""Output counted from the bytes that pass, against the text that was in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.meters import Meter, open_meter, tokens_of_text
from gateway.meters.counting import MAX_PENDING_BYTES
from tests.meters.answers import ANSWERS, JSON, NDJSON, SSE, TEXT
from tests.meters.feeding import fed, meter_for
from tests.meters.texts import ENGLISH, INDONESIAN, THAI, VIETNAMESE

STORY = ENGLISH + INDONESIAN + THAI + VIETNAMESE


def sse(event: Any, name: str = "") -> str:
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(event, ensure_ascii=False)}\n\n"


#: (dialect, content type, one chunk of the answer that says these words).
STREAMS: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("openai-chat", SSE, lambda words: sse({"choices": [{"index": 0, "delta": {"content": words}}], "usage": None})),
    ("openai-chat", SSE, lambda words: sse({"choices": [{"delta": {"content": None, "reasoning_content": words}}]})),
    ("openai-chat", SSE, lambda words: sse({"object": "text_completion", "choices": [{"text": words}]})),
    ("openai-responses", SSE, lambda words: sse({"type": "response.output_text.delta", "delta": words})),
    (
        "anthropic-messages",
        SSE,
        lambda words: sse(
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": words}}, "content_block_delta"
        ),
    ),
    (
        "anthropic-messages",
        SSE,
        lambda words: sse({"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": words}}),
    ),
    ("gemini", SSE, lambda words: sse({"candidates": [{"content": {"parts": [{"text": words}], "role": "model"}}]})),
    (
        "gemini-interactions",
        SSE,
        lambda words: sse({"index": 1, "delta": {"text": words, "type": "text"}, "event_type": "step.delta"}),
    ),
    ("cohere", SSE, lambda words: sse({"type": "content-delta", "delta": {"message": {"content": {"text": words}}}})),
    ("openai-audio", SSE, lambda words: sse({"type": "transcript.text.delta", "delta": words})),
    ("dify", SSE, lambda words: sse({"event": "message", "task_id": "t", "answer": words, "created_at": 1})),
    ("dify", SSE, lambda words: sse({"event": "text_chunk", "workflow_run_id": "r", "data": {"text": words}})),
    ("ollama", NDJSON, lambda words: json.dumps({"model": "m", "response": words, "done": False}) + "\n"),
    ("vercel-data", TEXT, lambda words: f"0:{json.dumps(words)}\n"),
    ("path", SSE, lambda words: sse({"type": "text-delta", "delta": words})),
    ("path", TEXT, lambda words: words),
    ("path", SSE, lambda words: f"data: {words}\n\n".replace("\n ", " ")),
)
each_stream = pytest.mark.parametrize(
    ("dialect", "content_type", "chunk"), STREAMS, ids=[f"{dialect}-{row}" for row, (dialect, *_) in enumerate(STREAMS)]
)


def chunks_of(story: str, chunk: Callable[[str], str]) -> list[bytes]:
    return [chunk(story[begin : begin + 5]).encode() for begin in range(0, len(story), 5)]


@each_stream
@pytest.mark.parametrize("as_auto", [False, True], ids=["by name", "auto"])
def test_a_stream_that_is_cut_is_counted_by_the_text_that_has_passed(
    dialect: str, content_type: str, chunk: Callable[[str], str], as_auto: bool
) -> None:
    meter = open_meter("auto" if as_auto else dialect, content_type)
    chunks = chunks_of(STORY, chunk)
    counted = 0

    for number, data in enumerate(chunks, start=1):
        meter.feed(data)
        if number % 50 == 0:
            truth = tokens_of_text(STORY[: 5 * number].encode())
            assert counted <= meter.counted_output()
            counted = meter.counted_output()
            assert truth / 2 <= counted <= 2 * truth, f"after {number} chunks"


@each_stream
def test_asking_often_counts_about_the_same_as_asking_once(
    dialect: str, content_type: str, chunk: Callable[[str], str]
) -> None:
    body = b"".join(chunks_of(STORY, chunk))
    often = open_meter(dialect, content_type)
    for begin in range(0, len(body), 100):
        often.feed(body[begin : begin + 100])
        often.counted_output()

    once = fed(open_meter(dialect, content_type), body)

    assert often.counted_output() == pytest.approx(once.counted_output(), rel=0.25)


def counted(meter: Meter, body: bytes, chunk_bytes: int | None = None) -> int:
    return fed(meter, body, chunk_bytes).counted_output()


@pytest.mark.parametrize("chunk_bytes", [7, 1000, 65_536, None])
def test_one_string_longer_than_a_batch_is_counted_as_a_whole(chunk_bytes: int | None) -> None:
    story = STORY * 50
    assert len(story.encode()) > 2 * MAX_PENDING_BYTES
    body = json.dumps({"choices": [{"message": {"content": story, "role": "assistant"}}]}, ensure_ascii=False).encode()

    tokens = counted(open_meter("openai-chat", JSON), body, chunk_bytes)

    assert tokens == pytest.approx(tokens_of_text(story.encode()), rel=0.01)


@pytest.mark.parametrize("chunk_bytes", [7, 1000, None])
def test_escapes_count_as_the_characters_they_stand_for(chunk_bytes: int | None) -> None:
    story = STORY * 40
    body = json.dumps({"choices": [{"message": {"content": story}}]}, ensure_ascii=True).encode()
    assert len(body) > 2 * MAX_PENDING_BYTES

    tokens = counted(open_meter("openai-chat", JSON), body, chunk_bytes)

    assert tokens == pytest.approx(tokens_of_text(story.encode()), rel=0.02)


def test_a_string_or_an_escape_cut_by_every_question_is_counted_once() -> None:
    body = json.dumps({"choices": [{"message": {"content": THAI}}]}, ensure_ascii=True).encode()
    meter = open_meter("openai-chat", JSON)
    for begin in range(len(body)):
        meter.feed(body[begin : begin + 1])
        meter.counted_output()

    truth = tokens_of_text(THAI.encode())
    assert truth <= meter.counted_output() <= 2 * truth


def test_events_that_repeat_what_deltas_said_are_not_counted() -> None:
    deltas = "".join(sse({"type": "response.output_text.delta", "delta": words}) for words in ENGLISH.split(" "))
    item = {"type": "message", "content": [{"type": "output_text", "text": ENGLISH}]}
    repeats = sse({"type": "response.output_text.done", "text": ENGLISH}) + sse(
        {"type": "response.completed", "response": {"output": [item], "usage": None}}
    )

    responses = open_meter("openai-responses", SSE)

    assert counted(responses, (deltas + repeats).encode()) == counted(
        open_meter("openai-responses", SSE), deltas.encode()
    )


def test_a_dify_node_that_repeats_what_messages_said_is_not_counted() -> None:
    messages = "".join(sse({"event": "message", "answer": words}) for words in ENGLISH.split(" "))
    repeats = sse({"event": "node_finished", "data": {"outputs": {"answer": ENGLISH, "text": ENGLISH}}}) + sse(
        {"event": "workflow_finished", "data": {"outputs": {"answer": ENGLISH}, "total_tokens": 0}}
    )

    dify = open_meter("dify", SSE)

    assert counted(dify, (messages + repeats).encode()) == counted(open_meter("dify", SSE), messages.encode())


def test_a_key_inside_of_the_text_is_text() -> None:
    quoted = json.dumps({"content": "x" * 400})
    body = json.dumps({"choices": [{"message": {"content": quoted}}]}).encode()

    assert counted(open_meter("openai-chat", JSON), body) == tokens_of_text(quoted.encode())


def test_embeddings_and_images_are_no_text() -> None:
    for answer in ANSWERS:
        if answer.dialect in ("openai-embeddings", "openai-images"):
            assert counted(meter_for(answer), answer.body) == 0


def test_a_new_meter_has_counted_nothing() -> None:
    meter = open_meter("auto", SSE)

    assert (meter.counted_output(), meter.reported(), meter.failed) == (0, None, False)
    meter.finish()
    assert (meter.counted_output(), meter.reported(), meter.failed) == (0, None, False)
