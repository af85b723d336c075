"""OpenAI Responses, and what is compatible with it.

    usage{input_tokens, input_tokens_details{cached_tokens, cache_write_tokens},
          output_tokens, output_tokens_details{reasoning_tokens}, total_tokens}

stands at the top of a body, and under `response` in the events `response.completed`, `.incomplete` and `.failed`; in
earlier ones it is null. A response that failed and still reports usage was worked on, and is no failure to a meter.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    response = event.fields("response") if "response" in event else event
    usage = usage_of(response.fields("usage"))
    kind = event.text("type")
    failed = "error" in response or kind in ("error", "response.failed")
    return so_far.then(usage, failed=failed and usage is None, complete=kind in _LAST_EVENTS)


def usage_of(usage: Fields) -> Usage | None:
    """From `{input_tokens, output_tokens, …}`."""
    input_details = usage.fields("input_tokens_details")
    return usage_from_counts(
        input=usage.count("input_tokens"),
        cached=input_details.count("cached_tokens"),
        cache_write=input_details.count("cache_write_tokens"),
        output=usage.count("output_tokens"),
        reasoning=usage.fields("output_tokens_details").count("reasoning_tokens"),
        total=usage.count("total_tokens"),
    )


_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")

DIALECT = Dialect(
    name="openai-responses",
    needles=(b'put_tokens"', b'"error"', *(f'"{kind}"'.encode() for kind in _LAST_EVENTS)),
    read=read,
    # The `.done` events and the last one repeat under other keys what the deltas said.
    stream_text=strings_under("delta"),
    body_text=strings_under("text", "arguments", "refusal"),
)
