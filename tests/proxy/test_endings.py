"""The ends of streams that are cut: well-formed for the clients of every dialect, wherever they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.usage import Usage
from gateway.proxy.endings import ENDINGS, Cut, Record, ending_of
from tests.meters.test_transcripts import Transcript, recorded_transcripts
from tests.proxy.sdks import HELPERS, WELL_FORMED, events_of, helps, read_openai_chat
from tests.support.upstream import DONE, openai_chunk, sse

CUT = Cut("req_1", "m1", Usage(input=12, output=23, estimated=True), False, "insufficient_quota", "Nothing is left.")


def cut_after(dialect: str, data: bytes, at: int, piece_bytes: int, content_type: str = "text/event-stream") -> bytes:
    """What a client gets of a stream that comes in pieces and is cut at the piece that holds byte `at`."""
    record = Record(ending_of(dialect), content_type)
    got = b""
    for begin in range(0, len(data), piece_bytes):
        piece = data[begin : begin + piece_bytes]
        if begin + piece_bytes > at:
            head, rest = record.split(piece)
            record.add(head)
            got += head
            # Of an event that the client has half of it gets the rest, however many pieces that takes.
            if rest:
                return got + record.end(CUT)
        else:
            record.add(piece)
            got += piece
    return got + record.end(CUT)


STREAMS = [each for each in recorded_transcripts() if each.values[0] is None or each.values[0].stream]


@pytest.mark.parametrize("transcript", STREAMS)
def test_every_recorded_stream_ends_well_formed_wherever_it_is_cut(transcript: Transcript) -> None:
    body = transcript.body
    last_word = body.rindex(b"data: ", 0, -20)
    if transcript.dialect == "openai-chat":
        last_word = body.index(b'"finish_reason":"') if b'"finish_reason":"' in body else last_word
    helped = transcript.dialect in HELPERS and helps(transcript.dialect, body)
    for percent, piece_bytes in ((0, 10**9), (3, 700), (31, 64), (50, 333), (83, 1000), (99, 16)):
        got = cut_after(transcript.dialect, body, last_word * percent // 100, piece_bytes)
        WELL_FORMED[transcript.dialect](got)
        if helped:
            HELPERS[transcript.dialect](got)


# ── dialects without recordings ──────────────────────────────────────────────────────────────────────────────────────


def test_an_ollama_stream_ends_in_a_line_that_is_done() -> None:
    message = {"role": "assistant", "content": "Hi"}
    line = {"model": "llama3", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": False}
    got = cut_after("ollama", (json.dumps(line).encode() + b"\n") * 3, 200, 50, "application/x-ndjson")

    last = json.loads(got.splitlines()[-1])
    assert last == {
        "model": "llama3", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": ""},
        "done": True, "done_reason": "length", "prompt_eval_count": 12, "eval_count": 23,
    }  # fmt: skip
    assert [json.loads(line)["done"] for line in got.splitlines()] == [False, False, True]


def test_a_generated_ollama_text_ends_as_it_began() -> None:
    got = cut_after("ollama", b'{"model":"a","response":"Hi","done":false}\n', 99, 50, "application/x-ndjson")

    assert json.loads(got.splitlines()[-1])["response"] == ""


def test_a_dify_stream_ends_in_an_error_that_names_the_quota() -> None:
    began = sse({"event": "message", "task_id": "t1", "message_id": "m1", "conversation_id": "c1", "answer": "Hi"})
    last = events_of(cut_after("dify", began, 10**6, 30))[-1]

    assert last == {
        "event": "error", "task_id": "t1", "message_id": "m1", "conversation_id": "c1",
        "code": "insufficient_quota", "status": 429, "message": "Nothing is left.",
    }  # fmt: skip


def test_an_ai_sdk_data_stream_ends_its_step_and_its_message() -> None:
    got = cut_after("vercel-data", b'f:{"messageId":"m"}\n0:"Hi"\n', 10**6, 5, "text/plain")

    step, message = got.splitlines()[-2:]
    usage = {"promptTokens": 12, "completionTokens": 23}
    assert json.loads(step.removeprefix(b"e:")) == {"finishReason": "length", "usage": usage, "isContinued": False}
    assert json.loads(message.removeprefix(b"d:")) == {"finishReason": "length", "usage": usage}


ELEMENTS = [
    {"candidates": [{"content": {"parts": [{"text": text}]}}], "responseId": "r"} for text in ('a "} ]', "b", "c")
]
ARRAY = b"[" + b"\n,\r\n".join(json.dumps(element, indent=2).encode() for element in ELEMENTS) + b"\n]"


@pytest.mark.parametrize("piece_bytes", [1, 7, 60, 10**9])
def test_a_gemini_array_is_an_array_wherever_it_is_cut(piece_bytes: int) -> None:
    for at in range(0, ARRAY.rindex(b"}"), 9):
        got = json.loads(cut_after("gemini", ARRAY, at, piece_bytes, "application/json"))

        assert got[:-1] == ELEMENTS[: len(got) - 1]
        assert [candidate["finishReason"] for candidate in got[-1]["candidates"]] == ["MAX_TOKENS"]


@pytest.mark.parametrize(
    ("dialect", "passed", "data"),
    [("gemini", b'[{"a":1}\n,', b'{"b":2}\n,{"c":3'), ("openai-chat", b"data: 1\r\n\r", b"\ndata: 2\n\ndata:")],
)
def test_what_parts_two_pieces_goes_out_once(dialect: str, passed: bytes, data: bytes) -> None:
    record = Record(ending_of(dialect), "")
    record.add(passed)

    assert record.split(data) == (b"", data)
    (piece,) = record.pieces(data)
    assert data.startswith(piece)


def test_a_backend_of_nobody_known_ends_in_an_error() -> None:
    got = cut_after("path", b'data: {"x": 1}\n\n', 99, 99)

    assert got.startswith(b'data: {"x": 1}\n\nevent: error\ndata: ')
    assert events_of(got)[-1]["error"]["code"] == "insufficient_quota"


# ── what the end depends on ──────────────────────────────────────────────────────────────────────────────────────────


def test_only_open_choices_are_finished() -> None:
    one = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "fp"}
    choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}, {"index": 1, "delta": {"content": "Hi"}}]
    got = cut_after("openai-chat", sse(one | {"choices": choices}), 10**6, 20)

    assert read_openai_chat(got) == {0: "stop", 1: "length"}
    assert events_of(got)[-1]["system_fingerprint"] == "fp"
    assert [choice["index"] for choice in events_of(got)[-1]["choices"]] == [1]


def test_usage_is_said_to_a_client_that_asked_for_it() -> None:
    record = Record(ending_of("openai-chat"), "text/event-stream")
    record.add(openai_chunk("Hi"))
    _, last = events_of(record.end(CUT._replace(asks_usage=True)))

    assert last["choices"] == []
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == (12, 23)


def test_a_tool_call_in_the_middle_of_its_arguments_is_left_as_it_is() -> None:
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a'}}
    began = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}  # fmt: skip
    got = cut_after("openai-chat", sse(began), 10**6, 20)

    assert read_openai_chat(got) == {0: "length"}
    assert events_of(got)[-1]["choices"][0]["delta"] == {}


def test_a_function_call_that_is_not_whole_is_never_said_to_be_done() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "", "status": "in_progress"}
    began = [
        {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "object": "response"}},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
        {"type": "response.function_call_arguments.delta", "sequence_number": 2, "output_index": 0, "delta": '{"a'},
    ]
    got = events_of(cut_after("openai-responses", b"".join(sse(e, str(e["type"])) for e in began), 10**6, 50))

    assert [event["type"] for event in got[3:]] == ["response.incomplete"]
    (left,) = got[-1]["response"]["output"]
    assert (left["arguments"], left["status"]) == ('{"a', "incomplete")


def test_a_text_that_is_not_whole_is_done_as_far_as_it_came() -> None:
    item: dict[str, Any] = {"type": "message", "id": "i", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "i", "output_index": 0, "content_index": 0}
    began: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "object": "response"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        {"type": "response.output_text.delta", **where, "delta": "Hel"},
        {"type": "response.output_text.delta", **where, "delta": "lo"},
    ]
    framed = b"".join(sse(event | {"sequence_number": n}, str(event["type"])) for n, event in enumerate(began))
    got = events_of(cut_after("openai-responses", framed, 10**6, 50))

    assert [event["type"] for event in got[5:]] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    assert (got[5]["text"], got[6]["part"]["text"]) == ("Hello", "Hello")
    assert got[7]["item"]["content"][0]["text"] == "Hello"
    assert [event["sequence_number"] for event in got] == list(range(9))


@pytest.mark.parametrize("dialect", [*ENDINGS, "openai-images", "path"])
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson", "application/json"])
def test_a_stream_can_end_before_it_began(dialect: str, content_type: str) -> None:
    assert Record(ending_of(dialect), content_type).end(CUT)


@pytest.mark.parametrize("dialect", [*ENDINGS, "path"])
def test_garbage_raises_nothing(dialect: str) -> None:
    for garbage in (
        b"null",
        b"[1]",
        b'{"choices":{"a":1},"candidates":7}',
        b'{"type":[],"index":"x","item":3}',
        b"\xff{",
    ):
        for kind in (b"response.output_item.added", b"response.content_part.added", b"response.output_text.delta"):
            said = b'data: {"type":"%b","output_index":5,"part":4,"item":[]}\n\n' % kind
            assert cut_after(dialect, b"data: " + garbage + b"\n\n" + said, 10**6, 9)


def test_auto_ends_as_the_dialect_that_it_recognised() -> None:
    got = cut_after("auto", openai_chunk("Hi"), 10**6, 9)

    assert got.endswith(DONE)


def test_a_long_stream_is_not_kept() -> None:
    record = Record(ending_of("openai-chat"), "text/event-stream")
    for _ in range(5000):
        record.add(openai_chunk("some words of it "))

    assert sum(map(len, record._pending)) + sum(map(len, record._pieces)) <= 64 * 1024
