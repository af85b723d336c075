"""What an account is entitled to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gateway.domain.policy import PolicySet
from gateway.domain.price import ONE, Multiplier, Price

#: The largest amount that every part of the system keeps exactly: Lua numbers are doubles (FACTS section 3).
MAX_UNITS = 2**53 - 1

#: The kinds of periods that an allowance can be given for, the shortest first.
PERIODS = ("hour", "day", "week", "month")

#: The burn order of tiers that name none: what expires soonest goes first.
BURN_ORDER = (*PERIODS, "credits")


@dataclass(frozen=True, slots=True)
class Allowance:
    """Units that each period of a kind opens with."""

    #: One of PERIODS.
    every: str
    amount: int
    #: Which day of the week (0 is Monday) or of the month its periods begin on. Hours and days have none.
    first_day: int | None = None
    #: They begin on the weekday, or the day of the month, on which the account was opened.
    is_anchored: bool = False
    #: Of what a period has left at its end, so many units move to the next one at the most.
    rollover: int = 0


@dataclass(frozen=True, slots=True)
class Tier:
    """A plan: what its accounts are given, and what their calls cost."""

    name: str
    #: Units given once, when the account is opened.
    signup: int = 0
    #: At most one of each kind.
    allowances: tuple[Allowance, ...] = ()
    #: Which buckets a call draws on, first to last.
    burn_order: tuple[str, ...] = BURN_ORDER
    #: Where its periods turn.
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    #: The hour of the wall clock at which its days begin, and with them its weeks and months.
    reset_hour: int = 0
    #: At or below this many units left, answers carry a warning. None: never.
    warn_below: int | None = None
    #: From these shares of an allowance on, in thousandths, answers carry a warning.
    warn_at: tuple[int, ...] = ()
    #: What its accounts may do in a time, besides what they can pay.
    limits: PolicySet = field(default_factory=PolicySet)
    #: Prices of operations that differ from the common ones.
    operations: Mapping[str, Price] = field(default_factory=dict)
    #: What its accounts pay of the price list; fixed prices stand as they are.
    multiplier: Multiplier = ONE
    #: Whether any of its allowances is anchored to the day on which the account was opened. Every call asks.
    is_anchored: bool = field(init=False, repr=False)
    #: What all its allowances open with together.
    allowance: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_anchored", any(allowance.is_anchored for allowance in self.allowances))
        object.__setattr__(self, "allowance", sum(allowance.amount for allowance in self.allowances))

    def is_low(self, left: int) -> bool:
        """Whether so many units are few enough to be warned of."""
        return self.warn_below is not None and left <= self.warn_below
