"""QR codes: whole pictures that refer to nothing, with white around them."""

from __future__ import annotations

import struct
import zlib
from xml.etree import ElementTree

import pytest
import segno

from gateway.api import qr

#: As long as those of QRIS are.
TEXT = "00020101021226670016COM.NOBUBANK.WWW01189360050300000879140214" + "5204481253033605802ID5908QUOTAGAT6304" * 3


def test_an_svg_is_a_document_that_refers_to_no_host() -> None:
    drawn = qr.svg(TEXT)

    root = ElementTree.fromstring(drawn)
    side = (segno.make_qr(TEXT, error="M").symbol_size()[0] - 8 + 2 * qr.QUIET_ZONE) * qr.MODULE
    assert (root.tag, root.get("width"), root.get("height")) == (
        "{http://www.w3.org/2000/svg}svg",
        str(side),
        str(side),
    )
    assert b"href" not in drawn
    assert b"<script" not in drawn


def test_a_png_shows_the_code_in_black_on_white_with_a_quiet_zone() -> None:
    width, height, rows = pixels(qr.png(TEXT))

    modules = [row[:: qr.MODULE] for row in rows[:: qr.MODULE]]
    expected = [bytes(row) for row in segno.make_qr(TEXT, error="M").matrix_iter(border=qr.QUIET_ZONE)]
    assert width == height == len(expected) * qr.MODULE
    assert [bytes(1 - pixel for pixel in row) for row in modules] == expected
    assert set(modules[qr.QUIET_ZONE - 1]) == {1}


def test_a_text_that_no_code_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        qr.png("x" * 5000)


def pixels(drawn: bytes) -> tuple[int, int, list[bytes]]:
    """A PNG of one bit a pixel, by row: 1 is white."""
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, colour = struct.unpack(">IIBB", drawn[16:26])
    assert (depth, colour) == (1, 0)
    begin = drawn.index(b"IDAT")
    (length,) = struct.unpack(">I", drawn[begin - 4 : begin])
    raw = zlib.decompress(drawn[begin + 4 : begin + 4 + length])
    stride = (width + 7) // 8
    lines = [bytes(stride)]
    for n in range(height):
        how, *line = raw[n * (stride + 1) : (n + 1) * (stride + 1)]
        assert how in (0, 2)  # As it is, or as what differs from the line above.
        lines.append(bytes((x + above) % 256 for x, above in zip(line, lines[-1], strict=True)) if how else bytes(line))
    return width, height, [bytes((line[x // 8] >> (7 - x % 8)) & 1 for x in range(width)) for line in lines[1:]]
