"""`[tiers]`: what accounts are given, and what they may do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt

from gateway.config.shapes.common import Hour, Name, PriceOf, Shape, Units, Zone
from gateway.domain.tier import MAX_UNITS

#: In the order of their numbers.
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_KIND = '"hour", "day", "week" or "month"'
_BUCKET = '"hour", "day", "week", "month" or "credits"'


def _begins(value: Any) -> int | str:
    if value in ("calendar", "start", *WEEKDAYS):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 31:
        raise ValueError("nothing to begin at")
    return value


class AllowanceShape(Shape):
    every: Annotated[Literal["hour", "day", "week", "month"], Field(description=_KIND)]
    amount: Annotated[
        StrictInt, Field(ge=1, le=MAX_UNITS, description=f"a whole number of units from 1 to {MAX_UNITS}")
    ]
    #: `from` in the file, which is a word of Python's own.
    begins: Annotated[
        int | str,
        BeforeValidator(_begins),
        Field(
            alias="from",
            description='"calendar", "start", a weekday such as "monday" (of weeks), or a day from 1 to 31 (of months)',
        ),
    ] = "calendar"
    rollover: Units = 0


class TierShape(Shape):
    signup: Units = 0
    allowance: list[AllowanceShape] = []
    burn_order: (
        Annotated[
            list[Annotated[Literal["hour", "day", "week", "month", "credits"], Field(description=_BUCKET)]],
            Field(min_length=1, description=f"a list of {_BUCKET}"),
        ]
        | None
    ) = None
    timezone: Zone | None = None
    reset_hour: Hour | None = None
    warn_below: Units | None = None
    operations: dict[Name, PriceOf] = {}
    limits: list[Annotated[str, Field(description='a limit such as "20 requests/minute"')]] = []
