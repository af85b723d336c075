"""Money: whole minor units, read and shown as people write them, rounded only where it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.money import Money, parse_money, places_of


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("10000 IDR", 1_000_000),
        ("4.99 USD", 499),
        ("4.9 USD", 490),
        ("500 JPY", 500),
        ("50000 VND", 50_000),
        ("1.234 KWD", 1234),
        ("0.01 EUR", 1),
    ],
)
def test_amounts_are_kept_in_the_minor_unit_of_iso_4217(text: str, minor: int) -> None:
    money = parse_money(text)

    assert money == Money(minor, text[-3:])
    assert parse_money(str(money)) == money


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("10000", "an amount and a currency"),
        ("10000 idr", "an amount and a currency"),
        ("10000IDR", "an amount and a currency"),
        ("-5 USD", "an amount and a currency"),
        ("1e3 USD", "an amount and a currency"),
        ("١٠ USD", "an amount and a currency"),
        ("5 XYZ", "no currency"),
        ("5.001 USD", "2 places"),
        ("5.5 JPY", "0 places"),
        ("0 USD", "cannot be paid"),
        ("10000.50 IDR", "cannot be paid"),
        ("9999999999999999 KWD", "cannot be paid"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_money(text)


def test_a_currency_that_there_is_not_has_no_places() -> None:
    with pytest.raises(ValueError, match="'IDX' is no currency"):
        places_of("IDX")


def test_rupiah_are_paid_without_sen() -> None:
    assert not Money(1_000_050, "IDR").is_payable
    assert Money(1_000_100, "IDR").is_payable
    assert parse_money("10000 IDR").share_up(1, 3) == parse_money("3334 IDR")
    assert parse_money("10000 IDR").share(1, 3) == parse_money("3333 IDR")


@given(
    minor=st.integers(1, 10**15), part=st.integers(0, 10**9), rest=st.integers(0, 10**9),
    currency=st.sampled_from(["IDR", "USD", "JPY", "KWD"]),
)  # fmt: skip
def test_two_shares_never_make_more_than_the_whole_and_lose_less_than_two_of_the_smallest(
    minor: int, part: int, rest: int, currency: str
) -> None:
    whole, step = part + rest or 1, 100 if currency == "IDR" else 1
    money = Money(minor // step * step, currency)

    shares = money.share(part, whole).minor + money.share(whole - part, whole).minor

    assert money.minor - 2 * step < shares <= money.minor
    assert 0 <= money.share_up(part, whole).minor - money.share(part, whole).minor <= step


def test_a_difference_shows_its_sign() -> None:
    assert str(Money(-50, "USD")) == "-0.50 USD"
