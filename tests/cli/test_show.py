"""Amounts, as people see them."""

from __future__ import annotations

import pytest

from gateway.cli import show
from gateway.config import parse
from tests.support.config import config_text


@pytest.mark.parametrize(
    ("decimals", "units", "shown"),
    [
        (0, 0, "0"),
        (0, -5, "-5"),
        (0, 2**53 - 1, "9007199254740991"),
        (2, 0, "0.00"),
        (2, 5, "0.05"),
        (2, 50, "0.50"),
        (2, 100, "1.00"),
        (2, -5, "-0.05"),
        (2, -12345, "-123.45"),
        (6, 1, "0.000001"),
        (6, 2**53 - 1, "9007199254.740991"),
        (15, 2**53 - 1, "9.007199254740991"),
    ],
)
def test_the_point_stands_where_the_config_puts_it_and_no_digit_is_lost(decimals: int, units: int, shown: str) -> None:
    text = config_text().replace('default_tier = "free"', f'default_tier = "free"\ndecimals = {decimals}')

    assert show.amount(units, parse(text, "config.toml", {})) == shown
