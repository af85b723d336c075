"""The AI SDK's data stream, version 4: lines of a part's one-character name, a colon and JSON.

The last line `d:{"finishReason": …, "usage": {"promptTokens": …, "completionTokens": …}}` has the usage of the whole
message. The lines `e:` have those of its steps, which are in it already. `0:` is text, `g:` reasoning, `3:` an error.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_after
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    part, _, value = document.partition(b":")
    usage = usage_of(Fields(value).fields("usage")) if part == b"d" else None
    return so_far.then(usage, failed=part == b"3", complete=part == b"d")


def usage_of(usage: Fields) -> Usage | None:
    """From `{promptTokens, completionTokens}`, as version 4 says, or `{inputTokens, outputTokens, …}`, as 5 does."""
    return usage_from_counts(
        input=usage.count("promptTokens", "inputTokens"),
        cached=usage.count("cachedInputTokens"),
        output=usage.count("completionTokens", "outputTokens"),
        reasoning=usage.count("reasoningTokens"),
        total=usage.count("totalTokens"),
    )


_TEXT = strings_after(rb'(?<![^\r\n])[0g]:"')

DIALECT = Dialect(
    name="vercel-data", needles=(b'Tokens"', b"3:", b"d:"), read=read, stream_text=_TEXT, body_text=_TEXT, by_lines=True
)
