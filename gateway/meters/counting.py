"""Output tokens counted from the bytes that pass, for renewals, for clients that leave and for answers without usage.

Nothing is parsed: one regular expression finds the generated text, and only when somebody asks or much is waiting.
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from gateway.meters.document import UNREADABLE
from gateway.meters.estimate import HUNDREDTHS, hundredths_of_tokens

#: So many bytes wait to be counted, at most. Counting them takes about a millisecond.
MAX_PENDING_BYTES = 64 * 1024


class TextSource(Protocol):
    """Knows where the generated text stands in the bytes of an answer."""

    def take(self, batch: bytes) -> bytes:
        """The text in the next bytes, escapes resolved."""


class OutputCounter:
    """Estimates the output tokens of one answer."""

    def __init__(self) -> None:
        self._source: TextSource | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        # Hundredths, so that the fractions of many small batches add up instead of being rounded up one by one.
        self._hundredths = 0

    def add(self, data: bytes) -> None:
        """Notes the next bytes of the answer."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._count()

    def count_in(self, source: TextSource) -> None:
        """Names where the text stands, for what is waiting and what follows."""
        self._source = source

    def tokens(self) -> int:
        """Output tokens so far, rounded up."""
        if self._pending and self._source is not None:
            self._count()
        return -(-self._hundredths // HUNDREDTHS)

    def _count(self) -> None:
        batch = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        if self._source is not None:
            self._hundredths += hundredths_of_tokens(self._source.take(batch))


class WholeText:
    """Every byte is text."""

    def take(self, batch: bytes) -> bytes:
        return batch


class JsonStrings:
    """The text is what certain strings of JSON documents hold, wherever the batches cut them."""

    def __init__(self, strings: re.Pattern[bytes]) -> None:
        self._strings = strings
        #: The end of the last batch, to be looked at again: what may be the first half of a key or an escape.
        self._carry = b""
        #: True when the last batch ended inside of a string that counts.
        self._inside = False

    def take(self, batch: bytes) -> bytes:
        batch = self._carry + batch
        found: list[bytes] = []
        end = 0
        if self._inside:
            end = _end_of_string(batch)
            found.append(batch[:end])
            self._inside = _is_cut(batch, end)
        if not self._inside:
            strings = list(self._strings.finditer(batch, end))
            if strings:
                found += [string[1] for string in strings]
                end = strings[-1].end()
                self._inside = _is_cut(batch, end)
        self._carry = batch[end:] if self._inside else batch[max(end, len(batch) - MAX_KEY_BYTES) :]
        return _unescaped(b"".join(found))


#: The most that stands between where a match begins and the text that it finds.
MAX_KEY_BYTES = 1024

_MAX_ESCAPE_BYTES = len(rb"\u0000")

#: The inside of a JSON string, up to its closing quote or to where the bytes end. Possessive: it never backtracks.
_INSIDE = rb'[^"\\\r\n]*+(?:\\(?:[^u\r\n]|u[0-9a-fA-F]{4})[^"\\\r\n]*+)*+'

_REST_OF_STRING = re.compile(_INSIDE)


def strings_under(*keys: str) -> re.Pattern[bytes]:
    """Finds the strings that stand under one of these keys of a JSON object."""
    return strings_after(opening_under(*keys))


def strings_after(opening: bytes) -> re.Pattern[bytes]:
    """Finds the strings that this pattern opens; it ends with their first quote, and matches no more than
    `MAX_KEY_BYTES`.
    """
    return re.compile(rb"(?:" + opening + rb")(" + _INSIDE + rb")")


def opening_under(*keys: str) -> bytes:
    """The pattern of one of these keys, the colon and the opening quote."""
    return rb'"(?:' + "|".join(keys).encode() + rb')"\s{0,8}:\s{0,8}"'


#: Finds nothing: for answers whose output is no text.
NO_STRINGS = strings_after(rb"(?!)")


def _end_of_string(batch: bytes) -> int:
    """Where the string ends in which the batch begins."""
    rest = _REST_OF_STRING.match(batch)
    return rest.end() if rest else 0


def _is_cut(batch: bytes, end: int) -> bool:
    """True when a string whose inside ends here goes on in the next batch: no quote closes it, only bytes ran out."""
    return batch[end : end + 1] in (b"", b"\\") and len(batch) - end < _MAX_ESCAPE_BYTES


def _unescaped(text: bytes) -> bytes:
    """The text of JSON strings, put together; as it is when an escape in it makes no sense."""
    if b"\\" not in text:
        return text
    try:
        return _STRING.decode(b'"' + text + b'"').encode()
    except UNREADABLE:
        return text


_STRING = msgspec.json.Decoder(str)
