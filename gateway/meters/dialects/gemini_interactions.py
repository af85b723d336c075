"""Google Gemini, the Interactions API.

    usage{total_input_tokens, total_cached_tokens, total_tool_use_tokens,
          total_output_tokens, total_thought_tokens, total_tokens}

stands at the top of a body, and under `interaction` in the event `interaction.completed`. Thoughts and tool prompts
lie outside, as in `gemini`.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import sum_of, usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    interaction = event.fields("interaction") if "interaction" in event else event
    complete = event.text("event_type") == "interaction.completed"
    return so_far.then(usage_of(interaction.fields("usage")), "error" in event, complete)


def usage_of(usage: Fields) -> Usage | None:
    """From `{total_input_tokens, total_output_tokens, …}`."""
    thoughts = usage.count("total_thought_tokens")
    return usage_from_counts(
        input=sum_of(usage.count("total_input_tokens"), usage.count("total_tool_use_tokens")),
        cached=usage.count("total_cached_tokens"),
        output=sum_of(usage.count("total_output_tokens"), thoughts),
        reasoning=thoughts,
        total=usage.count("total_tokens"),
    )


_TEXT = strings_under("text")

DIALECT = Dialect(
    name="gemini-interactions",
    needles=(b'_tokens"', b'"error"', b'"interaction.completed"'),
    read=read,
    stream_text=_TEXT,
    body_text=_TEXT,
)
