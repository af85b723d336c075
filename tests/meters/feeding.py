"""Ways to hand an answer to a meter."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]

from gateway.meters import Meter, open_meter
from tests.meters.answers import Answer


def meter_for(answer: Answer, dialect: str | None = None, content_encoding: str = "") -> Meter:
    return open_meter(dialect or answer.dialect, answer.content_type, content_encoding, answer.usage_path)


def fed(meter: Meter, body: bytes, chunk_bytes: int | None = None) -> Meter:
    """The meter after the whole answer, in chunks of this size; None: in one."""
    step = chunk_bytes or max(1, len(body))
    for begin in range(0, len(body), step):
        meter.feed(body[begin : begin + step])
    meter.finish()
    return meter


def raw_deflate(body: bytes) -> bytes:
    """What some servers call deflate: without zlib's header and checksum."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


#: (Content-Encoding, what it does to a body).
CODINGS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("gzip", gzip.compress),
    ("X-GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    (" br ,identity, deflate", lambda body: zlib.compress(brotli.compress(body))),
    ("identity", bytes),
    ("", bytes),
)
