"""Answers that are too large to be kept."""

from __future__ import annotations

import pytest

from gateway.domain.usage import Usage
from gateway.meters import framing, open_meter
from gateway.meters import sse as sse_module
from tests.meters.answers import JSON, NDJSON, SSE
from tests.meters.feeding import fed

USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'


def test_a_body_beyond_the_limit_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_BODY_BYTES", 1000)
    body = b'{"choices":[{"message":{"content":"' + b"word " * 400 + b'"}}],' + USAGE[1:]

    meter = fed(open_meter("openai-chat", JSON), body, 300)

    assert meter.reported() is None
    assert meter.counted_output() > 300


@pytest.mark.parametrize(("content_type", "before", "after"), [(SSE, b"data: ", b"\n\n"), (NDJSON, b"", b"\n")])
def test_a_document_beyond_the_limit_does_not_hide_the_next(
    content_type: str, before: bytes, after: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse_module, "MAX_PIECE_BYTES", 1000)
    too_long = before + b'{"error":"' + b"x" * 5000 + b'"}' + after

    for chunk_bytes in (1, 64, 999, 4096, None):
        meter = fed(open_meter("openai-chat", content_type), too_long + before + USAGE + after, chunk_bytes)
        assert meter.reported() == Usage(input=3, output=4)


def test_a_long_document_before_usage_costs_nothing_of_it() -> None:
    image = (
        b'data: {"type":"response.image_generation_call.partial_image","partial_image_b64":"'
        + b"A" * 300_000
        + b'"}\n\n'
    )
    completed = b'data: {"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}\n\n'

    for chunk_bytes in (1000, 65_536, None):
        assert fed(open_meter("openai-responses", SSE), image + completed, chunk_bytes).reported() == Usage(3, 0, 0, 4)


def test_whitespace_that_keeps_a_connection_open_is_passed_over() -> None:
    assert fed(open_meter("openai-chat", JSON), b" \n" * 5000 + USAGE, 3).reported() == Usage(input=3, output=4)
    assert fed(open_meter("openai-chat", SSE), b"\n" * 5000 + b"data: " + USAGE, 3).reported() == Usage(3, 0, 0, 4)


def test_what_is_neither_text_nor_json_is_not_counted() -> None:
    meter = fed(open_meter("openai-audio", "audio/mpeg"), b"ID3\x04" + bytes(range(256)) * 100)

    assert (meter.reported(), meter.failed, meter.counted_output()) == (None, False, 0)
