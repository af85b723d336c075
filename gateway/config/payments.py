"""`[payments]`, `[packages]`, `[plans]`, `[subscriptions]` and `[rewards]`, built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from gateway.config.faults import one_of
from gateway.config.shapes.payments import (
    PackageShape,
    PaymentsShape,
    PlanShape,
    RewardsShape,
    StripeShape,
    SubscriptionsShape,
    UnitPriceShape,
    XenditShape,
)
from gateway.domain.catalog import CheckIn, OneOff, Package, Plan, Referral, Rewards, Subscriptions, UnitPrice
from gateway.domain.money import parse_money
from gateway.domain.tier import Tier


@dataclass(frozen=True, slots=True)
class Xendit:
    """Xendit, as it is reached. Without a secret key it is the sandbox that is."""

    secret_key: str = field(repr=False)
    callback_token: str = field(repr=False)
    base_url: str
    methods: tuple[str, ...]
    banks: tuple[str, ...]
    #: Where a payer's browser goes after a page of the provider's.
    return_url: str
    #: Whom a bank shows as the owner of a virtual account.
    account_name: str = "Quotagate"


@dataclass(frozen=True, slots=True)
class Stripe:
    """Stripe Checkout, as it is reached."""

    secret_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    base_url: str
    return_url: str


@dataclass(frozen=True, slots=True)
class Payments:
    """Who takes the money, and how it is asked after."""

    #: Of new orders: "xendit" or "stripe"; "": nothing is sold.
    provider: str = ""
    #: Where who has nothing left is sent, "{account}" in it being their id; "": nowhere.
    topup_url: str = ""
    #: How soon the provider is asked about an order for the first time; later ones come less often.
    poll_s: int = 15
    #: How long an order can be paid.
    expires_s: int = 86_400
    any_amount: UnitPrice | None = None
    xendit: Xendit | None = None
    stripe: Stripe | None = None

    def topup_url_of(self, account: str) -> str:
        """Where this account is topped up; "": nowhere."""
        return self.topup_url.replace("{account}", quote(account, safe=""))

    @property
    def names(self) -> tuple[str, ...]:
        """The providers that there are tables of: orders of the past may be any one's."""
        return tuple(name for name, item in (("xendit", self.xendit), ("stripe", self.stripe)) if item is not None)


def build_payments(shape: PaymentsShape, faults: list[str]) -> Payments:
    for name, item in (("xendit", shape.xendit), ("stripe", shape.stripe)):
        if shape.provider == name and item is None:
            faults.append(f'payments.provider = "{name}": there is no [payments.{name}]')
    return Payments(
        shape.provider, shape.topup_url, shape.poll_s, shape.expires_s, _unit_price(shape.any_amount, faults),
        _xendit(shape.xendit, faults), _stripe(shape.stripe, faults),
    )  # fmt: skip


def build_packages(shapes: Mapping[str, PackageShape]) -> dict[str, Package]:
    return {
        name: Package(name, item.title or name, parse_money(item.price), item.amount, item.bonus, item.valid_days)
        for name, item in shapes.items()
    }


def build_plans(shapes: Mapping[str, PlanShape], tiers: Mapping[str, Tier], faults: list[str]) -> dict[str, Plan]:
    """A plan's tier has no allowance of weeks or months: it would outlive what was paid."""
    plans = {}
    for name, item in shapes.items():
        tier = tiers.get(item.tier)
        if tier is None:
            faults.append(f'plans.{name}.tier = "{item.tier}": {one_of(tiers, "a tier")}')
            continue
        faults += [
            f'plans.{name}.tier = "{item.tier}": that tier has an allowance a {each.every}, which does not end with '
            f"what was paid; name it here, plans.{name}.allowance"
            for each in tier.allowances
            if each.every in ("week", "month")
        ]
        if "credits" not in tier.burn_order and item.allowance:
            faults.append(
                f'plans.{name}.tier = "{item.tier}": its burn_order leaves out credits, as allowances of plans are'
            )
        plans[name] = Plan(
            name, item.title or name, item.tier, parse_money(item.price), item.every, item.allowance, item.grace_days
        )
    currencies = {plan.price.currency for plan in plans.values()}
    if len(currencies) > 1:
        faults.append(f"plans: their prices are in {', '.join(sorted(currencies))}; name one currency for all")
    return plans


def build_subscriptions(shape: SubscriptionsShape, tiers: Mapping[str, Tier], faults: list[str]) -> Subscriptions:
    if shape.tier_after and shape.tier_after not in tiers:
        faults.append(f'subscriptions.tier_after = "{shape.tier_after}": {one_of(tiers, "a tier")}')
    return Subscriptions(tuple(sorted(set(shape.remind_days), reverse=True)), shape.tier_after)


def build_rewards(shape: RewardsShape) -> Rewards:
    check_in, referral = shape.check_in, shape.referral
    return Rewards(
        shape.priority,
        None
        if check_in is None
        else CheckIn(
            check_in.amount,
            {int(days): units for days, units in sorted(check_in.streaks.items(), key=lambda item: int(item[0]))},
            check_in.valid_days,
        ),
        {
            name: OneOff(name, item.title or name, item.amount, item.by == "user", item.valid_days)
            for name, item in shape.once.items()
        },
        None
        if referral is None
        else Referral(
            referral.referrer, referral.referred, referral.when, referral.within_days, referral.most,
            referral.valid_days,
        ),
        shape.codes,
    )  # fmt: skip


def _unit_price(shape: UnitPriceShape | None, faults: list[str]) -> UnitPrice | None:
    if shape is None:
        return None
    if shape.min_units > shape.max_units:
        faults.append(f"payments.any_amount.min_units = {shape.min_units}: is more than max_units = {shape.max_units}")
    return UnitPrice(shape.units, parse_money(shape.price), shape.min_units, shape.max_units, shape.valid_days)


def _xendit(shape: XenditShape | None, faults: list[str]) -> Xendit | None:
    if shape is None:
        return None
    if shape.secret_key and not shape.callback_token:
        faults.append("payments.xendit.callback_token is empty: webhooks would be believed from anyone, or from nobody")
    if "va" in shape.methods and not shape.banks:
        faults.append('payments.xendit.banks is empty, and payments.xendit.methods has "va"')
    return Xendit(
        shape.secret_key, shape.callback_token, shape.base_url.rstrip("/"), tuple(shape.methods), tuple(shape.banks),
        shape.return_url, shape.account_name,
    )  # fmt: skip


def _stripe(shape: StripeShape | None, faults: list[str]) -> Stripe | None:
    if shape is None or not shape.secret_key:
        return None
    if not shape.webhook_secret:
        faults.append("payments.stripe.webhook_secret is empty: no webhook could be believed")
    if not shape.return_url:
        faults.append("payments.stripe.return_url is empty: Stripe must know where a payer's browser goes afterwards")
    return Stripe(shape.secret_key, shape.webhook_secret, shape.base_url.rstrip("/"), shape.return_url)
