"""OpenAI transcription and speech: `usage` at the top of the body or of the events `transcript.text.done` and
`speech.audio.done`, either `{"type": "tokens", input_tokens, output_tokens, …}` or `{"type": "duration", seconds}`.

Mistral names its tokens as in a chat, and its seconds `prompt_audio_seconds`. A `verbose_json` body without usage, as
whisper's kin send it, has its length at the top, as `duration`.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import strings_under
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.dialects import openai_chat, openai_responses
from gateway.meters.document import Fields


def read(so_far: Reading, document: bytes) -> Reading:
    event = Fields(document)
    usage = usage_of(event.fields("usage")) or _usage(None, event.milliseconds("duration"))
    return so_far.then(usage, failed="error" in event)


def usage_of(usage: Fields) -> Usage | None:
    """From `{input_tokens, output_tokens, …}`, `{seconds}`, or both."""
    tokens = openai_chat.usage_of(usage) if "prompt_tokens" in usage else openai_responses.usage_of(usage)
    return _usage(tokens, usage.milliseconds("seconds", "prompt_audio_seconds"))


def _usage(tokens: Usage | None, audio_ms: int | None) -> Usage | None:
    return (tokens or Usage())._replace(audio_ms=audio_ms) if audio_ms else tokens


DIALECT = Dialect(
    name="openai-audio",
    needles=(b'_tokens"', b'seconds"', b'"duration"', b'"error"'),
    read=read,
    stream_text=strings_under("delta"),
    body_text=strings_under("text"),
)
