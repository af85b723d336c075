"""OpenAI images: a body lists its images under `data`, a stream sends one `image_generation.completed` or
`image_edit.completed` for each. `usage{input_tokens, output_tokens, …}` stands at the top of either, as in a response;
models without token prices report none.
"""

from __future__ import annotations

from gateway.domain.usage import Usage
from gateway.meters.counting import NO_STRINGS
from gateway.meters.dialect import Dialect, Reading
from gateway.meters.dialects import openai_responses
from gateway.meters.document import Fields, elements_of


def read(so_far: Reading, document: bytes) -> Reading:
    answer = Fields(document)
    made = 1 if answer.text("type") in _LAST_EVENTS else len(elements_of(answer.raw("data")))
    tokens = openai_responses.usage_of(answer.fields("usage"))
    known = so_far.usage or Usage()
    usage = (tokens or known)._replace(images=known.images + made) if tokens or made else None
    return so_far.then(usage, failed="error" in answer or answer.text("type") == "error")


_LAST_EVENTS = ("image_generation.completed", "image_edit.completed")

DIALECT = Dialect(
    name="openai-images",
    needles=(b'put_tokens"', b'"data"', b'.completed"', b'"error"'),
    read=read,
    stream_text=NO_STRINGS,
    body_text=NO_STRINGS,
)
