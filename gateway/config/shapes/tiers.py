"""`[tiers]`: what accounts are given, and what they may do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt

from gateway.config.shapes.common import Globs, Hour, MultiplierText, Name, PriceOf, Shape, Shares, Units, Zone
from gateway.domain.policy import DIMENSIONS, MODES
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


def _as_table(value: Any) -> Any:
    """A limit may be written as its text alone."""
    return {"limit": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class LimitShape(Shape):
    limit: Annotated[str, Field(description='a limit such as "20 requests/minute" or "4 concurrent"')]
    name: Name | None = None
    by: Annotated[
        list[Annotated[Literal[DIMENSIONS], Field(description=f"one of {', '.join(DIMENSIONS)}")]],  # type: ignore[valid-type]
        BeforeValidator(_as_list),
        Field(min_length=1, description=f"one or more of {', '.join(DIMENSIONS)}"),
    ] = ["account"]
    mode: Annotated[Literal[MODES], Field(description='"enforce", "shadow" or "throttle"')] = "enforce"  # type: ignore[valid-type]
    models: Globs = []
    routes: Annotated[list[str], Field(description="a list of paths of routes of this file")] = []
    operations: Annotated[list[str], Field(description="a list of operations of this file")] = []
    warn_at: Shares | None = None


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
    warn_at: Shares = []
    operations: dict[Name, PriceOf] = {}
    multiplier: MultiplierText = "1"
    limits: list[
        Annotated[
            LimitShape,
            BeforeValidator(_as_table),
            Field(description='a limit such as "20 requests/minute", or a table with a limit in it'),
        ]
    ] = []
