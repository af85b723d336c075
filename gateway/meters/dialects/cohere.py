"""Cohere v2.

    usage{billed_units{input_tokens, output_tokens}, tokens{input_tokens, output_tokens}}

stands at the top of a chat body and under `delta` in the event `message-end`; embeddings and rankings say `meta`.
The billed units are what is paid for, and are floats; `tokens` counts only where they are missing.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    answer = event.fields("delta") if "delta" in event else event
    usage = usage_of(answer.fields("usage")) or usage_of(answer.fields("meta"))
    failed = "error" in answer and usage is None
    return so_far.then(usage, failed, complete=event.text("type") == "message-end")


def usage_of(usage: Fields) -> Usage | None:
    """From `{billed_units{…}, tokens{…}}`."""
    return _units(usage.fields("billed_units")) or _units(usage.fields("tokens"))


def _units(units: Fields) -> Usage | None:
    return usage_from_counts(input=units.count("input_tokens"), output=units.count("output_tokens"))


_TEXT = strings_under("text", "thinking", "tool_plan", "arguments")

DIALECT = Dialect(
    name="cohere", needles=(b'put_tokens"', b'"error"', b'"message-end"'), read=read, stream_text=_TEXT, body_text=_TEXT
)
