"""`[tiers]`: what accounts are given, and what they may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from gateway.config.shapes.common import MultiplierText, Name, PriceOf, Shape, Units, Zone
from gateway.domain.tier import MAX_UNITS


class AllowanceShape(Shape):
    every: Annotated[Literal["day", "month"], Field(description='"day" or "month"')]
    amount: Annotated[
        StrictInt, Field(ge=1, le=MAX_UNITS, description=f"a whole number of units from 1 to {MAX_UNITS}")
    ]


class TierShape(Shape):
    signup: Units = 0
    allowance: list[AllowanceShape] = []
    burn_order: (
        Annotated[
            list[Annotated[Literal["day", "month", "credits"], Field(description='"day", "month" or "credits"')]],
            Field(min_length=1, description='a list of "day", "month" and "credits"'),
        ]
        | None
    ) = None
    timezone: Zone | None = None
    warn_below: Units | None = None
    operations: dict[Name, PriceOf] = {}
    multiplier: MultiplierText = "1"
    limits: list[Annotated[str, Field(description='a limit such as "20 requests/minute"')]] = []
