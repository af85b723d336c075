"""`[payments]`, `[packages]`, `[plans]`, `[subscriptions]`, `[rewards]`: what is sold and given, and by whom."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt

from gateway.config.shapes.common import Name, Shape, host_and_path
from gateway.domain.money import Money, parse_money
from gateway.domain.order import METHODS
from gateway.domain.tier import MAX_UNITS

#: The banks of Xendit's virtual accounts (FACTS section 8).
BANKS = ("BCA", "BNI", "BRI", "MANDIRI", "PERMATA", "BSI")


def _page(url: str) -> str:
    """A page for people: it may have a query."""
    host_and_path(url.partition("?")[0])
    if any(character in '#<>" ' for character in url) or not url.isascii() or not url.isprintable():
        raise ValueError("not a page")
    return url


_SomeUnits = Annotated[
    StrictInt, Field(ge=1, le=MAX_UNITS, description=f"a whole number of units from 1 to {MAX_UNITS}")
]
_Units = Annotated[StrictInt, Field(ge=0, le=MAX_UNITS, description=f"a whole number of units from 0 to {MAX_UNITS}")]
_Days = Annotated[StrictInt, Field(ge=0, le=3660, description="a whole number of days from 1 to 3660, or 0: for ever")]
_Title = Annotated[str, Field(max_length=100, description="at most 100 characters")]
_Price = Annotated[
    str,
    AfterValidator(lambda text: _checked(parse_money(text), text)),
    Field(description='an amount and a currency that can be paid, such as "50000 IDR" or "4.99 USD"'),
]
_Page = Annotated[
    str,
    AfterValidator(_page),
    Field(description="http:// or https://, a host, a path and perhaps a query, or empty"),
]
_Address = Annotated[
    str, AfterValidator(host_and_path), Field(description="http:// or https://, a host and a path, or empty")
]
_Secret = Annotated[str, Field(max_length=1000, description="a text from the environment, or empty: off")]


def _checked(money: Money, text: str) -> str:
    return text


class XenditShape(Shape):
    secret_key: _Secret = ""
    callback_token: _Secret = ""
    base_url: _Address = "https://api.xendit.co"
    methods: Annotated[
        list[Annotated[Literal[METHODS], Field(description=f"one of {', '.join(METHODS)}")]],  # type: ignore[valid-type]
        Field(min_length=1, description=f"a list of {', '.join(METHODS)}"),
    ] = ["qris", "va", "link"]
    banks: Annotated[
        list[Annotated[Literal[BANKS], Field(description=f"one of {', '.join(BANKS)}")]],  # type: ignore[valid-type]
        Field(description=f"a list of {', '.join(BANKS)}"),
    ] = list(BANKS)
    return_url: _Page = ""
    account_name: Annotated[
        str, Field(pattern=r"^[A-Za-z][A-Za-z ]{0,49}$", description="1-50 letters and spaces, a letter first")
    ] = "Quotagate"


class StripeShape(Shape):
    secret_key: _Secret = ""
    webhook_secret: _Secret = ""
    base_url: _Address = "https://api.stripe.com"
    return_url: _Page = ""


class UnitPriceShape(Shape):
    units: _SomeUnits
    price: _Price
    min_units: _SomeUnits = 1
    max_units: _SomeUnits = MAX_UNITS
    valid_days: _Days = 0


class PaymentsShape(Shape):
    provider: Annotated[Literal["", "xendit", "stripe"], Field(description='"xendit", "stripe", or empty: none')] = ""
    topup_url: _Page = ""
    poll_s: Annotated[StrictInt, Field(ge=1, le=3600, description="a whole number of seconds from 1 to 3600")] = 15
    expires_s: Annotated[
        StrictInt, Field(ge=60, le=172_800, description="a whole number of seconds from 60 to 172800")
    ] = 86_400
    any_amount: UnitPriceShape | None = None
    xendit: XenditShape | None = None
    stripe: StripeShape | None = None


class PackageShape(Shape):
    title: _Title = ""
    price: _Price
    amount: _SomeUnits
    bonus: _Units = 0
    valid_days: _Days = 0


class PlanShape(Shape):
    title: _Title = ""
    tier: Name
    price: _Price
    every: Annotated[Literal["month", "year"], Field(description='"month" or "year"')] = "month"
    allowance: _Units = 0
    grace_days: Annotated[StrictInt, Field(ge=0, le=28, description="a whole number of days from 0 to 28")] = 0


class SubscriptionsShape(Shape):
    remind_days: Annotated[
        list[Annotated[StrictInt, Field(ge=1, le=27, description="a whole number of days from 1 to 27")]],
        Field(min_length=1, description="a list of whole numbers of days"),
    ] = [3, 1]
    tier_after: Annotated[str, Field(description="a tier of this file, or empty: the one it had before")] = ""


class CheckInShape(Shape):
    amount: _SomeUnits
    streaks: dict[
        Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}$", description="a number of days in a row")], _SomeUnits
    ] = {}
    valid_days: _Days = 0


class OneOffShape(Shape):
    title: _Title = ""
    amount: _SomeUnits
    by: Annotated[Literal["user", "operator"], Field(description='"user" or "operator"')] = "operator"
    valid_days: _Days = 0


class ReferralShape(Shape):
    referrer: _Units
    referred: _Units = 0
    when: Annotated[Literal["first_order", "first_use"], Field(description='"first_order" or "first_use"')] = (
        "first_order"
    )
    within_days: Annotated[StrictInt, Field(ge=1, le=3660, description="a whole number of days from 1 to 3660")] = 30
    most: Annotated[StrictInt, Field(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")] = 50
    valid_days: _Days = 0


class RewardsShape(Shape):
    priority: Annotated[StrictInt, Field(ge=0, le=1000, description="a whole number from 0 to 1000")] = 50
    codes: Annotated[bool, Field(strict=True, description="true or false")] = True
    check_in: CheckInShape | None = None
    once: dict[Name, OneOffShape] = {}
    referral: ReferralShape | None = None
