"""Dify: chat, agent and completion apps, blocking or streamed, and workflows.

The event `message_end` and the body of a blocking answer have

    metadata{usage{prompt_tokens, completion_tokens, total_tokens, …}}

A workflow says only `data.total_tokens`, in the event `workflow_finished` or in its blocking body; that counts as
output. A chatflow sends both events and is billed once: `message_end` wins, in whatever order they come. All-zero
usage is a known fault (dify #20796) and reads as none. An error inside of a stream is `{"event": "error", …}`.
"""

from __future__ import annotations

from gateway.meters.counting import opening_under, strings_after, strings_under
from gateway.meters.counts import usage_from_counts
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.dialects import openai_chat
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    kind = event.text("event")
    if kind == "workflow_finished" or (not kind and "workflow_run_id" in event):
        return _workflow_finished(so_far, event.fields("data"))
    usage = openai_chat.usage_of(event.fields("metadata").fields("usage"))
    return so_far.then(usage, failed=kind == "error", complete=kind == "message_end")


def _workflow_finished(so_far: Reading, run: Fields) -> Reading:
    usage = usage_from_counts(input=None, output=None, total=run.count("total_tokens"))
    failed = run.text("status") == "failed" and usage is None
    return so_far.then(so_far.usage or usage, failed)


#: The event comes first in its document. Those of finished nodes and runs, which repeat what these three said, are
#: not among them.
_SPEAKING_EVENT = rb'"event": ?"(?:message|agent_message|text_chunk)"[^\r\n]{0,900}?'

DIALECT = Dialect(
    name="dify",
    needles=(b'_tokens"', b'"error"', b'"message_end"'),
    read=read,
    stream_text=strings_after(_SPEAKING_EVENT + opening_under("answer", "text")),
    body_text=strings_under("answer", "text"),
)
