"""How the documents of a stream follow one another, and how one more is put behind them."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Protocol

import msgspec

from gateway.meters import event_data
from gateway.meters.framing import DATA_STREAM_PART
from gateway.meters.sse import BOM, LineSplitter, Splitter, SseSplitter
from gateway.proxy.endings.ending import Document


class Pieces(Protocol):
    """Cuts a stream into pieces that hold a document each (`gateway.meters.sse.Splitter`)."""

    def feed(self, data: bytes) -> list[bytes]: ...
    def rest(self) -> bytes: ...


class Frames(Protocol):
    """The frames of one stream."""

    @property
    def splitter(self) -> Pieces:
        """Where the pieces end."""

    def half(self) -> bytes:
        """The beginning of a piece whose end has not passed; what only parts two pieces is none."""

    def completed_by(self, data: bytes) -> list[bytes]:
        """The pieces that these bytes would complete."""

    def document_in(self, piece: bytes) -> bytes:
        """The document in a piece; empty when there is none."""

    def framed(self, documents: list[Document], names_events: bool) -> bytes:
        """The bytes that put these documents behind what has passed, as the last ones."""


def frames_of(head: bytes, content_type: str) -> Frames:
    """The frames of a stream that begins so; without any bytes its content type tells."""
    head = head.lstrip().removeprefix(BOM)
    if head.startswith(b"[") or (not head and content_type.startswith("application/json")):
        return ArrayFrames()
    if head.startswith(b"{") or DATA_STREAM_PART.match(head) or (not head and "ndjson" in content_type):
        return LineFrames()
    return EventFrames()


class _LinedFrames:
    """Pieces that line ends part."""

    _splits: type[Splitter]

    def __init__(self) -> None:
        self.splitter = self._splits()

    def half(self) -> bytes:
        rest = self.splitter.rest()
        return rest if rest.strip(b"\r\n") else b""

    def completed_by(self, data: bytes) -> list[bytes]:
        return self._splits().feed(self.splitter.rest() + data)


class EventFrames(_LinedFrames):
    """Server-sent events."""

    _splits = SseSplitter

    def document_in(self, piece: bytes) -> bytes:
        return event_data(piece)

    def framed(self, documents: list[Document], names_events: bool) -> bytes:
        events = []
        for document in documents:
            if names_events and isinstance(document, dict):
                events.append(b"event: " + str(document["type"]).encode() + b"\n")
            events.append(b"data: " + _encoded(document) + b"\n\n")
        return b"".join(events)


class LineFrames(_LinedFrames):
    """A document a line."""

    _splits = LineSplitter

    def document_in(self, piece: bytes) -> bytes:
        return piece.strip()

    def framed(self, documents: list[Document], names_events: bool) -> bytes:
        return b"".join(_encoded(document) + b"\n" for document in documents)


class ArrayFrames:
    """The elements of one JSON array: what Gemini streams without `alt=sse`."""

    _PARTING = b"\r\n\t ,["

    def __init__(self) -> None:
        self.splitter = ArraySplitter()
        #: An element has passed.
        self._begun = False

    def half(self) -> bytes:
        rest = self.splitter.rest()
        return rest if rest.strip(self._PARTING) else b""

    def completed_by(self, data: bytes) -> list[bytes]:
        return deepcopy(self.splitter).feed(data)

    def document_in(self, piece: bytes) -> bytes:
        self._begun = True
        return piece.lstrip(self._PARTING)

    def framed(self, documents: list[Document], names_events: bool) -> bytes:
        parted = self.splitter.rest().strip() in (b"[", b",")
        opening = b"" if parted else b"," if self._begun else b"["
        return opening + b",".join(map(_encoded, documents)) + b"]"


def _encoded(document: Document) -> bytes:
    return document if isinstance(document, bytes) else msgspec.json.encode(document)


class ArraySplitter:
    """Cuts a JSON array of objects after each of them, however its bytes arrive.

    A piece begins with what parts it from the one before, a comma or the array's bracket.
    """

    # A whole string, in which brackets mean nothing; a bracket; a quote whose string has not ended yet.
    _SIGN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]"]', re.DOTALL)

    def __init__(self) -> None:
        self._rest = bytearray()
        self._seen_bytes = 0
        self._depth = 0

    def feed(self, data: bytes) -> list[bytes]:
        self._rest += data
        pieces = []
        begin = 0
        for match in self._SIGN.finditer(self._rest, self._seen_bytes):
            sign = match[0]
            if sign == b'"':
                break
            self._seen_bytes = match.end()
            self._depth += 1 if sign in b"{[" else -1 if sign in b"}]" else 0
            if sign == b"}" and self._depth == 1:
                pieces.append(bytes(self._rest[begin : match.end()]))
                begin = match.end()
        del self._rest[:begin]
        self._seen_bytes -= begin
        return pieces

    def rest(self) -> bytes:
        return bytes(self._rest)
