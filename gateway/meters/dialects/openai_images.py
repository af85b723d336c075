"""OpenAI images: `usage{input_tokens, output_tokens, …}` at the top of the body, or of the event
`image_generation.completed` or `image_edit.completed`, as in a response. Models without token prices report none.
"""

from __future__ import annotations

from gateway.meters.counting import NO_STRINGS
from gateway.meters.dialect import Dialect
from gateway.meters.dialects import openai_responses

DIALECT = Dialect(
    name="openai-images",
    needles=openai_responses.DIALECT.needles,
    read=openai_responses.read,
    stream_text=NO_STRINGS,
    body_text=NO_STRINGS,
)
