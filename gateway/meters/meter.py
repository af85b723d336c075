"""How one answer is metered: bytes are framed into documents, and those that may tell of usage are read."""

from __future__ import annotations

from typing import Protocol

from gateway.domain.usage import Usage
from gateway.meters.counting import OutputCounter
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.framing import Framing, framing_of
from gateway.meters.sse import BOM


class Meter(Protocol):
    """Reads one answer as it passes. No method raises, whatever the bytes."""

    @property
    def failed(self) -> bool:
        """True once the answer carried an in-band error, although its HTTP status said 200."""

    @property
    def complete(self) -> bool:
        """True when a stream has said its last word, such as `[DONE]`, although its connection is still open.

        Proxies join several messages into one stream, so it may become false again. Never set by a whole body, nor
        by dialects that have no such word (Gemini): they end with their bytes.
        """

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the answer, however they are cut."""

    def finish(self) -> None:
        """Says that no bytes follow: what is still buffered is read now. Doing it again changes nothing."""

    def reported(self) -> Usage | None:
        """What the provider has reported so far; None: nothing that could be charged.

        Before the end of a stream this can be a running total, or only its input side (Anthropic): whoever charges
        an answer that was cut short takes the larger of `reported().output` and `counted_output()`.
        """

    def counted_output(self) -> int:
        """Output tokens, estimated from the bytes that have passed. At least 0, and never falls."""


#: So many documents are looked at, to find out whose they are, before it is given up.
MAX_STRANGE_DOCUMENTS = 32


class FramedMeter:
    """The meter of every dialect."""

    def __init__(self, dialect: Dialect, content_type: str) -> None:
        self._dialect = dialect
        self._content_type = content_type
        self._framing: Framing | None = None
        self._head = b""
        self._strange_documents = 0
        self._reading = Reading()
        self._output = OutputCounter()

    def __repr__(self) -> str:
        return f"FramedMeter({self._dialect.name}, {type(self._framing).__name__}, {self._reading})"

    @property
    def failed(self) -> bool:
        return self._reading.failed

    @property
    def complete(self) -> bool:
        return self._reading.complete

    def feed(self, data: bytes) -> None:
        if self._framing is None:
            self._begin(data)
        else:
            for document in self._framing.feed(data, self._dialect.needles):
                self._read(document)
        self._output.add(data)

    def finish(self) -> None:
        if self._framing is None:
            self._begin(b"", at_end=True)
        if self._framing is not None:
            for document in self._framing.finish(self._dialect.needles):
                self._read(document)

    def reported(self) -> Usage | None:
        return self._reading.usage

    def counted_output(self) -> int:
        return self._output.tokens()

    def _begin(self, data: bytes, at_end: bool = False) -> None:
        """Content types lie, so the framing is chosen when the first bytes of the answer have been seen."""
        self._head = (self._head + data).lstrip().removeprefix(BOM)
        self._framing = framing_of(self._head, self._content_type, self._dialect.by_lines, at_end)
        if self._framing is None:
            return
        self._output.count_in(self._framing.text_in(self._dialect))
        for document in self._framing.feed(self._head, self._dialect.needles):
            self._read(document)
        self._head = b""

    def _read(self, document: bytes) -> None:
        recognise = self._dialect.recognise
        if recognise is not None:
            self._strange_documents += 1
            given_up = self._strange_documents >= MAX_STRANGE_DOCUMENTS
            self._go_on_as(recognise(document) or (self._dialect.otherwise if given_up else None))
        self._reading = self._dialect.read(self._reading, document)

    def _go_on_as(self, dialect: Dialect | None) -> None:
        if dialect is not None and self._framing is not None:
            self._dialect = dialect
            self._output.count_in(self._framing.text_in(dialect))
