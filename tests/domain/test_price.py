"""What calls cost: integers all the way, rounded up once, by the most specific pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price import FixedPrice, PriceList, UsagePrice
from gateway.domain.usage import Usage


def flat(units: int) -> UsagePrice:
    return UsagePrice(input=units, output=units, cached_input=units, cache_write=units, reasoning=units)


#: Every kind of token has a price that tells it apart.
EACH = UsagePrice(input=1_000_000, output=10_000_000, cached_input=100_000, cache_write=2_000_000, reasoning=30_000_000)


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        (Usage(), 0),
        (Usage(input=7), 7),
        (Usage(output=7), 70),
        (Usage(input=100, cached=100), 10),
        (Usage(input=100, cached=40), 60 + 4),
        (Usage(input=100, cache_write=100), 200),
        (Usage(input=100, cached=40, cache_write=50), 10 + 4 + 100),
        (Usage(output=10, reasoning=10), 300),
        (Usage(output=10, reasoning=4), 60 + 120),
        (Usage(input=100, cached=40, cache_write=50, output=10, reasoning=4), 114 + 180),
        (Usage(input=7, estimated=True), 7),
    ],
)
def test_each_token_is_charged_once_by_its_kind(usage: Usage, units: int) -> None:
    assert EACH.cost(usage) == units


@pytest.mark.parametrize(
    ("per_million", "tokens", "units"),
    [(1, 1, 1), (1, 1_000_000, 1), (1, 1_000_001, 2), (999_999, 1, 1), (1_000_000, 1, 1), (1_000_001, 1, 2), (0, 9, 0)],
)
def test_a_part_of_a_unit_is_charged_as_a_whole_one(per_million: int, tokens: int, units: int) -> None:
    assert flat(per_million).cost(Usage(input=tokens)) == units


def test_a_call_is_rounded_once_and_not_once_for_each_kind_of_token() -> None:
    """Five kinds at a fifth of a unit each are one unit, not five."""
    usage = Usage(input=3, cached=1, cache_write=1, output=2, reasoning=1)

    assert flat(200_000).cost(usage) == 1


def test_large_amounts_are_exact() -> None:
    """As floats these two would be one number."""
    assert flat(10**15).cost(Usage(input=9_007_199_254_740_993)) == 9_007_199_254_740_993 * 10**9
    assert flat(1_000_000).cost(Usage(input=2**53 + 1)) == 2**53 + 1


PRICES = st.integers(0, 10**9)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """What an answer may report: the counts nest."""
    input, output = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
    cached = draw(st.integers(0, input))
    return Usage(input, cached, draw(st.integers(0, input - cached)), output, draw(st.integers(0, output)))


@given(price=st.builds(UsagePrice, PRICES, PRICES, PRICES, PRICES, PRICES), usage=usages())
def test_no_call_within_its_tokens_costs_more_than_the_ceiling(price: UsagePrice, usage: Usage) -> None:
    assert 0 <= price.cost(usage) <= price.ceiling(usage.input, usage.output)


@pytest.mark.parametrize(
    ("price", "ceiling"),
    [
        (EACH, 10 * 2 + 5 * 30),
        (UsagePrice(input=1_000_000, output=2_000_000, cached_input=0, cache_write=0, reasoning=0), 10 + 10),
        (UsagePrice(input=0, output=0, cached_input=0, cache_write=0, reasoning=1), 1),
        (flat(0), 0),
    ],
)
def test_the_ceiling_takes_the_dearest_kind_of_token(price: UsagePrice, ceiling: int) -> None:
    assert price.ceiling(10, 5) == ceiling


@pytest.mark.parametrize("units", [0, 1, 2**53 - 1])
def test_a_fixed_price_is_the_same_for_every_call(units: int) -> None:
    price = FixedPrice(units)

    assert price.cost(Usage()) == price.cost(Usage(input=10**9, output=10**9)) == units
    assert price.ceiling(0, 0) == price.ceiling(10**9, 10**9) == units


def found(model: str, *patterns: str) -> str | None:
    """The pattern whose price a model is given, whatever order the file has the patterns in."""
    prices = {pattern: flat(number) for number, pattern in enumerate(patterns)}
    answers = {
        PriceList(dict(ordered), "v1").find(model) for ordered in (prices.items(), reversed(list(prices.items())))
    }
    (price,) = answers
    return None if price is None else patterns[price.input]


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("gpt-4o-mini-2024", "gpt-4o-mini*"),
        ("gpt-4o-mini", "gpt-4o-mini*"),
        ("gpt-4o-2024", "gpt-4o*"),
        ("gpt-4o", "gpt-4o*"),
        ("gpt-4.1", "*"),
        ("GPT-4o", "*"),
        ("openai/gpt-4o", "*"),
        ("", "*"),
    ],
)
def test_the_longest_pattern_that_matches_wins(model: str, pattern: str) -> None:
    assert found(model, "*", "gpt-4o*", "gpt-4o-mini*") == pattern


@pytest.mark.parametrize("glob", ["gpt-4*", "gpt-4?", "*pt-4o"])
def test_a_model_named_in_full_wins_over_a_glob_of_the_same_length(glob: str) -> None:
    assert found("gpt-4o", glob, "gpt-4o") == "gpt-4o"


def test_a_model_without_a_price_is_not_free() -> None:
    assert found("claude-3", "gpt-*") is None
    assert found("gpt", "gpt-*") is None


def test_a_models_name_is_text_and_no_pattern() -> None:
    assert found("*", "gpt-4o") is None
    assert found("gpt-[4]o", "gpt-4o") is None


def test_a_model_named_in_full_wins_over_a_longer_glob() -> None:
    assert found("gpt-4o", "gpt-4[o]", "gpt-4o**", "gpt-4o") == "gpt-4o"
