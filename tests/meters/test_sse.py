"""Server-sent events: found, hidden and read without changing a byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meters import SseSplitter, event_data
from gateway.meters import sse as sse_module


def split(body: bytes, chunk_bytes: int) -> tuple[list[bytes], bytes]:
    splitter = SseSplitter()
    events = []
    for begin in range(0, len(body), chunk_bytes):
        events += splitter.feed(body[begin : begin + chunk_bytes])
    return events, splitter.rest()


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_each_event_comes_with_the_empty_line_that_ends_it(line_end: bytes) -> None:
    first = b"event: a" + line_end + b"data: 1" + line_end * 2
    second = b": comment" + line_end * 2
    unfinished = b"data: 2" + line_end

    assert split(first + second + unfinished, 1000) == ([first, second], unfinished)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_events_say_the_same_however_they_are_cut(line_end: bytes) -> None:
    body = line_end.join([b"data: 1", b"data: 2", b"", b"event: ping", b"", b"data:3", b"", b""])

    for chunk_bytes in range(1, len(body) + 1):
        events, rest = split(body, chunk_bytes)
        assert [event_data(event) for event in events if event.strip()] == [b"1\n2", b"", b"3"]
        assert event_data(rest) == b""


def test_an_event_is_handed_out_before_it_is_known_whether_a_line_feed_follows() -> None:
    splitter = SseSplitter()

    assert splitter.feed(b"data: 1\r\n\r") == [b"data: 1\r\n\r"]
    assert splitter.feed(b"\ndata: 2\r\n\r\n") == [b"\ndata: 2\r\n\r\n"]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b":", b"id", b"\xff"])), st.integers(1, 9))
def test_nothing_is_lost_or_changed(parts: list[bytes], chunk_bytes: int) -> None:
    body = b"".join(parts)

    events, rest = split(body, chunk_bytes)

    assert b"".join(events) + rest == body


def test_an_event_too_long_to_be_held_back_is_handed_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_module, "MAX_PIECE_BYTES", 100)
    body = b"data: " + b"x" * 1000 + b"\n\n" + b"data: y\n\n"

    events, rest = split(body, 30)

    assert b"".join(events) + rest == body
    assert max(len(event) for event in events) <= 130
    assert events[-1] == b"data: y\n\n"


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\ndata:b\r\r", b"\nb"),
        (b"data:\n\n", b""),
        (b"event: a\nid: 1\ndata: x\r\n\r\n", b"x"),
        (b": data: x\n\n", b""),
        (b"dataset: x\n\n", b""),
        (b" data: x\n\n", b""),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b"\n\n", b""),
        (b"", b""),
    ],
)
def test_the_data_of_an_event(raw: bytes, data: bytes) -> None:
    assert event_data(raw) == data
