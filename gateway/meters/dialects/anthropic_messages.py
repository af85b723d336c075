"""Anthropic Messages.

    usage{input_tokens, cache_creation_input_tokens, cache_read_input_tokens,
          output_tokens, output_tokens_details{thinking_tokens}}

stands at the top of a body. A stream has it twice: in `message_start.message.usage`, whose few output tokens are a
placeholder, and in `message_delta.usage`, whose numbers are running totals of the whole message and replace the
earlier ones field by field. `input_tokens` excludes what was read from or written to the cache (FACTS section 1).
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    message = event.fields("message") if "message" in event else event
    kind = event.text("type")
    usage = usage_of(message.fields("usage"), so_far.usage)
    return so_far.then(usage, failed=kind == "error", complete=kind == "message_stop")


def usage_of(usage: Fields, before: Usage | None = None) -> Usage | None:
    """From `{input_tokens, cache_read_input_tokens, …}`; a field that is not there keeps what it said before."""
    known = before or Usage()
    cached = _or_else(usage.count("cache_read_input_tokens"), known.cached)
    cache_write = _or_else(usage.count("cache_creation_input_tokens"), known.cache_write)
    uncached = _or_else(usage.count("input_tokens"), known.input - known.cached - known.cache_write)
    return usage_from_counts(
        input=uncached + cached + cache_write,
        cached=cached,
        cache_write=cache_write,
        output=_or_else(usage.count("output_tokens"), known.output),
        reasoning=_or_else(usage.fields("output_tokens_details").count("thinking_tokens"), known.reasoning),
    )


def _or_else(fresh: int | None, known: int) -> int:
    return known if fresh is None else fresh


_TEXT = strings_under("text", "thinking", "partial_json")

DIALECT = Dialect(
    name="anthropic-messages",
    needles=(b'put_tokens"', b'"error"', b'"message_stop"'),
    read=read,
    stream_text=_TEXT,
    body_text=_TEXT,
)
