"""Compressed answers that cannot, or must not, be unpacked."""

from __future__ import annotations

import gzip
import zlib

import brotli  # type: ignore[import-untyped]
import pytest

from gateway.domain.usage import Usage
from gateway.meters import coding, open_meter, tokens_of_text
from tests.meters.answers import JSON, SSE
from tests.meters.feeding import fed

BODY = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
USAGE = Usage(input=3, output=4)


@pytest.mark.parametrize("content_encoding", ["zstd", "compress", "gzip, zstd", "*", "gzip;q=1"])
def test_an_unknown_coding_leaves_an_estimate_from_the_number_of_bytes(content_encoding: str) -> None:
    meter = fed(open_meter("openai-chat", SSE, content_encoding), b"x" * 4001, 100)

    assert meter.reported() is None
    assert meter.counted_output() == 1001


@pytest.mark.parametrize("content_encoding", ["gzip", "deflate", "br"])
def test_a_body_that_was_never_encoded_leaves_an_estimate(content_encoding: str) -> None:
    meter = fed(open_meter("openai-chat", SSE, content_encoding), b"\xff\xff" + BODY * 40, 100)

    assert meter.reported() is None
    assert meter.counted_output() >= len(BODY * 40) // 4


def test_a_corrupt_end_takes_back_what_was_reported() -> None:
    body = bytearray(gzip.compress(BODY))
    body[-5] ^= 0xFF  # of the checksum

    assert fed(open_meter("openai-chat", SSE, "gzip"), bytes(body), 7).reported() is None


def test_a_body_cut_short_keeps_what_was_reported() -> None:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    body = compressor.compress(BODY) + compressor.flush(zlib.Z_SYNC_FLUSH)

    assert fed(open_meter("openai-chat", SSE, "gzip"), body, 7).reported() == USAGE


def test_usage_is_reported_as_soon_as_it_can_be_unpacked() -> None:
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    meter = open_meter("openai-chat", SSE, "gzip")

    meter.feed(compressor.compress(BODY) + compressor.flush(zlib.Z_SYNC_FLUSH))

    assert meter.reported() == USAGE


@pytest.mark.parametrize(("content_encoding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
@pytest.mark.parametrize("slice_bytes", [1, 10, 258, coding.SLICE_BYTES])
def test_all_that_has_come_is_unpacked_in_slices_of_any_size(
    content_encoding: str, wbits: int, slice_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coding, "SLICE_BYTES", slice_bytes)
    compressor = zlib.compressobj(wbits=wbits)
    packed = compressor.compress(b"word " * 400) + compressor.flush()

    for length in range(2, len(packed)):
        meter = open_meter("path", "text/plain", content_encoding)
        meter.feed(packed[:length])
        unpacked = zlib.decompressobj(wbits).decompress(packed[:length])
        assert meter.counted_output() == (tokens_of_text(unpacked) if len(unpacked) >= 6 else 0)


def test_brotli_is_unpacked_in_slices_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "SLICE_BYTES", 10)

    assert fed(open_meter("openai-chat", SSE, "br"), brotli.compress(b": x\n\n" * 9000 + BODY), 9).reported() == USAGE


@pytest.mark.parametrize("chunk_bytes", [1, 5, None])
def test_gzip_members_follow_one_another_and_padding_is_passed_over(chunk_bytes: int | None) -> None:
    body = gzip.compress(BODY[:30]) + gzip.compress(b"") + gzip.compress(BODY[30:]) + b"\0" * 100

    assert fed(open_meter("openai-chat", SSE, "gzip"), body, chunk_bytes).reported() == USAGE


@pytest.mark.parametrize(
    ("content_encoding", "bomb"),
    [
        ("gzip", gzip.compress(bytes(3_000_000))),
        ("deflate", zlib.compress(bytes(3_000_000))),
        ("br", brotli.compress(bytes(3_000_000))),
        ("gzip, br", brotli.compress(gzip.compress(bytes(3_000_000)))),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(3_000_000)))),
    ],
    ids=["gzip", "deflate", "br", "gzip, br", "gzip, gzip"],  # What gzip makes has the time in it.
)
def test_a_bomb_is_metered_no_further(content_encoding: str, bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coding, "MAX_DECODED_BYTES", 1_000_000)
    meter = open_meter("openai-chat", SSE, content_encoding)

    fed(meter, bomb)
    meter.feed(bomb)

    assert meter.reported() is None
    assert meter.counted_output() > 0


def test_an_answer_as_large_as_is_allowed_is_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"choices":[],"x":"' + b"x" * 1_000_000 + b'","usage":{"prompt_tokens":3,"completion_tokens":4}}'
    monkeypatch.setattr(coding, "MAX_DECODED_BYTES", len(body))

    for content_encoding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress)):
        assert fed(open_meter("openai-chat", JSON, content_encoding), compress(body)).reported() == USAGE


def test_counted_output_never_falls_when_a_body_turns_out_corrupt() -> None:
    words = b"".join(b'data: {"choices":[{"delta":{"content":" and again"}}]}\n\n' for _ in range(3000))
    body = bytearray(gzip.compress(words))
    body[-1] ^= 0xFF
    meter = open_meter("openai-chat", SSE, "gzip")
    counted = 0

    for begin in range(0, len(body), 50):
        meter.feed(bytes(body[begin : begin + 50]))
        assert meter.counted_output() >= counted
        counted = meter.counted_output()

    assert counted > 3000
