"""What calls cost: integers all the way, rounded up once, by the most specific pattern."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price import FixedPrice, Multiplier, PriceList, UsagePrice
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


# ── beside tokens, and times a multiplier ────────────────────────────────────────────────────────────────────────────


#: Nothing but what no token pays.
BESIDE_TOKENS = replace(flat(0), request=7, audio_second=100, image=40)


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        (Usage(), 7),
        (Usage(input=10**9, output=10**9), 7),
        (Usage(images=3), 7 + 120),
        (Usage(audio_ms=1000), 7 + 100),
        (Usage(audio_ms=12_300), 7 + 1230),
        (Usage(audio_ms=1), 7 + 1),
        (Usage(audio_ms=10), 7 + 1),
        (Usage(audio_ms=11), 7 + 2),
        (Usage(audio_ms=2500, images=1), 7 + 250 + 40),
    ],
)
def test_requests_audio_and_images_are_charged_beside_tokens(usage: Usage, units: int) -> None:
    assert BESIDE_TOKENS.cost(usage) == units
    assert replace(BESIDE_TOKENS, input=10**6).cost(usage) == units + usage.input


@pytest.mark.parametrize(
    ("multiplier", "tokens", "units"),
    [
        (Multiplier(3, 2), 10, 15),
        (Multiplier(3, 2), 1, 2),
        (Multiplier(4, 5), 10, 8),
        (Multiplier(4, 5), 1, 1),
        (Multiplier(0, 1), 10, 0),
        (Multiplier(1, 10**6), 1, 1),
        (Multiplier(1, 3).times(Multiplier(3, 1)), 10, 10),
        # As floats, 1.1 * 1.1 * 100 is more than 121, and would be 122.
        (Multiplier(11, 10).times(Multiplier(11, 10)), 100, 121),
    ],
)
def test_a_multiplier_is_exact_and_a_part_of_a_unit_is_charged_as_a_whole_one(
    multiplier: Multiplier, tokens: int, units: int
) -> None:
    assert replace(flat(10**6), multiplier=multiplier).cost(Usage(input=tokens)) == units


def test_parts_and_multipliers_are_rounded_once_together() -> None:
    """A third of a unit of tokens and one of audio, halved: rounded each for itself they would be two."""
    third = replace(flat(333_333), audio_second=333, multiplier=Multiplier(1, 2))

    assert third.cost(Usage(input=1, audio_ms=1)) == 1
    assert third.cost(Usage(input=1, output=1, audio_ms=1)) == 1


MULTIPLIERS = st.builds(Multiplier, st.integers(0, 10**9), st.integers(1, 10**6))
WHOLE_PRICES = st.builds(
    UsagePrice, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, PRICES, multiplier=MULTIPLIERS
)


@st.composite
def whole_usages(draw: st.DrawFn) -> Usage:
    return draw(usages())._replace(audio_ms=draw(st.integers(0, 10**7)), images=draw(st.integers(0, 100)))


@given(price=WHOLE_PRICES, usage=whole_usages(), spare=st.tuples(*[st.integers(0, 1000)] * 4))
def test_nothing_within_the_caps_costs_more_than_the_ceiling(
    price: UsagePrice, usage: Usage, spare: tuple[int, int, int, int]
) -> None:
    caps = (usage.input, usage.output, usage.audio_ms, usage.images)

    assert 0 <= price.cost(usage) <= price.ceiling(*map(add, caps, spare))


@given(price=WHOLE_PRICES, usage=whole_usages())
def test_a_cost_is_the_exact_one_rounded_up(price: UsagePrice, usage: Usage) -> None:
    tokens = (
        (usage.input - usage.cached - usage.cache_write) * price.input + usage.cached * price.cached_input
        + usage.cache_write * price.cache_write + (usage.output - usage.reasoning) * price.output
        + usage.reasoning * price.reasoning
    )  # fmt: skip
    seconds = Fraction(usage.audio_ms, 1000) * price.audio_second
    exact = (Fraction(tokens, 10**6) + price.request + seconds + usage.images * price.image) * Fraction(
        *price.multiplier
    )

    assert price.cost(usage) == ceil(exact)


@given(
    price=WHOLE_PRICES,
    usage=whole_usages(),
    more=st.sampled_from(["input", "output", "audio_ms", "images"]),
    by=st.integers(1, 10**6),
)
def test_using_more_never_costs_less(price: UsagePrice, usage: Usage, more: str, by: int) -> None:
    larger = usage._replace(**{more: getattr(usage, more) + by})

    assert price.cost(larger) >= price.cost(usage)


@given(price=WHOLE_PRICES, usage=whole_usages(), other=MULTIPLIERS)
def test_a_larger_multiplier_never_costs_less(price: UsagePrice, usage: Usage, other: Multiplier) -> None:
    smaller, larger = sorted((price.multiplier, other), key=lambda multiplier: Fraction(*multiplier))

    assert replace(price, multiplier=smaller).cost(usage) <= replace(price, multiplier=larger).cost(usage)


def test_a_model_is_found_at_the_price_times_the_multiplier() -> None:
    prices = PriceList({"gpt-*": flat(10**6)}, "v1")
    found = prices.find("gpt-4o", Multiplier(3, 2))

    assert found is not None
    assert (found.cost(Usage(input=100)), found.multiplier) == (150, Multiplier(3, 2))
    assert prices.find("gpt-4o") == flat(10**6)
    assert prices.find("claude", Multiplier(3, 2)) is None
