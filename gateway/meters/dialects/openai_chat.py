"""OpenAI chat completions, the legacy completions, and everything compatible with them.

A body, and with `stream_options.include_usage` the last event of a stream, has

    usage{prompt_tokens, completion_tokens, total_tokens,
          prompt_tokens_details{cached_tokens, cache_write_tokens}, completion_tokens_details{reasoning_tokens}}

Earlier events have `usage: null`, no such key, zeros or running totals: the last one wins. Cached tokens lie inside of
the prompt, reasoning inside of the completion, but for xAI (FACTS section 1).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import MAX_COUNT_TOKENS, UNREADABLE, Fields


def read(so_far: Reading, document: bytes) -> Reading:
    if document == _END:
        return so_far.then(None, complete=True)
    try:
        answer = _usual.decode(document)
    except UNREADABLE:
        return _read_any(so_far, document)
    if answer.x_groq is not None:
        return _read_any(so_far, document)
    usage = None if answer.usage is None else _usage_as_usual(answer.usage)
    return so_far.then(usage, failed=answer.error is not None or answer.object == "error")


def _read_any(so_far: Reading, document: bytes) -> Reading:
    """Reads a document in which something is not of the usual type, as far as it can be read."""
    chunk = Fields(document)
    # Groq says the same in both places.
    usage = usage_of(chunk.fields("usage")) or usage_of(chunk.fields("x_groq").fields("usage"))
    # Mistral, and vLLM in its older versions, send the error itself as the document.
    failed = "error" in chunk or chunk.text("object") == "error"
    return so_far.then(usage, failed)


def usage_of(usage: Fields) -> Usage | None:
    """From `{prompt_tokens, completion_tokens, …}`."""
    prompt_details = usage.fields("prompt_tokens_details")
    return _usage(
        usage.count("prompt_tokens"),
        usage.count("completion_tokens"),
        usage.count("total_tokens"),
        # DeepSeek and Moonshot have names of their own.
        prompt_details.count("cached_tokens") or usage.count("prompt_cache_hit_tokens", "cached_tokens"),
        prompt_details.count("cache_write_tokens"),
        usage.fields("completion_tokens_details").count("reasoning_tokens"),
    )


def _usage(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    cached: int | None,
    cache_write: int | None,
    reasoning: int | None,
) -> Usage | None:
    if prompt is not None and completion is not None and reasoning and total is not None:
        # xAI: the total shows how much of the reasoning lies outside of the completion.
        completion += max(0, min(reasoning, total - prompt - completion))
    return usage_from_counts(
        input=prompt, cached=cached, cache_write=cache_write, output=completion, reasoning=reasoning, total=total
    )


_END = b"[DONE]"

# The usual types of what is read, for msgspec to check and to skip all else without building it: six times as fast as
# field by field, and most answers of most gateways are read by it.

_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT_TOKENS)] | None


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count = None
    cache_write_tokens: _Count = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count = None


class _UsualUsage(msgspec.Struct):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    total_tokens: _Count = None
    prompt_cache_hit_tokens: _Count = None
    cached_tokens: _Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _UsualAnswer(msgspec.Struct):
    usage: _UsualUsage | None = None
    x_groq: Any = None
    error: Any = None
    object: Any = None


_usual = msgspec.json.Decoder(_UsualAnswer)


def _usage_as_usual(usage: _UsualUsage) -> Usage | None:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = usage.prompt_cache_hit_tokens if usage.prompt_cache_hit_tokens is not None else usage.cached_tokens
    return _usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        (prompt.cached_tokens if prompt else None) or cached,
        prompt.cache_write_tokens if prompt else None,
        completion.reasoning_tokens if completion else None,
    )


_TEXT = strings_under("content", "reasoning_content", "reasoning", "arguments", "text", "refusal")

DIALECT = Dialect(
    name="openai-chat", needles=(b'_tokens"', b'"error"', _END), read=read, stream_text=_TEXT, body_text=_TEXT
)
