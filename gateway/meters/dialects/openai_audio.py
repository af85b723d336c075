"""OpenAI transcription and speech: `usage` at the top of the body or of the events `transcript.text.done` and
`speech.audio.done`, either `{"type": "tokens", input_tokens, output_tokens, …}` or `{"type": "duration", seconds}`.

A duration is no usage in tokens: what was transcribed is estimated then. Mistral names its tokens as in a chat.
"""

from __future__ import annotations

from gateway.meters.counting import strings_under
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.dialects import openai_chat, openai_responses
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    usage = event.fields("usage")
    return so_far.then(
        openai_chat.usage_of(usage) if "prompt_tokens" in usage else openai_responses.usage_of(usage),
        failed="error" in event,
    )


DIALECT = Dialect(
    name="openai-audio",
    needles=(b'_tokens"', b'"error"'),
    read=read,
    stream_text=strings_under("delta"),
    body_text=strings_under("text"),
)
