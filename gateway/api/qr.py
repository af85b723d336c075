"""QR codes as pictures, made here: what somebody is to pay is no other host's business."""

from __future__ import annotations

import io

import segno

#: Modules of white around the code, as ISO/IEC 18004 wants it.
QUIET_ZONE = 4
#: A module's side: pixels of a PNG, units of an SVG, which may be drawn at any size.
MODULE = 8


def svg(text: str) -> bytes:
    """A document of its own that refers to nothing. Raises ValueError for a text that no QR code holds."""
    return _drawn(text, "svg")


def png(text: str) -> bytes:
    """The same in black and white pixels. Raises ValueError."""
    return _drawn(text, "png")


def _drawn(text: str, kind: str) -> bytes:
    """White is drawn too: on a dark page a code without its quiet zone is not read."""
    code = segno.make_qr(text, error="M")
    out = io.BytesIO()
    code.save(out, kind=kind, scale=MODULE, border=QUIET_ZONE, dark="#000", light="#fff")
    return out.getvalue()
