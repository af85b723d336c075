"""What one answer used: tokens by kind, audio, images."""

from __future__ import annotations

from typing import NamedTuple


class Usage(NamedTuple):
    """What one answer used. Every count is an integer of at least 0. A named tuple, because every call makes two.

    The counts nest: `cached` and `cache_write` lie inside `input`, `reasoning` lies inside `output`,
    whatever way the provider splits them (FACTS section 1), so that `total` is one plain sum.
    """

    #: All tokens of the request, read from or written to a cache included.
    input: int = 0
    #: The part of `input` that the provider read from its cache.
    cached: int = 0
    #: The part of `input` that the provider wrote to its cache.
    cache_write: int = 0
    #: All tokens of the answer, reasoning included.
    output: int = 0
    #: The part of `output` that was reasoning.
    reasoning: int = 0
    #: True when the provider reported nothing and the counts come from the bytes that passed.
    estimated: bool = False
    #: Milliseconds of audio that were heard or spoken, where the provider says so.
    audio_ms: int = 0
    #: Images that were made.
    images: int = 0

    @property
    def total(self) -> int:
        return self.input + self.output
