"""What is sold and given: packages, plans, rewards. All units are the smallest ones of balances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.domain.money import Money

#: In which order credits are drawn on: what was paid for lasts longest. Sign-up grants have 0, operators choose.
PLAN_PRIORITY, BOUGHT_PRIORITY, BONUS_PRIORITY = 10, 100, 101


@dataclass(frozen=True, slots=True)
class Package:
    """Credits at a price."""

    name: str
    title: str
    price: Money
    units: int
    #: Given on top; drawn on after what was bought.
    bonus: int = 0
    #: What was bought, and the bonus, lapse so many days after the payment; 0: never.
    valid_days: int = 0


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """Any number of units, at a price a so many."""

    units: int
    price: Money
    min_units: int
    max_units: int
    valid_days: int = 0

    def cost(self, units: int) -> Money:
        """Rounded up to what can be paid."""
        return self.price.share_up(units, self.units)


#: How long a plan's period is.
MONTH, YEAR = "month", "year"


@dataclass(frozen=True, slots=True)
class Plan:
    """A subscription: a tier and an allowance, for a period that is paid for."""

    name: str
    title: str
    #: Of its accounts, as long as it is paid for.
    tier: str
    price: Money
    #: MONTH or YEAR.
    every: str
    #: Units that each period is paid with: there from the payment on, until the period ends.
    allowance: int
    #: So many days after an unpaid period began, the account keeps the tier.
    grace_days: int = 0


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """What holds for all plans."""

    #: So many days before a period ends its owner is asked for the next one, the largest first.
    remind_days: tuple[int, ...] = (3, 1)
    #: The tier of accounts whose subscription has ended; "": the one they had before.
    tier_after: str = ""


@dataclass(frozen=True, slots=True)
class OneOff:
    """A reward that an account has once."""

    name: str
    title: str
    amount: int
    #: Whether the account may claim it itself; else an operator's backend does.
    by_user: bool
    valid_days: int = 0


@dataclass(frozen=True, slots=True)
class CheckIn:
    """A reward for each local day on which it is asked for."""

    amount: int
    #: By how many days in a row: what that day gives on top.
    streaks: Mapping[int, int] = field(default_factory=dict)
    valid_days: int = 0


@dataclass(frozen=True, slots=True)
class Referral:
    """What both have of an account that another one brought."""

    referrer: int
    referred: int
    #: "first_order": when the referred account has paid its first order; "first_use": when it has made a call.
    when: str
    #: An account can say who brought it for so many days after it was first seen.
    within_days: int
    #: For so many accounts at the most is one rewarded.
    most: int
    valid_days: int = 0


@dataclass(frozen=True, slots=True)
class Rewards:
    """What is given, and not sold."""

    #: When what is given is drawn on, among all credits: see above.
    priority: int = 50
    check_in: CheckIn | None = None
    once: Mapping[str, OneOff] = field(default_factory=dict)
    referral: Referral | None = None
    #: Whether redemption codes are taken.
    codes: bool = True
