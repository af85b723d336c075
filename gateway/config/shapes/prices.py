"""`[prices]`: what tokens cost, by model."""

from __future__ import annotations

from gateway.config.shapes.common import PerMillion, Shape


class TokenPriceShape(Shape):
    input: PerMillion
    output: PerMillion
    cached_input: PerMillion | None = None
    cache_write: PerMillion | None = None
    reasoning: PerMillion | None = None
