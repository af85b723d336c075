"""Changes that a route's config asks of a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.meters.sse import SseSplitter, event_data


class _Chunk(msgspec.Struct):
    choices: Any = None
    usage: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


class UsageChunkFilter:
    """Hides the usage chunk of an openai-chat stream from a client that did not ask for it.

    It is the one with usage and `choices: []`. Everything else passes byte for byte.
    """

    def __init__(self) -> None:
        self._splitter = SseSplitter()
        #: The last event was hidden and ended with a CR: an LF that comes next belongs to it.
        self._hid_cr = False

    def feed(self, data: bytes) -> bytes:
        return b"".join([self._shown(event) for event in self._splitter.feed(data)])

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return self._shown(self._splitter.rest())

    def _shown(self, event: bytes) -> bytes:
        # An event that ends with CR is handed on at once; its LF, if there is one, begins the next event.
        if self._hid_cr:
            event = event.removeprefix(b"\n")
        hidden = _is_usage_chunk(event)
        self._hid_cr = hidden and event.endswith(b"\r")
        if hidden:
            return b"\n" if event.startswith(b"\n") else b""
        return event


def _is_usage_chunk(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    try:
        chunk = _decoder.decode(event_data(event))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return chunk.choices == [] and chunk.usage is not None
