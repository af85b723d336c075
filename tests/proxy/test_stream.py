"""The filter that hides the usage chunk from a client that did not ask for it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.stream import UsageChunkFilter
from tests.support.upstream import DONE, openai_chunk, openai_usage_chunk

#: What a stream is made of, and whether it is hidden.
EVENTS: list[tuple[bytes, bool]] = [
    (openai_chunk("Hello"), False),
    (openai_chunk('the word "usage" itself'), False),
    (openai_chunk("é😀"), False),
    (b": keep-alive\n\n", False),
    (b': a comment with "usage" and {"choices":[],"usage":{}}\n\n', False),
    (b"event: ping\ndata: {}\n\n", False),
    (b'data: {"choices":[{"delta":{}}],"usage":null}\n\n', False),
    (b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n', False),
    (b'data: {"choices":[],"usage":null}\n\n', False),
    (b'data: {"choices":[],"prompt_filter_results":[]}\n\n', False),
    (b'data: {"error":{"message":"usage"},"usage":{}}\n\n', False),
    (b'data: {"usage":{"prompt_tokens":1}\n\n', False),
    (b"data: [DONE]\n\n", False),
    (openai_usage_chunk(3, 4), True),
    (b'data:{"usage":{"total_tokens":7},"choices":[]}\n\n', True),
    (b'id: 7\ndata: {"choices":[],\ndata: "usage":{}}\n\n', True),
]
CHUNKS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def through(stream: bytes, sizes: list[int]) -> bytes:
    """The stream as the client gets it, when it comes in pieces of these sizes, over and over."""
    filter = UsageChunkFilter()
    passed, at, turn = b"", 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        passed += filter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    return passed + filter.rest()


def with_line_ends(event: bytes, line_end: bytes) -> bytes:
    return event.replace(b"\n", line_end)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("event", "hidden"), EVENTS)
def test_exactly_the_usage_chunk_is_hidden(event: bytes, hidden: bool, line_end: bytes) -> None:
    before, event, after = (with_line_ends(part, line_end) for part in (openai_chunk("a"), event, DONE))
    stream = before + event + after

    for size in range(1, len(stream) + 1):
        assert through(stream, [size]) == (before + after if hidden else stream), size


@settings(deadline=None)
@example([0, 13, 12], [1], b"\r\n")
@given(st.lists(st.integers(0, len(EVENTS) - 1), max_size=8), CHUNKS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_stream_passes_byte_for_byte_but_for_its_usage_chunks(
    order: list[int], sizes: list[int], line_end: bytes
) -> None:
    events = [(with_line_ends(EVENTS[number][0], line_end), EVENTS[number][1]) for number in order]
    stream = b"".join(event for event, _ in events)

    assert through(stream, sizes) == b"".join(event for event, hidden in events if not hidden)


@settings(deadline=None)
@given(st.binary(max_size=400), CHUNKS)
def test_what_is_no_event_stream_passes_byte_for_byte(stream: bytes, sizes: list[int]) -> None:
    assert through(stream, sizes) == stream


def test_a_usage_chunk_that_the_stream_ends_in_is_hidden_too() -> None:
    """Its empty line never came."""
    assert through(openai_chunk("a") + openai_usage_chunk(1, 2).rstrip(b"\n"), [7]) == openai_chunk("a")


def test_a_stream_that_is_cut_off_keeps_its_last_bytes() -> None:
    assert (
        through(openai_chunk("a") + b'data: {"choices":[{"del', [9]) == openai_chunk("a") + b'data: {"choices":[{"del'
    )


def test_an_event_is_handed_on_as_soon_as_it_is_whole() -> None:
    filter = UsageChunkFilter()
    event = openai_chunk("Hello")

    assert filter.feed(event[:-1]) == b""
    assert filter.feed(event[-1:]) == event
