"""Changes that a route's config asks of a stream."""

from __future__ import annotations

import msgspec

from gateway.meters.sse import SseSplitter, event_data


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw | None = None


_decoder = msgspec.json.Decoder(_Chunk)


class UsageChunkFilter:
    """Hides the usage chunk of an openai-chat stream from a client that did not ask for it.

    It is the one with usage and `choices: []`. Everything else passes byte for byte.
    """

    def __init__(self) -> None:
        self._splitter = SseSplitter()

    def feed(self, data: bytes) -> bytes:
        return b"".join(event for event in self._splitter.feed(data) if not _is_usage_chunk(event))

    def rest(self) -> bytes:
        """What came after the last whole event."""
        tail = self._splitter.rest()
        return b"" if _is_usage_chunk(tail) else tail


def _is_usage_chunk(event: bytes) -> bool:
    if b'"usage"' not in event:
        return False
    try:
        chunk = _decoder.decode(event_data(event))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return chunk.choices == [] and chunk.usage is not None and bytes(chunk.usage) != b"null"
