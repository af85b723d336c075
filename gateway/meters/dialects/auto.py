"""Any dialect, recognised from the answer itself: the first document that shows whose it is decides.

Until then, and for answers of nobody known, `usage` is read in whatever spelling.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.meters.dialect import Dialect
from gateway.meters.dialects import (
    anthropic_messages,
    cohere,
    dify,
    gemini,
    gemini_interactions,
    json_path,
    ollama,
    openai_audio,
    openai_chat,
    openai_images,
    openai_responses,
    vercel_data,
)
from gateway.meters.document import Fields
from gateway.meters.framing import DATA_STREAM_PART


def recognise(document: bytes) -> Dialect | None:
    """The dialect of this document; None when it could be anyone's (an error, a ping, nothing but usage)."""
    if DATA_STREAM_PART.match(document):
        return vercel_data.DIALECT
    fields = Fields(document)
    for name, dialect in _TELLING_FIELDS.items():
        if name in fields:
            return dialect
    if "billed_units" in fields.fields("usage") or "billed_units" in fields.fields("meta"):
        return cohere.DIALECT
    if "prompt_audio_seconds" in fields.fields("usage"):
        return openai_audio.DIALECT
    if "data" in fields and "created" in fields and "object" not in fields:  # Lists of all else say that they are one.
        return openai_images.DIALECT
    kind = fields.text("type") or fields.text("object")
    for pattern, dialect in _TELLING_KINDS:
        if pattern.fullmatch(kind):
            return dialect
    return None


#: A field at the top of a document that only one dialect has.
_TELLING_FIELDS = {
    "choices": openai_chat.DIALECT,
    "candidates": gemini.DIALECT,
    "usageMetadata": gemini.DIALECT,
    "event_type": gemini_interactions.DIALECT,
    "event": dify.DIALECT,
    "workflow_run_id": dify.DIALECT,
    "task": openai_audio.DIALECT,
    "done": ollama.DIALECT,
    "eval_count": ollama.DIALECT,
    "prompt_eval_count": ollama.DIALECT,
}

#: What an event calls its `type`, or a body its `type` or `object`.
_TELLING_KINDS = (
    (re.compile(r"response(\..+)?"), openai_responses.DIALECT),
    (re.compile(r"message|message_(start|delta|stop)|content_block_.+"), anthropic_messages.DIALECT),
    (re.compile(r"message-(start|end)|content-(start|delta|end)"), cohere.DIALECT),
    (re.compile(r"image_(generation|edit)\..+"), openai_images.DIALECT),
    (re.compile(r"(transcript|speech)\..+"), openai_audio.DIALECT),
    (re.compile(r"interaction"), gemini_interactions.DIALECT),
)

DIALECT = replace(
    json_path.DIALECT,
    name="auto",
    # Every document is looked at until one is recognised: each holds a colon.
    needles=(b":",),
    recognise=recognise,
    otherwise=json_path.DIALECT,
)
