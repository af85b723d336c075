"""`[prices]`: what calls cost, by model."""

from __future__ import annotations

from gateway.config.shapes.common import PerMillion, Shape, Units


class PriceShape(Shape):
    input: PerMillion
    output: PerMillion
    cached_input: PerMillion | None = None
    cache_write: PerMillion | None = None
    reasoning: PerMillion | None = None
    request: Units = 0
    audio_second: Units = 0
    image: Units = 0
