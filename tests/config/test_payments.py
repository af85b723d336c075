"""What is wrong with what is sold, given, and paid to whom: each fault by its key; and no secret in any."""

from __future__ import annotations

import pytest

from gateway.config import parse
from gateway.config.payments import Payments
from gateway.domain.catalog import Package, Plan
from gateway.domain.money import Money
from tests.config.test_faults import faults_of
from tests.config.test_load import ENVIRONMENT, SKETCH

XENDIT = '[payments]\nprovider = "xendit"\n[payments.xendit]\n'
STRIPE = '[payments]\nprovider = "stripe"\n[payments.stripe]\nsecret_key = "sk"\n'
PACKAGE = '[packages.small]\nprice = "50000 IDR"\namount = 1000\n'
ANY = '[payments.any_amount]\nunits = 1000\nprice = "16500 IDR"\n'
PLAN = '[plans.pro]\ntier = "paid"\nprice = "99000 IDR"\nallowance = 1000\n[tiers.paid]\n'
DEARER = '[plans.max]\ntier = "paid"\nprice = "9 USD"\n'
GIVEN = "[rewards.check_in]\namount = 1\n"

#: What is added to a config, and the beginning and a middle of what is said of it.
TABLE = [
    # ── providers ──
    ('[payments]\nprovider = "paypal"', 'payments.provider = "paypal"', '"xendit", "stripe", or empty'),
    ('[payments]\nprovider = "xendit"', 'payments.provider = "xendit"', "there is no [payments.xendit]"),
    ('[payments]\nprovider = "stripe"', 'payments.provider = "stripe"', "there is no [payments.stripe]"),
    ('[payments]\ntopup_url = "app.example.com"', 'payments.topup_url = "app.example.com"', "http:// or https://"),
    ('[payments]\ntopup_url = "https://h/#top"', "payments.topup_url (not shown)", "http:// or https://"),
    ('[payments]\ntopup_url = "javascript:x"', 'payments.topup_url = "javascript:x"', "http:// or https://"),
    ("[payments]\npoll_s = 0", "payments.poll_s = 0", "from 1 to 3600"),
    ("[payments]\npoll_s = 1.5", "payments.poll_s = 1.5", "a whole number of seconds"),
    ("[payments]\nexpires_s = 59", "payments.expires_s = 59", "from 60 to 172800"),
    ("[payments]\nexpires_s = 172_801", "payments.expires_s = 172801", "from 60 to 172800"),
    ("[payments]\nretries = 3", "payments.retries", "is not a key here"),
    (XENDIT + 'secret_key = "xnd_1"', "payments.xendit.callback_token is empty", "webhooks would be believed"),
    (XENDIT + 'base_url = "api.xendit.co"', 'payments.xendit.base_url = "api.xendit.co"', "a host and a path"),
    (XENDIT + 'base_url = "https://h/?x=1"', "payments.xendit.base_url (not shown)", "a host and a path"),
    (XENDIT + 'methods = ["card"]', 'payments.xendit.methods[0] = "card"', "one of qris, va, link"),
    (XENDIT + "methods = []", "payments.xendit.methods is an empty list", "a list of qris, va, link"),
    (XENDIT + 'banks = ["ING"]', 'payments.xendit.banks[0] = "ING"', "one of BCA, BNI"),
    (XENDIT + "banks = []", "payments.xendit.banks is empty", 'payments.xendit.methods has "va"'),
    (STRIPE + 'return_url = "https://h/x"', "payments.stripe.webhook_secret is empty", "no webhook could be believed"),
    (STRIPE + 'webhook_secret = "whsec"', "payments.stripe.return_url is empty", "where a payer's browser goes"),
    # ── what is sold ──
    (PACKAGE.replace("50000 IDR", "50000 XYZ"), 'packages.small.price = "50000 XYZ"', "an amount and a currency"),
    (PACKAGE.replace("50000 IDR", "10000.5 IDR"), 'packages.small.price = "10000.5 IDR"', "that can be paid"),
    (PACKAGE.replace("50000 IDR", "10000.505 IDR"), 'packages.small.price = "10000.505 IDR"', "that can be paid"),
    (PACKAGE.replace("50000 IDR", "0 IDR"), 'packages.small.price = "0 IDR"', "that can be paid"),
    (PACKAGE.replace("50000 IDR", "-5 IDR"), 'packages.small.price = "-5 IDR"', "that can be paid"),
    (PACKAGE.replace("50000 IDR", "IDR 50000"), 'packages.small.price = "IDR 50000"', "an amount and a currency"),
    (PACKAGE.replace('"50000 IDR"', "50000"), "packages.small.price = 50000", "an amount and a currency"),
    (PACKAGE.replace("50000 IDR", "4.5 JPY"), 'packages.small.price = "4.5 JPY"', "that can be paid"),
    (PACKAGE.replace("1000", "0"), "packages.small.amount = 0", "from 1 to"),
    (PACKAGE.replace("1000", "1.5"), "packages.small.amount = 1.5", "a whole number of units"),
    (PACKAGE + "bonus = -1", "packages.small.bonus = -1", "a whole number of units from 0"),
    (PACKAGE + "valid_days = 3661", "packages.small.valid_days = 3661", "0: for ever"),
    (PACKAGE.replace("small", '"for all"'), 'packages."for all"', "1-64 letters"),
    ("[packages.small]\namount = 5", "packages.small.price", "an amount and a currency"),
    (ANY + "min_units = 10\nmax_units = 9", "payments.any_amount.min_units = 10", "is more than max_units = 9"),
    (ANY.replace("units = 1000", "units = 0"), "payments.any_amount.units = 0", "from 1 to"),
    # ── plans ──
    (PLAN.replace('"paid"', '"platinum"'), 'plans.pro.tier = "platinum"', "tier"),
    (PLAN.replace('"paid"', '"pro"'), 'plans.pro.tier = "pro"', "has an allowance a month"),
    (PLAN + 'burn_order = ["day"]\nallowance = [{ every = "day", amount = 5 }]', "plans.pro.tier",
     "leaves out credits"),
    (PLAN.replace("1000", '1000\nevery = "week"'), 'plans.pro.every = "week"', '"month" or "year"'),
    (PLAN.replace("1000", "1000\ngrace_days = 29"), "plans.pro.grace_days = 29", "from 0 to 28"),
    (PLAN + DEARER,
     "plans: their prices are in IDR, USD", "name one currency"),
    ('[subscriptions]\ntier_after = "gold"', 'subscriptions.tier_after = "gold"', "tier"),
    ("[subscriptions]\nremind_days = []", "subscriptions.remind_days is an empty list", "whole numbers"),
    # ── what is given ──
    (GIVEN + 'streaks = { "0" = 5 }', "rewards.check_in.streaks", "a number of days in a row"),
    (GIVEN.replace("1", "0"), "rewards.check_in.amount = 0", "from 1 to"),
    ('[rewards.referral]\nreferrer = 5\nwhen = "never"', 'rewards.referral.when = "never"', '"first_order"'),
    ('[rewards.once.survey]\namount = 5\nby = "anyone"', 'rewards.once.survey.by = "anyone"', '"user" or "operator"'),
]  # fmt: skip


