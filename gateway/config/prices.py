"""Builds prices from their shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from gateway.config.shapes.prices import TokenPriceShape
from gateway.domain.price import FixedPrice, ListPrice, Price, PriceList, TokenPrice


def build_price_list(shapes: Mapping[str, TokenPriceShape]) -> PriceList:
    """The price list, under a version that changes when any price does."""
    prices = {
        pattern: TokenPrice(
            input=price.input,
            output=price.output,
            cached_input=price.input if price.cached_input is None else price.cached_input,
            cache_write=price.input if price.cache_write is None else price.cache_write,
            reasoning=price.output if price.reasoning is None else price.reasoning,
        )
        for pattern, price in shapes.items()
    }
    version = hashlib.sha256(repr(sorted(prices.items())).encode()).hexdigest()[:12]
    return PriceList(prices, version)


def build_price(price: int | str) -> Price:
    return FixedPrice(price) if isinstance(price, int) else ListPrice()
