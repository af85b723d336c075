"""A price line by line comes to what the call costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price import MILLIONTHS, FixedPrice, Multiplier, UsagePrice
from gateway.domain.price_lines import priced
from gateway.domain.usage import Usage

prices = st.integers(0, 10**9)
counts = st.integers(0, 10**6)


multipliers = st.builds(Multiplier, st.integers(1, 50), st.integers(1, 50))
usages = st.builds(
    lambda plain, cached, written, output, reasoning, audio_ms, images: Usage(
        plain + cached + written, cached, written, output + reasoning, reasoning, audio_ms=audio_ms, images=images
    ),
    *[counts] * 7,
)


@given(st.builds(UsagePrice, *[prices] * 8, multipliers), usages)
def test_the_lines_rounded_up_once_are_the_cost(price: UsagePrice, usage: Usage) -> None:
    found = priced(price, usage)

    numerator, denominator = price.multiplier
    total = sum(line.millionths for line in found.lines)
    assert -(-total * numerator // (MILLIONTHS * denominator)) == found.units == price.cost(usage)


def test_a_fixed_price_is_one_line() -> None:
    found = priced(FixedPrice(3), Usage(input=5))

    assert ([line.what for line in found.lines], found.units) == (["call"], 3)


def test_what_was_not_used_has_no_line() -> None:
    price = UsagePrice(1, 2, 3, 4, 5)

    assert [line.what for line in priced(price, Usage(input=5)).lines] == ["input"]
