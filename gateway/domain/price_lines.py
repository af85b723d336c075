"""A price line by line, for people who ask what a call cost and why."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.price import MILLIONTHS, ONE, Charge, FixedPrice, Multiplier
from gateway.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One thing that was used, times its price."""

    #: Such as "input", "cached input", "images".
    what: str
    count: int
    #: Units for `per` of it.
    price: int
    per: int

    @property
    def millionths(self) -> int:
        """What it comes to, in millionths of a unit: exact, not rounded."""
        return self.count * self.price * (MILLIONTHS // self.per)


@dataclass(frozen=True, slots=True)
class PricedCall:
    """All lines of a call, and what they come to."""

    lines: tuple[PriceLine, ...]
    multiplier: Multiplier
    #: The sum, times the multiplier, rounded up once.
    units: int


def priced(charge: Charge, usage: Usage) -> PricedCall:
    """The lines behind `charge.cost(usage)`. What was not used has none."""
    if isinstance(charge, FixedPrice):
        return PricedCall((PriceLine("call", 1, charge.units, 1),), ONE, charge.cost(usage))
    lines = (
        PriceLine("input", usage.input - usage.cached - usage.cache_write, charge.input, MILLIONTHS),
        PriceLine("cached input", usage.cached, charge.cached_input, MILLIONTHS),
        PriceLine("cache write", usage.cache_write, charge.cache_write, MILLIONTHS),
        PriceLine("output", usage.output - usage.reasoning, charge.output, MILLIONTHS),
        PriceLine("reasoning", usage.reasoning, charge.reasoning, MILLIONTHS),
        PriceLine("milliseconds of audio", usage.audio_ms, charge.audio_second, 1000),
        PriceLine("images", usage.images, charge.image, 1),
        PriceLine("request", 1, charge.request, 1),
    )
    used = tuple(line for line in lines if line.count and (line.price or line.what != "request"))
    return PricedCall(used, charge.multiplier, charge.cost(usage))
