"""Single fields of a JSON document that came from outside: read forgivingly, and blind to everything else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

#: A larger "count" is a fault of whoever sent it. Sums of a few counts below it stay exact in Redis, which holds
#: integers up to 2^53 (FACTS section 3).
MAX_COUNT_TOKENS = 2**50

#: Longer than any recording: about thirty years.
MAX_AUDIO_SECONDS = 10**9

#: A JSON value that is left undecoded. One absurd value (1e400 where a count belongs) must not cost the rest of the
#: document, and the large ones (an image, 2,000 embeddings) must not be built.
Raw = msgspec.Raw

#: What msgspec raises on bytes that are not the JSON asked for: malformed, of another shape or not UTF-8 (all of them
#: ValueErrors), or nested deeper than Python's stack.
UNREADABLE = (ValueError, RecursionError)

#: An object up to this size is decoded as a whole, which is faster than field by field: every `usage` is one.
SMALL_OBJECT_BYTES = 2048

_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ALL = msgspec.json.Decoder(dict[str, Any])
_ELEMENTS = msgspec.json.Decoder(list[Raw])
_NUMBER: msgspec.json.Decoder[int | float] = msgspec.json.Decoder(int | float)
_DECIMAL = msgspec.json.Decoder(Decimal)
_TEXT = msgspec.json.Decoder(str)


class Fields:
    """The fields of one JSON object. Bytes that are no JSON object have none, and null is as good as absent."""

    __slots__ = ("_members",)

    def __init__(self, value: bytes | Raw) -> None:
        #: Decoded values, or undecoded ones as `Raw`.
        self._members: Mapping[str, Any] = _members_of(value)

    def __contains__(self, name: str) -> bool:
        value = self._members.get(name)
        return value is not None and value != _NULL

    def raw(self, name: str) -> Raw:
        """The value of this field, undecoded."""
        value = self._members.get(name, _NULL)
        return value if isinstance(value, Raw) else Raw(msgspec.json.encode(value))

    def fields(self, name: str) -> Fields:
        """The fields of the object that stands there."""
        value = self._members.get(name)
        if isinstance(value, Raw) and value != _NULL:
            if len(bytes(value)) > SMALL_OBJECT_BYTES:
                return Fields(value)
            raw = value
            try:
                value = _ALL.decode(raw)
            except UNREADABLE:  # No object, or one value in it that cannot be read: the others still can.
                return Fields(raw)
        if not isinstance(value, dict):
            return _NO_FIELDS
        found = Fields.__new__(Fields)
        found._members = value
        return found

    def text(self, name: str) -> str:
        """The string that stands there, or an empty one."""
        value = self._members.get(name, "")
        if isinstance(value, Raw):
            try:
                return _TEXT.decode(value)
            except UNREADABLE:
                return ""
        return value if isinstance(value, str) else ""

    def count(self, *names: str) -> int | None:
        """The count that stands under the first of these names that has one."""
        for name in names:
            value = self._members.get(name)
            if type(value) is int and 0 <= value <= MAX_COUNT_TOKENS:
                return value
            count = None if value is None else count_of(self.raw(name))
            if count is not None:
                return count
        return None

    def milliseconds(self, *names: str) -> int | None:
        """The seconds that stand under the first of these names that has some, in milliseconds."""
        for name in names:
            if name in self and (found := milliseconds_of(self.raw(name))) is not None:
                return found
        return None

    def any_of(self, names: Iterable[str]) -> bool:
        """True when one of these fields is there."""
        return any(name in self for name in names)


def _members_of(value: bytes | Raw) -> Mapping[str, Raw]:
    try:
        return _MEMBERS.decode(value)
    except UNREADABLE:
        return {}


_NULL = Raw(b"null")
_NO_FIELDS = Fields(_NULL)


def count_of(value: Raw) -> int | None:
    """A finite JSON number from 0 to `MAX_COUNT_TOKENS`, rounded up; None: anything else stands there."""
    try:
        number = _NUMBER.decode(value)
    except UNREADABLE:
        return None
    return math.ceil(number) if 0 <= number <= MAX_COUNT_TOKENS else None


def milliseconds_of(value: Raw) -> int | None:
    """A number of seconds as whole milliseconds, rounded up; None: anything else stands there.

    Read as a decimal: 12.3 seconds are 12,300 ms, which no float must turn into 12,301.
    """
    try:
        seconds = _DECIMAL.decode(value)
    except UNREADABLE:
        return None
    return math.ceil(seconds * 1000) if seconds.is_finite() and 0 <= seconds <= MAX_AUDIO_SECONDS else None


def elements_of(value: bytes | Raw) -> list[Raw]:
    """The elements of the JSON array that stands there, undecoded; none when it is no array."""
    try:
        return _ELEMENTS.decode(value)
    except UNREADABLE:
        return []
