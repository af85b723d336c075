"""What a call costs. Integers all the way: units per million tokens, rounded up once, at the end."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from gateway.domain.usage import Usage

PER_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class FixedPrice:
    """An operation that costs the same each time. 0: free, still metered, allowed with an empty balance."""

    units: int

    def cost(self, usage: Usage) -> int:
        return self.units

    def ceiling(self, input_tokens: int, output_tokens: int) -> int:
        return self.units


#: The price of what costs nothing, whatever it uses.
FREE = FixedPrice(0)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """A price per kind of token, in units per million tokens."""

    input: int
    output: int
    #: Input that the provider read from its cache.
    cached_input: int
    #: Input that the provider wrote to its cache.
    cache_write: int
    #: Output that was reasoning.
    reasoning: int

    def cost(self, usage: Usage) -> int:
        """Units for what was used, rounded up once."""
        cached, written, reasoning = usage.cached, usage.cache_write, usage.reasoning
        millionths = (
            (usage.input - cached - written) * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + (usage.output - reasoning) * self.output
            + reasoning * self.reasoning
        )
        return -(-millionths // PER_TOKENS)

    def ceiling(self, input_tokens: int, output_tokens: int) -> int:
        """The most that so many tokens can cost, whatever their kinds."""
        dearest_input = max(self.input, self.cached_input, self.cache_write)
        dearest_output = max(self.output, self.reasoning)
        return -(-(input_tokens * dearest_input + output_tokens * dearest_output) // PER_TOKENS)


class PriceList:
    """Token prices by model glob. A model that is named in full has that price; else the longest pattern that matches
    wins, whatever order the file has them in."""

    def __init__(self, prices: dict[str, TokenPrice], version: str) -> None:
        #: Names this list in ledger rows, so that every charge can be traced to the prices of its day.
        self.version = version
        self._by_name = prices
        self._by_specificity = sorted(prices.items(), key=lambda item: (-len(item[0]), item[0]))
        self.find = lru_cache(maxsize=1024)(self._find)

    def _find(self, model: str) -> TokenPrice | None:
        """The price of a model, or None: nothing says what it costs."""
        if (named := self._by_name.get(model)) is not None:
            return named
        for pattern, price in self._by_specificity:
            if fnmatchcase(model, pattern):
                return price
        return None


@dataclass(frozen=True, slots=True)
class ListPrice:
    """An operation that costs what the price list says of the model."""


#: How an operation is priced.
Price = FixedPrice | ListPrice
#: What a call is charged by, once its model is known.
Charge = FixedPrice | TokenPrice
