"""The poller: asks in time, asks once, and ends every order one way or another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.errors import Conflicting, StoreUnavailable
from gateway.domain.money import parse_money
from gateway.domain.order import Order
from gateway.ledger.sales import orders
from gateway.payments import fulfilment, polling
from gateway.payments.provider import ProviderRefused, ProviderUnavailable, ProviderUnclear
from tests.payments.shop import Shop

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ORDER = Order(
    "ord_1", "ada", "topup", "", 1, 0, 0, parse_money("1 IDR"), "xendit", "qris", "", "pending", NOON, NOON,
    expires_at=NOON + timedelta(hours=24),
)  # fmt: skip
END = ORDER.expires_at or NOON


@pytest.mark.parametrize(
    ("state", "polls", "at", "pause"),
    [
        ("pending", 1, NOON, timedelta(seconds=30)),
        ("pending", 2, NOON, timedelta(seconds=60)),
        ("pending", 5, NOON, timedelta(seconds=480)),
        ("pending", 6, NOON, timedelta(minutes=10)),
        ("pending", 10**9, NOON, timedelta(minutes=10)),
        ("pending", 9, END - timedelta(minutes=4), timedelta(minutes=4)),
        ("pending", 9, END - timedelta(seconds=4), timedelta(seconds=15)),
        ("pending", 9, END, timedelta(hours=1)),
        ("expired", 9, END + timedelta(hours=1), timedelta(hours=5)),
        ("canceled", 9, NOON, timedelta(hours=25)),
        ("failed", 9, END + timedelta(hours=6), timedelta(hours=18)),
        ("expired", 9, END + timedelta(hours=24), timedelta(hours=48)),
        ("expired", 9, END + timedelta(hours=72), timedelta(hours=96)),
        ("expired", 9, END + timedelta(days=7), None),
        ("credited", 9, END + timedelta(days=8), None),
        ("paid", 3, END + timedelta(days=8), timedelta(minutes=2)),
    ],
)
def test_how_long_after_a_question_the_next_one_comes(
    state: str, polls: int, at: datetime, pause: timedelta | None
) -> None:
    found = polling.next_poll(replace(ORDER, state=state), polls, at, timedelta(seconds=15))

    assert found == (None if pause is None else at + pause)


def test_what_is_paid_is_credited_without_any_webhook(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)

    assert any_shop.poll() == 0  # Not yet.
    any_shop.clock.forward(seconds=15)
    assert any_shop.poll() == 1

    assert any_shop.find(order.id).state == "credited"
    any_shop.clock.forward(days=30)
    assert any_shop.poll() == 0


def test_an_order_that_is_never_paid_is_asked_about_less_and_less_and_then_no_more(shop: Shop) -> None:
    order = shop.order()
    asked = []
    begin = shop.clock.now
    while (row := shop.rows(orders)[0]).next_poll_at is not None:
        shop.clock.now = row.next_poll_at
        if shop.clock.now >= begin + timedelta(hours=24) and shop.find(order.id).state == "pending":
            shop.till.say(order.id, state="expired")
        assert shop.poll() == 1
        asked.append(shop.clock.now - begin)

    assert [pause.total_seconds() for pause in asked[:6]] == [15, 45, 105, 225, 465, 945]
    assert asked[-6:] == [timedelta(hours=24 + late) for late in (0, 1, 6, 24, 72, 168)]
    assert len(asked) < 160
    assert shop.states(order.id) == ["created", "pending", "expired"]


def test_money_that_comes_days_after_the_end_is_credited(shop: Shop) -> None:
    order = shop.order()
    shop.till.say(order.id, state="expired")
    shop.clock.forward(hours=24)
    shop.poll()
    shop.till.pay(order.id)

    shop.clock.forward(hours=72)
    shop.poll()

    assert shop.states(order.id) == ["created", "pending", "expired", "paid", "credited"]


def test_an_order_that_the_provider_never_had_is_expired_by_us(any_shop: Shop) -> None:
    any_shop.till.faults["create"] = ProviderUnavailable("timeout")
    with pytest.raises(ProviderUnavailable):
        any_shop.order()
    (row,) = any_shop.rows(orders)

    any_shop.clock.forward(seconds=15)
    any_shop.poll()
    assert any_shop.find(row.id).state == "created"
    any_shop.clock.forward(hours=24)
    any_shop.poll()

    assert any_shop.states(row.id) == ["created", "expired"]


def test_an_order_that_the_provider_keeps_open_ends_after_the_last_question(shop: Shop) -> None:
    order = shop.order()

    shop.clock.forward(days=8, hours=1)
    shop.poll()

    assert shop.states(order.id) == ["created", "pending", "expired"]


def test_one_order_that_cannot_be_asked_about_holds_up_no_other(shop: Shop) -> None:
    first, second = shop.order(), shop.order(write_id="w2")
    shop.till.pay(second.id)
    shop.till.faults["fetch"] = ProviderRefused("no")
    shop.clock.forward(seconds=15)

    assert shop.poll() == 2

    assert (shop.find(first.id).state, shop.find(second.id).state) == ("pending", "credited")


def test_a_provider_that_does_not_answer_is_left_alone_until_the_next_round(shop: Shop) -> None:
    for number in range(3):
        shop.till.pay(shop.order(write_id=f"w{number}").id)
    shop.till.asked.clear()
    shop.till.faults["fetch"] = ProviderUnavailable("timeout")
    shop.clock.forward(seconds=15)

    assert (shop.poll(), shop.till.asked) == (1, ["fetch"])
    assert shop.poll() == 2
    shop.clock.forward(seconds=30)
    assert shop.poll() == 1
    assert shop.left() == 15 + 3000


def test_an_order_that_is_paid_is_finished_though_its_provider_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    order = shop.order()
    shop.till.pay(order.id)
    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "complete", away)
        assert shop.take(order.id).state == "paid"
    monkeypatch.setattr(shop.till, "name", "another")

    shop.poll()

    assert shop.find(order.id).state == "credited"


def test_two_pollers_do_not_ask_about_one_order_twice(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    any_shop.order()
    any_shop.clock.forward(seconds=15)
    claim = polling._claim

    def quicker(system: object, away: set[str]) -> Order | None:
        monkeypatch.setattr(polling, "_claim", claim)
        assert any_shop.poll() == 1  # The other one, in the moment in which this one looks.
        return claim(any_shop.system, away)

    monkeypatch.setattr(polling, "_claim", quicker)
    assert any_shop.poll() == 0
    assert any_shop.till.asked == ["create", "fetch"]


def test_the_last_question_is_asked_again_until_there_is_an_answer(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)
    any_shop.clock.forward(days=9)  # The worker stood still, and then the provider is away.
    any_shop.till.faults["fetch"] = ProviderUnavailable("timeout")
    assert any_shop.poll() == 1
    assert any_shop.find(order.id).state == "pending"

    any_shop.clock.forward(hours=1)
    any_shop.poll()

    assert any_shop.find(order.id).state == "credited"
    assert any_shop.rows(orders)[0].next_poll_at is None


def test_an_order_that_was_paid_at_the_last_question_is_finished_when_redis_is_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    order = shop.order()
    shop.till.pay(order.id)
    shop.clock.forward(days=9)
    with monkeypatch.context() as patch:
        patch.setattr(fulfilment, "complete", away)
        shop.poll()
    assert shop.find(order.id).state == "paid"

    shop.clock.forward(minutes=10)
    shop.poll()

    assert shop.find(order.id).state == "credited"


def test_an_order_that_is_said_to_last_for_ever_keeps_nobody_from_asking(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = shop.till.create
    for_ever = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(shop.till, "create", lambda order, **more: replace(create(order), expires_at=for_ever))
    order = shop.order()
    polling.cancel(shop.system, shop.till, order, "user")

    shop.clock.forward(days=39)

    assert shop.poll() == 1
    assert shop.rows(orders)[0].next_poll_at is None


def test_an_order_whose_answer_cannot_be_read_holds_up_no_other(shop: Shop) -> None:
    first, second = shop.order(), shop.order(write_id="w2")
    shop.till.pay(second.id)
    shop.till.faults["fetch"] = ProviderUnclear("an order is 'PARTLY'")
    shop.clock.forward(seconds=15)

    assert shop.poll() == 2

    assert (shop.find(first.id).state, shop.find(second.id).state) == ("pending", "credited")


# ── whoever looks ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_looks_at_an_order_sees_what_the_provider_says_now(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)

    assert polling.live(any_shop.system, any_shop.till, order).state == "credited"


def test_who_looks_again_at_once_has_nobody_asked(any_shop: Shop) -> None:
    order = any_shop.order()
    for _ in range(5):
        assert polling.live(any_shop.system, any_shop.till, order).state == "pending"
    assert any_shop.till.asked == ["create", "fetch"]

    any_shop.clock.forward(seconds=3)
    polling.live(any_shop.system, any_shop.till, order)
    assert any_shop.till.asked == ["create", "fetch", "fetch"]


@pytest.mark.parametrize("fault", [ProviderUnavailable("timeout"), ProviderRefused("no")])
def test_who_looks_while_the_provider_is_away_sees_what_is_known(shop: Shop, fault: Exception) -> None:
    order = shop.order()
    shop.till.faults["fetch"] = fault

    assert polling.live(shop.system, shop.till, order) == order


# ── whoever cancels ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_canceled_at_the_provider(any_shop: Shop) -> None:
    order = any_shop.order()

    assert polling.cancel(any_shop.system, any_shop.till, order, "user").state == "canceled"
    again = polling.cancel(any_shop.system, any_shop.till, any_shop.find(order.id), "user")

    assert again.state == "canceled"
    assert any_shop.till.asked == ["create", "cancel"]


def test_an_order_that_was_paid_in_time_is_credited_and_not_canceled(shop: Shop) -> None:
    order = shop.order()
    shop.till.pay(order.id)

    assert polling.cancel(shop.system, shop.till, order, "user").state == "credited"
    with pytest.raises(Conflicting, match="is credited, and cannot be canceled"):
        polling.cancel(shop.system, shop.till, shop.find(order.id), "user")


def test_an_order_that_the_provider_never_had_is_canceled_by_us(shop: Shop) -> None:
    shop.till.faults["create"] = ProviderUnavailable("timeout")
    with pytest.raises(ProviderUnavailable):
        shop.order()
    order = shop.find(shop.rows(orders)[0].id)

    assert polling.cancel(shop.system, shop.till, order, "user").state == "canceled"


def test_an_operator_has_the_provider_asked_whatever_the_order_is(shop: Shop) -> None:
    order = shop.order()
    shop.till.say(order.id, state="expired")
    shop.take(order.id)
    shop.till.pay(order.id)

    assert polling.check(shop.system, shop.till, shop.by(), shop.find(order.id)).state == "credited"
    assert shop.states(order.id) == ["created", "pending", "expired", "paid", "credited"]
