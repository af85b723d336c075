"""How the JSON documents of an answer follow one another: as one body, as lines, as server-sent events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.meters.counting import NO_STRINGS, JsonStrings, TextSource, WholeText
from gateway.meters.dialect import Dialect
from gateway.meters.document import elements_of
from gateway.meters.sse import LineSplitter, Splitter, SseSplitter, event_data

#: The longest body that is kept to be read when it is whole; of a longer one no usage is read. 2,000 embeddings of
#: 1,000 dimensions take about 40 MB.
MAX_BODY_BYTES = 64 * 1024 * 1024

Needles = tuple[bytes, ...]


class Framing(Protocol):
    """Finds the documents that contain one of the needles; the others need not even be cut out."""

    def feed(self, data: bytes, needles: Needles) -> Iterable[bytes]:
        """The documents that are complete now."""

    def finish(self, needles: Needles) -> Iterable[bytes]:
        """The documents that were waiting for more bytes. Afterwards nothing is left."""

    def text_in(self, dialect: Dialect) -> TextSource:
        """Where the generated text stands."""


def framing_of(head: bytes, content_type: str, by_lines: bool, at_end: bool) -> Framing | None:
    """The framing of an answer that begins with `head`; None: too little has come to tell.

    What the bytes show counts more than the content type, because backends send JSON as text/event-stream and
    events as text/plain.
    """
    if len(head) < _TELLING_BYTES and not at_end:
        return None
    if by_lines:
        return Lines()
    media_type = content_type.partition(";")[0].strip().lower()
    if head.startswith((b"{", b"[")):
        return Lines() if media_type in _LINE_TYPES else WholeBody()
    if media_type == "text/event-stream" or _SSE_FIELD.match(head):
        return EventStream()
    if media_type in _LINE_TYPES or DATA_STREAM_PART.match(head):
        return Lines()
    return PlainText() if media_type.startswith("text/") else Opaque()


_LINE_TYPES = frozenset(
    {
        "application/x-ndjson",
        "application/ndjson",
        "application/stream+json",
        "application/jsonl",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
    }
)
#: As long as the longest name of a server-sent field with its colon ("event:", "retry:").
_TELLING_BYTES = 6
_SSE_FIELD = re.compile(rb"(?:data|event|id|retry)?:")
#: A part of the AI SDK's v4 data stream, `0:"Hello"`: no server-sent field has a name of one character.
DATA_STREAM_PART = re.compile(rb'[0-9a-z]:["[{]')


class Pieces:
    """A stream that is cut into pieces, each of which holds one document."""

    def __init__(self, splitter: Splitter, document_in: Callable[[bytes], bytes]) -> None:
        self._splitter = splitter
        self._document_in = document_in
        #: The last bytes so far: a needle or the end of a piece may be cut in two.
        self._tail = b""
        #: True while the piece that is still incomplete contains a needle.
        self._telling = False

    def feed(self, data: bytes, needles: Needles) -> Iterable[bytes]:
        # This runs for every chunk of every stream, and nearly all of them end here.
        seam = self._tail + data if self._tail else data
        self._tail = seam[-MAX_NEEDLE_BYTES:]
        if not self._telling and not _mentions(seam, needles):
            self._splitter.skip(data)
            return ()
        self._telling = True
        pieces = self._splitter.feed(data)
        if pieces:
            rest = self._splitter.rest()
            self._telling = _mentions(rest, needles)
            self._tail = rest[-MAX_NEEDLE_BYTES:]
        return [self._document_in(piece) for piece in pieces if _mentions(piece, needles)]

    def finish(self, needles: Needles) -> Iterable[bytes]:
        rest = self._splitter.rest()
        self._splitter = type(self._splitter)()
        return [self._document_in(rest)] if _mentions(rest, needles) else ()

    def text_in(self, dialect: Dialect) -> TextSource:
        return JsonStrings(dialect.stream_text)


#: No needle is longer.
MAX_NEEDLE_BYTES = 64


class EventStream(Pieces):
    """Server-sent events: a document is what the data lines of one event say."""

    def __init__(self) -> None:
        super().__init__(SseSplitter(), event_data)


class Lines(Pieces):
    """A document a line: NDJSON, and the AI SDK's data stream."""

    def __init__(self) -> None:
        super().__init__(LineSplitter(), bytes.strip)


class WholeBody:
    """One JSON document, read at its end. An array is the documents in it (Gemini streams one), and a body that holds
    several documents in lines is NDJSON under another name.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    def feed(self, data: bytes, needles: Needles) -> Iterable[bytes]:
        self._size_bytes += len(data)
        if self._size_bytes <= MAX_BODY_BYTES:
            self._pieces.append(data)
        else:
            self._pieces.clear()
        return ()

    def finish(self, needles: Needles) -> Iterable[bytes]:
        body = b"".join(self._pieces).strip()
        self._pieces.clear()
        if not _mentions(body, needles):
            return ()
        if body.startswith(b"["):
            documents = [bytes(element) for element in elements_of(body)]
        elif (b"\n" in body or b"\r" in body) and _NEXT_LINE_DOCUMENT.search(body):
            documents = body.splitlines()
        else:
            return (body,)
        return [document for document in documents if _mentions(document, needles)]

    def text_in(self, dialect: Dialect) -> TextSource:
        return JsonStrings(dialect.body_text)


#: Where one document ends and the next begins. It cannot stand within one: there a comma would part the braces, and
#: no string holds a raw line end.
_NEXT_LINE_DOCUMENT = re.compile(rb"\}[ \t]*[\r\n]\s*\{")


class Opaque:
    """Audio, an image, an unknown format: nothing in it can be read or counted."""

    def feed(self, data: bytes, needles: Needles) -> Iterable[bytes]:
        return ()

    def finish(self, needles: Needles) -> Iterable[bytes]:
        return ()

    def text_in(self, dialect: Dialect) -> TextSource:
        return JsonStrings(NO_STRINGS)


class PlainText(Opaque):
    """Text without any structure: nothing in it can be read, all of it is output."""

    def text_in(self, dialect: Dialect) -> TextSource:
        return WholeText()


def _mentions(data: bytes, needles: Needles) -> bool:
    # This runs for every chunk of every stream: `in` takes half as long again as `find`, and `any` twice as long.
    for needle in needles:  # noqa: SIM110
        if data.find(needle) >= 0:
            return True
    return False
