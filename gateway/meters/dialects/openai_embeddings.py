"""OpenAI embeddings: `usage{prompt_tokens, total_tokens}` at the top of the body, as in a chat completion."""

from __future__ import annotations

from gateway.meters.counting import NO_STRINGS
from gateway.meters.dialect import Dialect
from gateway.meters.dialects import openai_chat

DIALECT = Dialect(
    name="openai-embeddings",
    needles=openai_chat.DIALECT.needles,
    read=openai_chat.read,
    stream_text=NO_STRINGS,
    body_text=NO_STRINGS,
)
