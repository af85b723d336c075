"""What a call costs. Integers all the way, multipliers included, and rounded up once, at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from gateway.domain.usage import Usage

#: Sums are in millionths of a unit, since tokens are priced by the million.
MILLIONTHS = 1_000_000


class Multiplier(NamedTuple):
    """An exact factor, as a fraction. A named tuple, because each call of a priced model looks one up."""

    numerator: int = 1
    denominator: int = 1

    def times(self, other: Multiplier) -> Multiplier:
        return Multiplier(self.numerator * other.numerator, self.denominator * other.denominator)


#: Changes nothing.
ONE = Multiplier()


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """An operation that costs the same each time. 0: free, still metered, allowed with an empty balance.

    No multiplier touches it: it can be set exactly where it applies, by operation and by tier, and a small whole number
    times a factor would mostly be rounding (1 × 0.8 is 1, 1 × 1.2 is 2).
    """

    units: int

    def cost(self, usage: Usage) -> int:
        return self.units

    def ceiling(self, input_tokens: int, output_tokens: int, audio_ms: int = 0, images: int = 0) -> int:
        return self.units


#: The price of what costs nothing, whatever it uses.
FREE = FixedPrice(0)


@dataclass(frozen=True, slots=True)
class UsagePrice:
    """A price for each thing that a call can use. Tokens are priced in units per million."""

    input: int
    output: int
    #: Input that the provider read from its cache.
    cached_input: int
    #: Input that the provider wrote to its cache.
    cache_write: int
    #: Output that was reasoning.
    reasoning: int
    #: Units for the call itself.
    request: int = 0
    #: Units per second of audio; a part of a second costs its part.
    audio_second: int = 0
    #: Units per image.
    image: int = 0
    #: What the tier and the route make of all of this together.
    multiplier: Multiplier = ONE

    @property
    def is_by_tokens(self) -> bool:
        """True when tokens cost anything."""
        return any((self.input, self.output, self.cached_input, self.cache_write, self.reasoning))

    def cost(self, usage: Usage) -> int:
        """Units for what was used, rounded up once."""
        cached, written, reasoning = usage.cached, usage.cache_write, usage.reasoning
        tokens = (
            (usage.input - cached - written) * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + (usage.output - reasoning) * self.output
            + reasoning * self.reasoning
        )
        return self._rounded_up(tokens, usage.audio_ms, usage.images)

    def ceiling(self, input_tokens: int, output_tokens: int, audio_ms: int = 0, images: int = 0) -> int:
        """The most that so much can cost, whatever the kinds of its tokens."""
        dearest_input = max(self.input, self.cached_input, self.cache_write)
        dearest_output = max(self.output, self.reasoning)
        return self._rounded_up(input_tokens * dearest_input + output_tokens * dearest_output, audio_ms, images)

    def output_tokens_for(self, units: int) -> int:
        """How many tokens of output so many units pay for, whatever their kinds."""
        numerator, denominator = self.multiplier
        return units * MILLIONTHS * denominator // max(1, max(self.output, self.reasoning) * numerator)

    def _rounded_up(self, token_millionths: int, audio_ms: int, images: int) -> int:
        """Whole units for millionths of units paid for tokens, and all else that is paid for."""
        millionths = (
            token_millionths
            + (self.request + images * self.image) * MILLIONTHS
            + audio_ms * self.audio_second * (MILLIONTHS // 1000)
        )
        numerator, denominator = self.multiplier
        return -(-millionths * numerator // (MILLIONTHS * denominator))


class PriceList:
    """Prices by model glob. A model that is named in full has that price; else the longest pattern that matches
    wins, whatever order the file has them in."""

    def __init__(self, prices: dict[str, UsagePrice], version: str) -> None:
        #: Names this list in ledger rows, so that every charge can be traced to the prices of its day.
        self.version = version
        self._by_name = prices
        self._by_specificity = sorted(prices.items(), key=lambda item: (-len(item[0]), item[0]))
        self.find = lru_cache(maxsize=1024)(self._find)

    def _find(self, model: str, multiplier: Multiplier = ONE) -> UsagePrice | None:
        """The price of a model, times this; or None: nothing says what it costs."""
        price = self._by_name.get(model) or self._of_pattern(model)
        return price if price is None or multiplier == ONE else replace(price, multiplier=multiplier)

    def _of_pattern(self, model: str) -> UsagePrice | None:
        return next((price for pattern, price in self._by_specificity if fnmatchcase(model, pattern)), None)


@dataclass(frozen=True, slots=True)
class ListPrice:
    """An operation that costs what the price list says of the model."""


#: How an operation is priced.
Price = FixedPrice | ListPrice
#: What a call is charged by, once its tier, route and model are known.
Charge = FixedPrice | UsagePrice
