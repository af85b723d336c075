"""What an account is entitled to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from gateway.domain.policy import PolicySet
from gateway.domain.price import ONE, Multiplier, Price

#: The largest amount that every part of the system keeps exactly: Lua numbers are doubles (FACTS section 3).
MAX_UNITS = 2**53 - 1

#: The burn order of tiers that name none: what expires soonest goes first.
BURN_ORDER = ("day", "month", "credits")


@dataclass(frozen=True, slots=True)
class Tier:
    """A plan: what its accounts are given, and what their calls cost."""

    name: str
    #: Units given once, when the account is opened.
    signup: int = 0
    #: Units that each local day opens with; 0: no daily allowance.
    day_amount: int = 0
    #: Units that each local calendar month opens with; 0: no monthly allowance.
    month_amount: int = 0
    #: Which buckets a call draws on, first to last.
    burn_order: tuple[str, ...] = BURN_ORDER
    #: Where its days and months turn.
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
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
