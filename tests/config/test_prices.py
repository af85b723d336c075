"""Prices in a config: their parts, their multipliers, and the version that names them."""

from __future__ import annotations

import pytest

from gateway.config import Config, parse
from gateway.domain.price import FixedPrice, UsagePrice
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from tests.config.test_faults import faults_of
from tests.config.test_load import SKETCH
from tests.support.config import config_text, route


def config_of(route_extra: str = "", more: str = "", dialect: str = "openai-chat") -> Config:
    """One route, /x, by the price list."""
    return parse(config_text(routes=route("/x", dialect, "chat", route_extra), more=more), "config.toml", {})


def route_of(config: Config) -> Route:
    found = config.routes.match("POST", "/x")
    assert found is not None
    return found


def cost_of(config: Config, tier: str, model: str = "m1", usage: Usage = Usage(input=100)) -> int:  # noqa: B008
    found = route_of(config)
    charge = config.charge(config.tiers[tier], found.operation, model, found.multiplier)
    assert charge is not None
    return charge.cost(usage)


#: Whole tiers and prices, to go at the end of a config.
DOUBLED = '[tiers.doubled]\nmultiplier = "2"\n'
PARTS = '[prices."whisper*"]\ninput = 0\noutput = 0\nrequest = 5\naudio_second = 100\nimage = 7\n'


def test_the_parts_of_a_price_are_read_and_are_nothing_by_default() -> None:
    config = config_of(more=PARTS)

    assert cost_of(config, "payg", "whisper-1", Usage(audio_ms=1500, images=2)) == 5 + 150 + 14
    assert cost_of(config, "payg", "m1", Usage(audio_ms=1500, images=2)) == 0


@pytest.mark.parametrize(
    ("of_route", "of_tier", "units"),
    [
        ('"1"', '"1"', 100), ('"1.5"', '"1"', 150), ('"1"', '"0.8"', 80), ('"1.5"', '"0.8"', 120), ("2", "3", 600),
        ('"0.333333"', '"1"', 34), ('"0.5"', '"0.01"', 1), ('"1.1"', '"1.1"', 121), ('"0"', '"1.5"', 0),
    ],
)  # fmt: skip
def test_multipliers_of_route_and_tier_apply_together_and_are_rounded_once(
    of_route: str, of_tier: str, units: int
) -> None:
    config = config_of(f"multiplier = {of_route}", f"[tiers.own]\nmultiplier = {of_tier}\n")

    assert cost_of(config, "own") == units


def test_a_fixed_price_stands_as_it_is_written() -> None:
    text = config_text(routes=route("/x", "auto", "fixed", 'multiplier = "9"'), more=DOUBLED)
    config = parse(text, "config.toml", {})

    charge = config.charge(config.tiers["doubled"], "fixed", "m1", route_of(config).multiplier)
    assert charge == FixedPrice(3)


@pytest.mark.parametrize(
    "value", ["1.5", '"-1"', '"1,5"', '"1e3"', '"1/3"', '"1001"', '" 1"', "true", '"٣"', '"1."', '""']
)
@pytest.mark.parametrize("table", ["tier", "route"])
def test_a_multiplier_that_is_not_exact_or_out_of_range_is_a_fault(table: str, value: str) -> None:
    key = f"multiplier = {value}"
    changed = (
        SKETCH + f"[tiers.own]\n{key}\n" if table == "tier" else SKETCH.replace("[[routes]]", f"[[routes]]\n{key}", 1)
    )

    (fault,) = faults_of(changed)

    assert fault.startswith("tiers.own.multiplier" if table == "tier" else "routes[0].multiplier")
    assert 'a decimal as text, such as "0.8"' in fault


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("request = -1", "request"), ("audio_second = 1.5", "audio_second"), ('image = "1"', "image"),
        ("images = 1", "images is not a key here; did you mean image?"),
    ],
)  # fmt: skip
def test_a_part_of_a_price_that_is_no_number_of_units_is_a_fault(line: str, key: str) -> None:
    (fault,) = faults_of(SKETCH.replace("output = 10_000_000", f"output = 10_000_000\n{line}", 1))

    assert fault.startswith(f'prices."gpt-4o*".{key}')


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("default_input_tokens = -1", "default_input_tokens = -1"),  # Not a token that opens something.
        ("default_audio_seconds = 0.5", "default_audio_seconds = 0.5"),
        ("max_hold = -1", "max_hold = -1"),
    ],
)
def test_an_estimate_that_is_no_whole_number_is_a_fault(line: str, key: str) -> None:
    (fault,) = faults_of(SKETCH.replace("[[routes]]", f"[[routes]]\n{line}", 1))

    assert fault.startswith(f"routes[0].{key}: must be a whole number")


@pytest.mark.parametrize(
    ("dialect", "extra", "seconds"),
    [("openai-audio", "", 60), ("openai-chat", "", 0), ("openai-audio", "default_audio_seconds = 0", 0),
     ("auto", "default_audio_seconds = 7", 7)],
)  # fmt: skip
def test_only_audio_is_held_for_by_default(dialect: str, extra: str, seconds: int) -> None:
    assert route_of(config_of(extra, dialect=dialect)).default_audio_seconds == seconds


# ── the version ──────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGES = [
    ("[operations.fixed]\nprice = 3", "[operations.fixed]\nprice = 4"),
    ("operations = { chat = 1 }", "operations = { chat = 2 }"),
    ("operations = { chat = 1 }", "operations = { chat = 1, fixed = 1 }"),
    ("[tiers.payg]", '[tiers.payg]\nmultiplier = "1.5"'),
    ('path = "/x"', 'path = "/x"\nmultiplier = "0.8"'),
    ("output = 10_000_000", "output = 10_000_000\nrequest = 1"),
    ("output = 10_000_000", "output = 10_000_000\naudio_second = 1"),
    ("output = 10_000_000", "output = 10_000_000\nimage = 1"),
]
TEXT = config_text(routes=route("/x", "openai-chat"))


@pytest.mark.parametrize(("old", "new"), CHANGES, ids=[new.splitlines()[-1] for _, new in CHANGES])
def test_the_version_changes_with_whatever_changes_a_price(old: str, new: str) -> None:
    assert old in TEXT

    assert version(TEXT.replace(old, new, 1)) != version(TEXT)


@pytest.mark.parametrize("line", ["max_hold = 9", "default_input_tokens = 9", 'multiplier = "1.00"'])
def test_the_version_stays_with_what_changes_no_price(line: str) -> None:
    assert version(TEXT.replace('path = "/x"', f'path = "/x"\n{line}', 1)) == version(TEXT)


def version(text: str) -> str:
    return parse(text, "config.toml", {}).prices.version


def test_a_price_is_that_of_its_multiplier_for_holds_too() -> None:
    config = config_of(more=DOUBLED)
    charge = config.charge(config.tiers["doubled"], "chat", "m1")

    assert isinstance(charge, UsagePrice)
    assert charge.ceiling(10, 20) == 60
