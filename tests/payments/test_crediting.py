"""Crediting: what the provider says of an order is believed once, in whatever order it comes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from gateway.accounts import payouts
from gateway.config import parse
from gateway.domain.errors import StoreUnavailable
from gateway.domain.money import parse_money
from gateway.ledger.sales import credits_due, payment_differences, payments
from gateway.payments import fulfilment
from gateway.rewards import referrals
from tests.payments.shop import SOLD, Shop
from tests.support.config import config_text


def test_a_paid_order_gives_what_was_bought_and_the_bonus(any_shop: Shop) -> None:
    order = any_shop.order("small")
    any_shop.till.pay(order.id)

    credited = any_shop.take(order.id)

    assert credited.state == "credited"
    assert any_shop.states(order.id) == ["created", "pending", "paid", "credited"]
    with any_shop.system.ledger.connect() as connection:
        due = connection.execute(select(credits_due).order_by(credits_due.c.id)).mappings().all()
    assert [(row["id"], row["kind"], row["amount"], row["priority"]) for row in due] == [
        (f"order:{order.id}", "TOP_UP", 5000, 100),
        (f"order:{order.id}:bonus", "REWARD", 500, 101),
    ]
    assert credited.paid_at is not None
    assert all(row["expires_at"] - credited.paid_at <= timedelta(days=30) for row in due)
    assert any_shop.left() == 15 + 5500  # The sign-up grant comes with the account.


def test_whoever_says_it_however_often_an_order_is_credited_once(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)

    for cause in ("webhook payment.capture", "poll", "webhook payment.capture", "admin:root"):
        assert any_shop.take(order.id, cause).state == "credited"

    assert any_shop.left() == 15 + 1000
    assert any_shop.states(order.id).count("credited") == 1


@pytest.mark.parametrize("before", ["expired", "failed", "canceled"])
def test_money_that_comes_late_is_credited_all_the_same(shop: Shop, before: str) -> None:
    order = shop.order()
    shop.till.say(order.id, state=before)
    assert shop.take(order.id).state == before

    shop.till.pay(order.id)

    assert shop.take(order.id).state == "credited"
    assert shop.left() == 15 + 1000


@pytest.mark.parametrize("paid", ["9999 IDR", "10001 IDR", "10000 USD"])
def test_another_amount_or_currency_is_reviewed_and_nothing_is_credited(shop: Shop, paid: str) -> None:
    order = shop.order()
    shop.till.pay(order.id, parse_money(paid))

    reviewed = shop.take(order.id)

    assert reviewed.state == "review"
    assert paid in reviewed.note
    assert shop.take(order.id).state == "review"
    with shop.system.ledger.connect() as connection:
        assert connection.execute(select(credits_due)).all() == []
        (payment,) = connection.execute(select(payments)).all()
    assert not payment.counted


def test_a_second_payment_of_an_order_is_a_difference_for_people_to_look_at(shop: Shop) -> None:
    order = shop.order()
    shop.till.pay(order.id)
    shop.take(order.id)

    shop.till.pay(order.id, payment="py-second")
    shop.take(order.id)
    shop.take(order.id)

    assert shop.left() == 15 + 1000
    with shop.system.ledger.connect() as connection:
        counted = {row.id: row.counted for row in connection.execute(select(payments))}
        (difference,) = connection.execute(select(payment_differences)).all()
    assert counted == {f"py-{order.id}": True, "py-second": False}
    assert (difference.kind, difference.order, difference.payment) == ("paid_twice", order.id, "py-second")


def test_an_order_that_was_paid_while_redis_was_away_is_credited_when_it_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    order = shop.order()
    shop.till.pay(order.id)
    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "complete", away)
        assert shop.take(order.id).state == "paid"

    assert payouts.pay_due(shop.system) == 1  # As the worker does, whatever the cause.
    assert shop.take(order.id).state == "credited"
    assert shop.left() == 15 + 1000


def test_the_first_order_of_an_account_that_was_brought_rewards_both_at_once(shop: Shop) -> None:
    rules = "[rewards.referral]\nreferrer = 20\nreferred = 10\n"
    shop.system = replace(shop.system, config=parse(config_text() + SOLD + rules, "config.toml", {}))
    order = shop.order()
    referrals.refer(shop.system, order.account, referrals.overview(shop.system, "eve").code)
    shop.till.pay(order.id)

    shop.take(order.id)

    assert shop.left() == 15 + 1000 + 10
    assert referrals.overview(shop.system, "eve").rewarded == 1


def test_an_amount_that_cannot_be_read_is_not_taken_for_the_price(shop: Shop) -> None:
    order = shop.order()
    shop.till.say(order.id, state="paid", payment_id="py-1", money=None)

    assert shop.take(order.id).state == "review"
    with shop.system.ledger.connect() as connection:
        (payment,) = connection.execute(select(payments)).all()
    assert (payment.amount, payment.currency) == (0, "IDR")
