"""Server-sent events in bytes: where one ends, and what it says.

Of the HTML standard, section 9.2.6: a line ends in CR, LF or CRLF, an event in an empty line; `data:` lines of one
event join with a line feed; a line that begins with a colon is a comment. A JSON string never contains a raw CR or LF
(RFC 8259, section 7), so all of it can be found without decoding a character.
"""

from __future__ import annotations

import re

#: The longest event or line that is held back whole; a longer one is handed on in pieces. Images come in single
#: events of several megabytes.
MAX_PIECE_BYTES = 32 * 1024 * 1024

BOM = b"\xef\xbb\xbf"


class Splitter:
    """Cuts a stream after each terminator, however its bytes arrive.

    Nothing is lost or changed: all the pieces that `feed` returned, and then `rest()`, are the input.
    """

    #: What a piece ends with, where that is certain: a CR at the end of the bytes so far may be half of a CRLF, but
    #: waiting for the next byte would hold back an event, so its LF begins the next piece instead.
    terminator: re.Pattern[bytes]
    #: All that the terminator can look like at its end.
    ends: tuple[bytes, ...]

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are complete now, each with its terminator, as received."""
        # One byte back, here and in `skip`, because a terminator may have been cut in two.
        start = max(0, len(self._rest) - 1)
        self._rest += data
        pieces = []
        begin = 0
        if b"\n" in data or b"\r" in data:
            for match in self.terminator.finditer(self._rest, start):
                pieces.append(bytes(self._rest[begin : match.end()]))
                begin = match.end()
            del self._rest[:begin]
        return pieces + self._overflow()

    def skip(self, data: bytes) -> None:
        """Takes the next bytes like `feed`, and faster, when nobody wants the pieces that they complete."""
        if data.endswith(self.ends):
            self._rest.clear()
            return
        if b"\n" in data or b"\r" in data:
            before = self._rest[-1:]
            seam = before + data
            begin = 0
            for end in self.ends:
                found = seam.rfind(end)
                if found >= 0:
                    begin = max(begin, found + len(end))
            if begin > len(before):
                self._rest.clear()
                data = data[begin - len(before) :]
        self._rest += data
        self._overflow()

    def rest(self) -> bytes:
        """The bytes after the last complete piece."""
        return bytes(self._rest)

    def _overflow(self) -> list[bytes]:
        """What has become too long to be held back."""
        if len(self._rest) <= MAX_PIECE_BYTES:
            return []
        piece = bytes(self._rest)
        self._rest.clear()
        return [piece]


class LineSplitter(Splitter):
    """Cuts a stream into lines."""

    terminator = re.compile(rb"\r\n?|\n")
    ends = (b"\n", b"\r")


class SseSplitter(Splitter):
    """Cuts a stream of server-sent events into its events, each with the empty line that ends it."""

    # Two line ends in a row. CR LF is one line end, so the pair is LF LF, LF CR or CR CR, the CR perhaps of a CRLF.
    terminator = re.compile(rb"\n\n|[\r\n]\r\n?")
    ends = (b"\n\n", b"\n\r\n", b"\r\r", b"\n\r")


def event_data(raw: bytes) -> bytes:
    """What the `data:` lines of one raw event say; empty when it has none."""
    values = []
    for line in raw.removeprefix(BOM).splitlines():
        if line.startswith(b"data:"):
            values.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            values.append(b"")
    return b"\n".join(values)
