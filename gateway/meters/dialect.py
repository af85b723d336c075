"""What a dialect is: plain data and one pure function, so that all of them share one meter."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.domain.usage import Usage


class Reading(NamedTuple):
    """What an answer has said of itself so far."""

    #: The last usage that was reported; None: none yet, or none but zeros.
    usage: Usage | None = None
    #: True once the answer carried an error, although its HTTP status said 200.
    failed: bool = False
    #: True while the last document that told of anything was the answer's last word.
    complete: bool = False

    def then(self, usage: Usage | None, failed: bool = False, complete: bool = False) -> Reading:
        """After one more document: the last usage wins, silence erases nothing, failure stays."""
        return Reading(self.usage if usage is None else usage, self.failed or failed, complete)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One provider's way of answering. Its answers are JSON documents: a whole body, or the events or lines of one."""

    #: The name in config and in `METERS`.
    name: str
    #: Byte strings of which every document that tells of usage, failure or the end contains one. A JSON key with its
    #: quotes is a good needle: inside of a JSON string those quotes stand escaped.
    needles: tuple[bytes, ...]
    #: Takes what is known and the next document, returns what is known then. Never raises, whatever the document.
    read: Callable[[Reading, bytes], Reading]
    #: Finds the generated text in the bytes of a stream, as group 1; see `counting.strings_under`.
    stream_text: re.Pattern[bytes]
    #: The same in a whole JSON body.
    body_text: re.Pattern[bytes]
    #: True when answers are lines whatever their content type says.
    by_lines: bool = False
    #: Names the dialect that a document is written in, if it shows; only `auto` has one.
    recognise: Callable[[bytes], Dialect | None] | None = None
    #: What to go on with when none of the first documents was recognised.
    otherwise: Dialect | None = None
