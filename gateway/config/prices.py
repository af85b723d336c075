"""Builds prices from their shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from fractions import Fraction

from gateway.config.shapes.prices import PriceShape
from gateway.domain.price import ONE, FixedPrice, ListPrice, Multiplier, Price, PriceList, UsagePrice
from gateway.domain.route import Route
from gateway.domain.tier import Tier


def build_price_list(
    shapes: Mapping[str, PriceShape],
    operations: Mapping[str, Price],
    tiers: Mapping[str, Tier],
    routes: Iterable[Route],
) -> PriceList:
    """The price list, under a version that changes with whatever changes the price of any call."""
    prices = {pattern: _build_usage_price(price) for pattern, price in shapes.items()}
    of_tiers = [(name, tier.multiplier, sorted(tier.operations.items())) for name, tier in sorted(tiers.items())]
    of_routes = sorted(
        (route.path, sorted(route.methods), route.multiplier) for route in routes if route.multiplier != ONE
    )
    priced_by = (sorted(prices.items()), sorted(operations.items()), of_tiers, of_routes)
    return PriceList(prices, hashlib.sha256(repr(priced_by).encode()).hexdigest()[:12])


def build_price(price: int | str) -> Price:
    return FixedPrice(price) if isinstance(price, int) else ListPrice()


def build_multiplier(value: str) -> Multiplier:
    return Multiplier(*Fraction(value).as_integer_ratio())


def _build_usage_price(price: PriceShape) -> UsagePrice:
    return UsagePrice(
        input=price.input,
        output=price.output,
        cached_input=price.input if price.cached_input is None else price.cached_input,
        cache_write=price.input if price.cache_write is None else price.cache_write,
        reasoning=price.output if price.reasoning is None else price.reasoning,
        request=price.request,
        audio_second=price.audio_second,
        image=price.image,
    )
