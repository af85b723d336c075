"""kill -9 between each two steps of crediting, of a process of its own, on a real Redis and each kind of database: what
the poller finds afterwards it ends, and an order is credited once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.accounts import balances, payouts
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.errors import NotFound
from gateway.domain.order import Order
from gateway.ledger.sales import credits_due, order_steps, payment_differences, payments, webhook_events
from gateway.payments import polling
from tests.faults.killing import kill
from tests.payments.shop import SOLD, Shop
from tests.support.config import config_text
from tests.support.sandbox import Clock
from tests.support.servers import RedisServer

#: Where a process that takes a payment dies, in the order of its steps: after each of them, and before the next.
STEPS = [
    "after 1 gateway.payments.books:locked",
    "after 1 gateway.payments.crediting:_note_payment",
    "after 1 gateway.payments.books:move",
    "after 1 gateway.accounts.payouts:owe",
    "before 1 gateway.payments.crediting:finish",
    "before 1 gateway.accounts.balances:grant",
    "after 1 gateway.accounts.balances:grant",
    "before 2 gateway.accounts.balances:grant",
    "after 2 gateway.accounts.balances:grant",
    "after 1 gateway.payments.fulfilment:complete",
    "after 2 gateway.payments.books:move",
    "before 1 gateway.payments.fulfilment:credited",
]
#: The same of one that hears a webhook.
HEARD = [
    "after 1 gateway.payments.events:heard",
    "after 1 gateway.payments.crediting:ask",
    "before 1 gateway.payments.events:end",
]


@pytest.fixture
def shop(real_redis: RedisServer, ledger: Engine) -> Shop:
    clock = Clock(datetime.now(UTC))
    system = System(parse(config_text() + SOLD, "config.toml", {}), real_redis.client, ledger, clock)
    ensure_epoch(system, "a test")
    return Shop(system, clock)


@pytest.fixture
def order(shop: Shop) -> Order:
    order = shop.order("small")  # 5000 units, and 500 on top.
    shop.till.pay(order.id, payment=f"py-{order.id}")
    return order


def assert_credited_once(shop: Shop, order: Order) -> None:
    assert shop.find(order.id).state == "credited"
    assert shop.left() == 15 + 5500
    assert shop.states(order.id) == ["created", "pending", "paid", "credited"]
    assert [(row.id, row.counted) for row in shop.rows(payments)] == [(f"py-{order.id}", True)]
    assert sorted((row.id, row.amount, row.granted_at is not None) for row in shop.rows(credits_due)) == [
        (f"order:{order.id}", 5000, True),
        (f"order:{order.id}:bonus", 500, True),
    ]
    assert shop.rows(payment_differences) == []
    assert len(shop.rows(order_steps)) == 4


@pytest.mark.parametrize("at", STEPS)
def test_a_process_that_is_killed_while_it_credits_leaves_what_the_poller_ends(
    shop: Shop, order: Order, real_redis: RedisServer, ledger_url: str, at: str
) -> None:
    kill(real_redis, ledger_url, order, "poll", at)
    before = shop.find(order.id).state, left(shop)

    shop.clock.forward(minutes=1)
    shop.poll()

    assert before[0] in ("pending", "paid", "credited")
    assert before[0] != "credited" or before[1] == 15 + 5500, "an order is credited when the account has it"
    assert_credited_once(shop, order)
    shop.clock.forward(days=9)
    assert (shop.poll(), payouts.pay_due(shop.system)) == (0, 0)


@pytest.mark.parametrize("at", HEARD)
@pytest.mark.parametrize("again", ["by another webhook", "by the poller"])
def test_a_process_that_is_killed_while_it_hears_a_webhook_leaves_what_others_end(
    shop: Shop, order: Order, real_redis: RedisServer, ledger_url: str, at: str, again: str
) -> None:
    kill(real_redis, ledger_url, order, "webhook", at)
    assert [row.outcome for row in shop.rows(webhook_events)] == ["waiting"]

    if again == "by the poller":
        shop.clock.forward(minutes=1)
        shop.poll()
    else:
        assert shop.hear("payment.capture", order, f"py-{order.id}") == "applied"

    assert_credited_once(shop, order)


def test_whoever_comes_next_ends_it_too(shop: Shop, order: Order, real_redis: RedisServer, ledger_url: str) -> None:
    """Not the poller alone: somebody who looks at the order, or the worker that pays what is owed."""
    kill(real_redis, ledger_url, order, "poll", "before 1 gateway.accounts.balances:grant")

    assert payouts.pay_due(shop.system) == 2
    assert polling.live(shop.system, shop.till, shop.find(order.id)).state == "credited"

    assert_credited_once(shop, order)


def left(shop: Shop) -> Any:
    try:
        return balances.read(shop.system, "ada").account.left
    except NotFound:
        return 0
