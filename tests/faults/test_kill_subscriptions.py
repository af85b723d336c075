"""kill -9 between each two steps of a subscription: of a process that is told of its payment, and of one that begins a
period which was paid ahead. Whoever comes next ends it: one period, one allowance, the tier until its end."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from gateway.domain.order import Order
from gateway.ledger.sales import credits_due
from tests.faults.killing import kill
from tests.payments.club import Club
from tests.support.servers import RedisServer

#: Where a process that takes the first payment dies, in the order of its steps.
PAID = [
    "after 1 gateway.payments.books:locked",
    "after 1 gateway.payments.books:move",
    "after 1 gateway.subscriptions.rows:move",
    "after 1 gateway.accounts.payouts:owe",
    "before 1 gateway.payments.crediting:finish",
    "before 1 gateway.accounts.balances:grant",
    "after 1 gateway.accounts.balances:grant",
    "before 1 gateway.subscriptions.applying:_move",
    "after 1 gateway.subscriptions.applying:_move",
    "after 1 gateway.payments.fulfilment:complete",
    "after 2 gateway.payments.books:move",
]
#: The same of a worker that begins the second period.
BEGUN = [
    "after 1 gateway.subscriptions.rows:move",
    "after 1 gateway.accounts.payouts:owe",
    "before 1 gateway.subscriptions.applying:apply",
    "before 1 gateway.accounts.balances:grant",
    "after 1 gateway.accounts.balances:grant",
    "after 1 gateway.subscriptions.applying:_move",
    "before 1 gateway.subscriptions.rows:look_again",
]


@pytest.fixture
def club(real_redis: RedisServer, ledger: Engine) -> Club:
    return Club(real_redis.client, ledger)


def given(club: Club) -> list[tuple[str, int, bool]]:
    """Each period's grant, its units, and whether Redis has it."""
    query = select(credits_due).order_by(credits_due.c.id)
    with club.system.ledger.connect() as connection:
        return [(row.id, row.amount, row.granted_at is not None) for row in connection.execute(query)]


@pytest.mark.parametrize("at", PAID)
def test_who_is_killed_while_a_subscription_is_paid_leaves_what_others_end(
    club: Club, real_redis: RedisServer, ledger_url: str, at: str
) -> None:
    it, order = club.subscribe()
    club.till.pay(order.id)
    kill(real_redis, ledger_url, order, "poll", at, club.now)

    club.work()
    ended = club.take(order)

    assert ended.state == "credited"
    assert club.steps() == ["subscribed", "began"]
    assert given(club) == [(f"subscription:{it.id}:1", 1000, True)]
    assert club.has() == ("plus", 1000)
    assert club.account().tier_ends_ms == _ms(club, "2027-03-05 00:00")


@pytest.fixture
def paid_ahead(club: Club) -> Order:
    """Of the second period, which has begun just now."""
    club.join()
    club.at("2027-02-25 12:00")
    order = club.pay()
    assert order.state == "credited"
    club.at("2027-02-28 00:00")
    return order


@pytest.mark.parametrize("at", BEGUN)
def test_who_is_killed_while_a_period_begins_leaves_what_others_end(
    club: Club, paid_ahead: Order, real_redis: RedisServer, ledger_url: str, at: str
) -> None:
    kill(real_redis, ledger_url, paid_ahead, "clock", at, club.now)

    club.work()

    it = club.row()
    assert (it.state, it.period) == ("active", 2)
    assert given(club) == [(f"subscription:{it.id}:1", 1000, True), (f"subscription:{it.id}:2", 1000, True)]
    assert club.has() == ("plus", 1000)
    assert club.account().tier_ends_ms == _ms(club, "2027-04-05 00:00")


def _ms(club: Club, local: str) -> int:
    return int(club.instant(local).timestamp() * 1000)
