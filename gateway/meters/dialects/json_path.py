"""Usage where a route's config says that it stands: a dotted path such as `messageMetadata.usage`.

At its end may stand an object with the fields of any dialect, or a number, which is a total and counts as output. In a
stream every document is tried, and the last hit wins.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.domain.usage import Usage
from gateway.meters.counting import opening_under, strings_after
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.dialects import (
    anthropic_messages,
    cohere,
    gemini,
    gemini_interactions,
    ollama,
    openai_audio,
    openai_chat,
    openai_responses,
    vercel_data,
)
from gateway.meters.document import Fields, Raw, count_of, elements_of
from gateway.meters.framing import MAX_NEEDLE_BYTES


def usage_at(path: str) -> Dialect:
    """The dialect whose usage stands at this path: names of fields and numbers of elements, joined by dots.

    Where an answer is an array, the path begins at each of its elements.
    """
    steps = path.split(".")

    def read(so_far: Reading, document: bytes) -> Reading:
        return so_far.then(usage_in_any_spelling(_value_at(document, steps)), failed=_says_error(Fields(document)))

    needle = next((step for step in reversed(steps) if not step.isdecimal()), "")
    # The end of a needle is a needle.
    needles = (f'"{needle}"'.encode()[-MAX_NEEDLE_BYTES:], b'"error"')
    return Dialect(name="path", needles=needles, read=read, stream_text=_TEXT, body_text=_TEXT)


def usage_in_any_spelling(value: Raw) -> Usage | None:
    """From an object with the fields of any dialect, or from a number of tokens in total."""
    usage = Fields(value)
    for telling_fields, usage_of in _SPELLINGS:
        if usage.any_of(telling_fields):
            return usage_of(usage)
    return usage_from_counts(input=None, output=None, total=count_of(value))


#: What tells one spelling from another. The first that fits is taken: Anthropic and the Responses API share two names,
#: and a bare total is read as a chat completion's.
_SPELLINGS: tuple[tuple[tuple[str, ...], Callable[[Fields], Usage | None]], ...] = (
    (("billed_units",), cohere.usage_of),
    (("cache_creation_input_tokens", "cache_read_input_tokens"), anthropic_messages.usage_of),
    (("input_tokens", "output_tokens"), openai_responses.usage_of),
    (("promptTokenCount", "candidatesTokenCount", "totalTokenCount"), gemini.usage_of),
    (("total_input_tokens", "total_output_tokens"), gemini_interactions.usage_of),
    (("prompt_eval_count", "eval_count"), ollama.usage_of),
    (("seconds",), openai_audio.usage_of),
    (("promptTokens", "completionTokens", "inputTokens", "outputTokens", "totalTokens"), vercel_data.usage_of),
    (("prompt_tokens", "completion_tokens", "total_tokens"), openai_chat.usage_of),
)


def _value_at(document: bytes, steps: list[str]) -> Raw:
    value = Raw(document)
    for step in steps:
        if step.isdecimal():
            found = elements_of(value)[int(step) : int(step) + 1]
            value = found[0] if found else Raw()
        else:
            value = Fields(value).raw(step)
    return value


def _says_error(event: Fields) -> bool:
    """The ways to report an error that more than one dialect has."""
    return "error" in event or "error" in (event.text("type"), event.text("event"), event.text("object"))


#: Events whose data is the bare text, or a JSON string.
_BARE_DATA = rb'(?<![^\r\n])data: ?(?![\[{])"?'

_TEXT = strings_after(
    opening_under("content", "text", "delta", "answer", "response", "arguments", "thinking", "reasoning_content")
    + rb"|"
    + _BARE_DATA
)

DIALECT = usage_at("usage")
