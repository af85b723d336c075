"""Metering of compressed answers, on a decoded copy: the client gets the bytes as they came."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli  # type: ignore[import-untyped]

from gateway.domain.errors import QuotagateError
from gateway.domain.usage import Usage
from gateway.meters.meter import Meter

#: No answer is larger than this; one that unpacks to more is a bomb, and is metered no further.
MAX_DECODED_BYTES = 64 * 1024 * 1024
#: Bytes are unpacked in slices of this size at most, so that a bomb never stands in memory as a whole.
SLICE_BYTES = 64 * 1024
#: Codings that are undone one after the other; nobody needs more than two.
MAX_CODINGS = 4
#: What is taken for one token of output where the text cannot be seen.
OPAQUE_BYTES_PER_TOKEN = 4


def codings_of(content_encoding: str) -> list[str]:
    """The codings that a Content-Encoding header names, in the order in which they were applied (RFC 9110, 8.4)."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    return [name for name in names if name not in ("", "identity")]


class DecodingMeter:
    """Unpacks what passes and lets another meter read it.

    When it cannot (an unknown coding, a corrupt or endless body), nothing is reported and the output is estimated
    from the number of bytes.
    """

    def __init__(self, meter: Meter, codings: list[str]) -> None:
        self._meter = meter
        #: In the order in which they are undone: the last coding applied comes first.
        self._decoders: list[Decoder] = [_DECODERS[name]() for name in reversed(codings) if name in _DECODERS]
        self._lost = len(self._decoders) != len(codings) or len(codings) > MAX_CODINGS
        self._received_bytes = 0
        self._least_output = 0

    @property
    def failed(self) -> bool:
        return self._meter.failed

    @property
    def complete(self) -> bool:
        return not self._lost and self._meter.complete

    def feed(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._lost:
            return
        try:
            for plain in _decoded(data, self._decoders):
                self._meter.feed(plain)
        except (zlib.error, brotli.error, _Bomb):
            self._lost = True

    def finish(self) -> None:
        if not self._lost:
            self._meter.finish()

    def reported(self) -> Usage | None:
        return None if self._lost else self._meter.reported()

    def counted_output(self) -> int:
        seen = self._meter.counted_output()
        guessed = -(-self._received_bytes // OPAQUE_BYTES_PER_TOKEN) if self._lost else 0
        # Bytes that were guessed from may turn out to be less than the text that was seen before.
        self._least_output = max(self._least_output, seen, guessed)
        return self._least_output


class _Bomb(QuotagateError):
    """Raised when a body unpacks to more than `MAX_DECODED_BYTES`."""


class Decoder(Protocol):
    """Undoes one coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes, in slices. Raises zlib.error or brotli.error on bytes that were never encoded so."""


def _decoded(data: bytes, decoders: list[Decoder]) -> Iterator[bytes]:
    """What is left of these bytes when every coding is undone."""
    if not decoders:
        yield data
        return
    for plain in decoders[0].decode(data):
        yield from _decoded(plain, decoders[1:])


class _Gzip:
    """RFC 1952: one member after the other."""

    wbits = zlib.MAX_WBITS | 16

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(self.wbits)
        self._budget = _Budget()

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflater.eof:
                # Bytes after the end that begin no member are padding.
                if not data.startswith(b"\x1f"):
                    return
                self._inflater = zlib.decompressobj(self.wbits)
            yield from _inflated(self._inflater, data, self._budget)
            data = self._inflater.unused_data


class _Deflate:
    """The coding "deflate" is zlib's format (RFC 9110, 8.4.1.2), but some servers send the bare one."""

    def __init__(self) -> None:
        self._inflater: zlib._Decompress | None = None
        self._head = b""
        self._budget = _Budget()

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._inflater is None:
            self._head += data
            if len(self._head) < 2:
                return
            data, self._head = self._head, b""
            # A zlib header names method 8 and is, as a number of 16 bits, a multiple of 31 (RFC 1950, 2.2).
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        if not self._inflater.eof:
            yield from _inflated(self._inflater, data, self._budget)


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()
        self._budget = _Budget()

    def decode(self, data: bytes) -> Iterator[bytes]:
        # Output may wait after all input was taken, so the end of it shows only in an empty slice.
        while not self._decompressor.is_finished():
            plain = self._decompressor.process(data, output_buffer_limit=SLICE_BYTES)
            if not plain:
                return
            yield self._budget.spend(plain)
            data = b""


_DECODERS: dict[str, type[_Gzip | _Deflate | _Brotli]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
}


class _Budget:
    """How much one decoder may still unpack. Each has its own, so that no bomb hides inside of another coding."""

    def __init__(self) -> None:
        self._left_bytes = MAX_DECODED_BYTES

    def spend(self, plain: bytes) -> bytes:
        self._left_bytes -= len(plain)
        if self._left_bytes < 0:
            raise _Bomb
        return plain


def _inflated(inflater: zlib._Decompress, data: bytes, budget: _Budget) -> Iterator[bytes]:
    plain = budget.spend(inflater.decompress(data, SLICE_BYTES))
    yield plain
    # A full slice may have left more behind, although all input was taken.
    while inflater.unconsumed_tail or len(plain) == SLICE_BYTES:
        plain = budget.spend(inflater.decompress(inflater.unconsumed_tail, SLICE_BYTES))
        yield plain
