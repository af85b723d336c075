"""Ollama's own API: the body, or the last line of a stream (`done: true`), has `prompt_eval_count` and `eval_count`.

Counts of zero are left out. An error in a stream is a line `{"error": "…"}`.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.document import Fields, Raw


def read(so_far: Reading, document: bytes) -> Reading:
    line = Fields(document)
    return so_far.then(usage_of(line), failed="error" in line, complete=line.raw("done") == _TRUE)


def usage_of(line: Fields) -> Usage | None:
    """From `{prompt_eval_count, eval_count, …}`."""
    return usage_from_counts(input=line.count("prompt_eval_count"), output=line.count("eval_count"))


_TRUE = Raw(b"true")

_TEXT = strings_under("content", "thinking", "response")

DIALECT = Dialect(
    name="ollama", needles=(b'eval_count"', b'"error"', b'"done_reason"'), read=read, stream_text=_TEXT, body_text=_TEXT
)
