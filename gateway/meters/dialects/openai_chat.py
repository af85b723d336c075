"""OpenAI chat completions, the legacy completions, and everything compatible with them.

A body, and with `stream_options.include_usage` the last event of a stream, has

    usage{prompt_tokens, completion_tokens, total_tokens,
          prompt_tokens_details{cached_tokens, cache_write_tokens}, completion_tokens_details{reasoning_tokens}}

Earlier events have `usage: null`, no such key, zeros or running totals: the last one wins. Cached tokens lie inside of
the prompt, reasoning inside of the completion, but for xAI (FACTS section 1).
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    chunk = Fields(document)
    # Groq says the same in both places.
    usage = usage_of(chunk.fields("usage")) or usage_of(chunk.fields("x_groq").fields("usage"))
    # Mistral, and vLLM in its older versions, send the error itself as the document.
    failed = "error" in chunk or chunk.text("object") == "error"
    return so_far.then(usage, failed, complete=document == _END)


def usage_of(usage: Fields) -> Usage | None:
    """From `{prompt_tokens, completion_tokens, …}`."""
    prompt_details = usage.fields("prompt_tokens_details")
    prompt = usage.count("prompt_tokens")
    completion = usage.count("completion_tokens")
    reasoning = usage.fields("completion_tokens_details").count("reasoning_tokens")
    total = usage.count("total_tokens")
    if prompt is not None and completion is not None and reasoning and total is not None:
        # xAI: the total shows how much of the reasoning lies outside of the completion.
        completion += max(0, min(reasoning, total - prompt - completion))
    return usage_from_counts(
        input=prompt,
        # DeepSeek and Moonshot have names of their own.
        cached=prompt_details.count("cached_tokens") or usage.count("prompt_cache_hit_tokens", "cached_tokens"),
        cache_write=prompt_details.count("cache_write_tokens"),
        output=completion,
        reasoning=reasoning,
        total=total,
    )


_END = b"[DONE]"

_TEXT = strings_under("content", "reasoning_content", "reasoning", "arguments", "text", "refusal")

DIALECT = Dialect(
    name="openai-chat", needles=(b'_tokens"', b'"error"', _END), read=read, stream_text=_TEXT, body_text=_TEXT
)