@pytest.mark.parametrize(("added", "begins", "says"), TABLE, ids=[begins for _, begins, _ in TABLE])
def test_a_fault_names_its_key_and_what_may_stand_there(added: str, begins: str, says: str) -> None:
    (fault,) = faults_of(f"{SKETCH}\n{added}\n")

    assert fault.startswith(begins)
    assert says in fault


@pytest.mark.parametrize(
    "added",
    [
        XENDIT + 'secret_key = ["hush-hush"]', XENDIT + 'secret_key = "hush-hush"',
        XENDIT + 'callback_token = { value = "hush-hush" }', XENDIT + f'secret_key = "{"hush-hush" * 200}"',
        STRIPE.replace('"sk"', '"hush-hush"'), STRIPE + 'webhook_secret = ["hush-hush"]',
    ],
)  # fmt: skip
def test_no_fault_says_a_secret(added: str) -> None:
    faults = faults_of(f"{SKETCH}\n{added}\n")

    assert faults
    assert "hush" not in "".join(faults)


def test_nothing_is_sold_where_nothing_is_said() -> None:
    config = parse(SKETCH, "config.toml", ENVIRONMENT)

    assert (config.payments, config.packages, config.plans) == (Payments(), {}, {})


def test_what_is_sold_is_read() -> None:
    config = parse(f"{SKETCH}\n{XENDIT}\n{PACKAGE}\n{PLAN}", "config.toml", ENVIRONMENT)

    assert config.packages == {"small": Package("small", "small", Money(5_000_000, "IDR"), 1000)}
    assert config.plans == {"pro": Plan("pro", "pro", "paid", Money(9_900_000, "IDR"), "month", 1000)}
    assert config.payments.xendit is not None
    assert (config.payments.xendit.secret_key, config.payments.xendit.base_url) == ("", "https://api.xendit.co")


def test_a_stripe_without_a_key_is_off() -> None:
    config = parse(f'{SKETCH}\n[payments.stripe]\nsecret_key = "env:NONE"\n', "config.toml", ENVIRONMENT)

    assert config.payments.stripe is None


@pytest.mark.parametrize("added", [XENDIT + 'secret_key = "hush-hush"\ncallback_token = "hush-hush"',
                                   STRIPE + 'webhook_secret = "hush-hush"\nreturn_url = "https://h/x"'])  # fmt: skip
def test_secrets_are_in_no_repr(added: str) -> None:
    config = parse(f"{SKETCH}\n{added}\n", "config.toml", ENVIRONMENT)

    assert "hush" not in repr(config.payments)
