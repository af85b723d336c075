"""Which meters there are, and how one is opened for an answer."""

from __future__ import annotations

from gateway.meters.coding import DecodingMeter, codings_of
from gateway.meters.dialect import Dialect
from gateway.meters.dialects import (
    anthropic_messages,
    auto,
    cohere,
    dify,
    gemini,
    gemini_interactions,
    json_path,
    ollama,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_images,
    openai_responses,
    vercel_data,
)
from gateway.meters.meter import FramedMeter, Meter

#: Every dialect by the name that a route's config gives it.
METERS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        openai_chat.DIALECT,
        openai_responses.DIALECT,
        anthropic_messages.DIALECT,
        gemini.DIALECT,
        gemini_interactions.DIALECT,
        cohere.DIALECT,
        openai_embeddings.DIALECT,
        openai_images.DIALECT,
        openai_audio.DIALECT,
        dify.DIALECT,
        ollama.DIALECT,
        vercel_data.DIALECT,
        json_path.DIALECT,
        auto.DIALECT,
    )
}


def open_meter(dialect: str, content_type: str, content_encoding: str = "", usage_path: str | None = None) -> Meter:
    """A meter for one answer, from the names in the route's config and the answer's own headers.

    `usage_path` is where the route says that usage stands ("messageMetadata.usage"); given, it decides whatever
    the dialect, since a route may speak one dialect in its refusals and keep usage elsewhere.

    Raises ValueError when there is no dialect of that name.
    """
    if dialect not in METERS:
        raise ValueError(f"unknown dialect {dialect!r}; there are {', '.join(METERS)}")
    meter = FramedMeter(json_path.usage_at(usage_path) if usage_path else METERS[dialect], content_type)
    codings = codings_of(content_encoding) if content_encoding else []
    return DecodingMeter(meter, codings) if codings else meter
