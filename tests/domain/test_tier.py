"""What a tier is when its config says nothing."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.domain.price import FixedPrice
from gateway.domain.tier import MAX_UNITS, Tier


def test_a_tier_gives_nothing_that_it_does_not_name() -> None:
    tier = Tier("payg")

    assert (tier.signup, tier.allowances, tier.reset_hour, tier.warn_below) == (0, (), 0, None)
    assert tier.zone.key == "UTC"
    assert tier.operations == {}


def test_what_expires_soonest_is_burned_first() -> None:
    assert Tier("payg").burn_order == ("hour", "day", "week", "month", "credits")


def test_tiers_do_not_share_their_prices() -> None:
    priced = Tier("a", operations={"chat": FixedPrice(1)})

    assert priced.operations != Tier("b").operations
    assert Tier("b").operations is not Tier("c").operations


def test_a_tier_cannot_be_changed_under_a_call() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Tier("free").signup = 10  # type: ignore[misc]


def test_the_largest_amount_is_exact_as_a_double() -> None:
    """Lua's numbers are doubles: beyond this, two amounts would be one."""
    assert int(float(MAX_UNITS)) == MAX_UNITS
    assert int(float(MAX_UNITS - 1)) == MAX_UNITS - 1
    assert float(MAX_UNITS + 1) == float(MAX_UNITS + 2)
