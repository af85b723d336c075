"""Google Gemini, generateContent and streamGenerateContent, and the Live API.

    usageMetadata{promptTokenCount, cachedContentTokenCount, toolUsePromptTokenCount,
                  candidatesTokenCount, thoughtsTokenCount, totalTokenCount}

stands at the top of every document: of the body, of each event with `?alt=sse`, of each element of the JSON array
without it. Its numbers are running totals, the last ones win, and a document without them erases nothing. Thoughts lie
outside of the candidates, tool prompts outside of the prompt; the Live API says `responseTokenCount`.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import sum_of, usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    chunk = Fields(document)
    return so_far.then(usage_of(chunk.fields("usageMetadata")), failed="error" in chunk)


def usage_of(usage: Fields) -> Usage | None:
    """From `{promptTokenCount, candidatesTokenCount, …}`."""
    thoughts = usage.count("thoughtsTokenCount")
    return usage_from_counts(
        input=sum_of(usage.count("promptTokenCount"), usage.count("toolUsePromptTokenCount")),
        cached=usage.count("cachedContentTokenCount"),
        output=sum_of(usage.count("candidatesTokenCount", "responseTokenCount"), thoughts),
        reasoning=thoughts,
        total=usage.count("totalTokenCount"),
    )


_TEXT = strings_under("text")

DIALECT = Dialect(name="gemini", needles=(b'TokenCount"', b'"error"'), read=read, stream_text=_TEXT, body_text=_TEXT)
