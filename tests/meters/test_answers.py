"""Every dialect: answers written by hand, however their bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.meters import METERS, open_meter
from tests.meters.answers import ANSWERS, JSON, NDJSON, SSE, Answer
from tests.meters.feeding import CODINGS, fed, meter_for

each_answer = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.dialect}: {answer.title}")

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def test_every_dialect_has_answers() -> None:
    assert {answer.dialect for answer in ANSWERS} == set(METERS) - {"auto"}


@each_answer
def test_an_answer_yields_its_usage_at_every_chunk_size(answer: Answer) -> None:
    for line_end in LINE_ENDS:
        body = answer.body.replace(b"\n", line_end)
        for chunk_bytes in range(1, len(body) + 1):
            meter = fed(meter_for(answer), body, chunk_bytes)
            assert (meter.reported(), meter.failed) == (answer.usage, answer.failed), (line_end, chunk_bytes)


@each_answer
def test_an_answer_yields_its_usage_wherever_it_is_cut_in_three(answer: Answer) -> None:
    body = answer.body
    for first in range(0, len(body), 29):
        for second in range(first, len(body), 31):
            meter = meter_for(answer)
            for begin, end in pairwise((0, first, second, len(body))):
                meter.feed(body[begin:end])
            meter.finish()
            assert (meter.reported(), meter.failed) == (answer.usage, answer.failed), (first, second)


@each_answer
def test_a_compressed_answer_yields_its_usage(answer: Answer) -> None:
    for content_encoding, encode in CODINGS:
        body = encode(answer.body)
        for chunk_bytes in (1, 7, 64, None):
            meter = fed(meter_for(answer, content_encoding=content_encoding), body, chunk_bytes)
            assert (meter.reported(), meter.failed) == (answer.usage, answer.failed), (content_encoding, chunk_bytes)


@pytest.mark.parametrize(
    "answer",
    [answer for answer in ANSWERS if answer.dialect != "path"],
    ids=lambda answer: f"{answer.dialect}: {answer.title}",
)
def test_auto_recognises_an_answer(answer: Answer) -> None:
    for line_end in LINE_ENDS:
        body = answer.body.replace(b"\n", line_end)
        for chunk_bytes in (1, 5, 33, 200, None):
            meter = fed(meter_for(answer, dialect="auto"), body, chunk_bytes)
            assert (meter.reported(), meter.failed) == (answer.usage, answer.failed), (line_end, chunk_bytes)


@each_answer
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/octet-stream", "TEXT/Event-Stream", "application/json;charset=UTF-8", ""],
)
def test_a_content_type_that_lies_or_tells_nothing_does_not_hide_the_usage(answer: Answer, content_type: str) -> None:
    body = answer.body
    for chunk_bytes in (1, 40, None):
        meter = fed(open_meter(answer.dialect, content_type, usage_path=answer.usage_path), body, chunk_bytes)
        assert (meter.reported(), meter.failed) == (answer.usage, answer.failed)


@each_answer
def test_the_last_event_needs_no_end(answer: Answer) -> None:
    meter = fed(meter_for(answer), answer.body.rstrip(), 9)

    assert (meter.reported(), meter.failed) == (answer.usage, answer.failed)


@each_answer
def test_a_byte_order_mark_is_passed_over(answer: Answer) -> None:
    meter = fed(meter_for(answer), b"\xef\xbb\xbf" + answer.body, 2)

    assert (meter.reported(), meter.failed) == (answer.usage, answer.failed)


@each_answer
def test_finishing_again_changes_nothing(answer: Answer) -> None:
    meter = fed(meter_for(answer), answer.body)
    before = (meter.reported(), meter.failed, meter.counted_output())

    meter.finish()

    assert (meter.reported(), meter.failed, meter.counted_output()) == before


def test_a_running_total_is_reported_before_the_stream_ends() -> None:
    meter = open_meter("anthropic-messages", SSE)

    meter.feed(b'data: {"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1}}}\n\n')

    usage = meter.reported()
    assert usage is not None
    assert (usage.input, usage.output) == (25, 1)


def test_several_data_lines_make_one_document() -> None:
    body = (
        b'data: {"choices":[],\ndata:"usage":\n: a comment\ndata: {"prompt_tokens":3,\ndata:"completion_tokens":4}}\n\n'
    )

    for chunk_bytes in range(1, len(body) + 1):
        usage = fed(open_meter("openai-chat", SSE), body, chunk_bytes).reported()
        assert usage is not None
        assert (usage.input, usage.output) == (3, 4)


def test_events_may_end_their_lines_in_different_ways() -> None:
    usage_event = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    other_event = b'data: {"choices":[{"delta":{"content":"a"}}]}'
    body = b"\n\n".join([other_event] * 2) + b"\r\r" + other_event + b"\r\n\r\n" + usage_event + b"\n\r\n" + other_event

    for chunk_bytes in range(1, len(body) + 1):
        usage = fed(open_meter("openai-chat", SSE), body, chunk_bytes).reported()
        assert usage is not None
        assert (usage.input, usage.output) == (3, 4)


def test_lines_under_the_name_of_json_are_read_one_by_one() -> None:
    body = b'{"response":"a","done":false}\r\n{"response":"","done":true,"prompt_eval_count":2,"eval_count":3}\n'

    for content_type in (JSON, NDJSON, "application/stream+json", "Application/JSONL"):
        usage = fed(open_meter("ollama", content_type), body, 10).reported()
        assert usage is not None
        assert (usage.input, usage.output) == (2, 3)


def test_the_usage_of_a_node_is_not_that_of_its_workflow() -> None:
    node = (
        b'data: {"event": "node_finished", "workflow_run_id": "r", "data": {"outputs": {"text": "Hi"}, "error": null, '
        b'"execution_metadata": {"total_tokens": 900}}}\n\n'
    )

    assert fed(open_meter("dify", SSE), node).reported() is None


def test_an_unknown_dialect_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'openai-chats'"):
        open_meter("openai-chats", SSE)


def test_a_usage_path_decides_whatever_the_dialect() -> None:
    body = b'{"answer": "Hi", "spent": {"prompt_tokens": 3, "completion_tokens": 4}}'

    usage = fed(open_meter("dify", JSON, usage_path="spent"), body).reported()

    assert usage is not None
    assert (usage.input, usage.output) == (3, 4)


@pytest.mark.parametrize(
    ("dialect", "content_type", "last_word"),
    [
        ("openai-chat", "text/event-stream", b"data: [DONE]\n\n"),
        ("openai-responses", "text/event-stream", b'data: {"type":"response.completed","response":{}}\n\n'),
        ("openai-responses", "text/event-stream", b'data: {"type":"response.incomplete","response":{}}\n\n'),
        ("openai-responses", "text/event-stream", b'data: {"type":"response.failed","response":{}}\n\n'),
        ("anthropic-messages", "text/event-stream", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
        ("cohere", "text/event-stream", b'data: {"type":"message-end","delta":{}}\n\n'),
        ("dify", "text/event-stream", b'data: {"event":"message_end","metadata":{}}\n\n'),
        ("gemini-interactions", "text/event-stream", b'data: {"event_type":"interaction.completed"}\n\n'),
        ("ollama", "application/x-ndjson", b'{"done":true,"done_reason":"stop"}\n'),
        ("vercel-data", "text/plain", b'd:{"finishReason":"stop"}\n'),
    ],
)
def test_a_stream_is_complete_with_its_last_word_and_not_before(
    dialect: str, content_type: str, last_word: bytes
) -> None:
    meter = open_meter(dialect, content_type)
    before = []
    for number in range(len(last_word)):
        before.append(meter.complete)
        meter.feed(last_word[number : number + 1])
    assert not any(before)
    assert meter.complete


def test_the_words_of_an_answer_do_not_complete_it() -> None:
    meter = open_meter("openai-chat", "text/event-stream")
    meter.feed(b'data: {"choices":[{"delta":{"content":"the stream ends with [DONE]"}}]}\n\n')
    assert not meter.complete
