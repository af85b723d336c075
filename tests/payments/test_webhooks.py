"""Webhooks: proved, written down once, and never believed beyond what the provider says when it is asked."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from gateway.domain.order import Found, Order
from gateway.ledger.sales import orders, payment_differences, webhook_events
from gateway.payments import events, refunds, webhooks
from gateway.payments.provider import ProviderUnavailable, ProviderUnclear, WebhookRefused
from tests.payments.shop import Shop

CAPTURED = "payment.capture"


def test_a_webhook_credits_what_the_provider_says_is_paid(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)

    assert any_shop.hear(CAPTURED, order, f"py-{order.id}") == "applied"

    assert any_shop.states(order.id) == ["created", "pending", "paid", "credited"]
    (event,) = any_shop.rows(webhook_events)
    assert (event.event, event.reference_id, event.times, event.outcome) == (CAPTURED, order.id, 1, "applied")


def test_a_webhook_that_says_paid_is_not_believed_where_the_provider_says_open(shop: Shop) -> None:
    order = shop.order()

    assert shop.hear(CAPTURED, order, "py-forged") == "applied"

    assert shop.find(order.id).state == "pending"
    (row,) = shop.rows(orders)
    assert row.next_poll_at == shop.clock.now + timedelta(seconds=15)  # The answer may be behind its webhook.


def test_a_webhook_that_comes_again_is_counted_and_the_provider_is_not_asked(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)
    any_shop.hear(CAPTURED, order, "py-1")
    asked = list(any_shop.till.asked)

    assert [any_shop.hear(CAPTURED, order, "py-1") for _ in range(3)] == ["repeated"] * 3

    assert any_shop.till.asked == asked
    (event,) = any_shop.rows(webhook_events)
    assert event.times == 4
    assert any_shop.left() == 15 + 1000


def test_webhooks_in_the_wrong_order_end_as_those_in_the_right_one(shop: Shop) -> None:
    order = shop.order()
    shop.till.pay(order.id)

    for event in ("refund.nothing", "payment_request.expiry", CAPTURED, "payment.failure"):
        shop.hear(event, order, "py-1")

    assert shop.find(order.id).state == "credited"
    assert shop.left() == 15 + 1000


def test_while_the_provider_is_away_a_webhook_waits_and_the_poller_asks(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)
    any_shop.till.faults["fetch"] = ProviderUnavailable("timeout")

    assert any_shop.hear(CAPTURED, order, "py-1") == "waiting"
    assert any_shop.rows(webhook_events)[0].outcome == "waiting"
    assert any_shop.poll() == 1

    assert any_shop.find(order.id).state == "credited"
    (event,) = any_shop.rows(webhook_events)
    assert (event.outcome, event.note) == ("applied", "asked for later")


def test_a_webhook_whose_first_handling_died_is_handled_when_it_comes_again(shop: Shop) -> None:
    order = shop.order()
    shop.till.pay(order.id)
    shop.till.faults["fetch"] = MemoryError()
    with pytest.raises(MemoryError):
        shop.hear(CAPTURED, order, "py-1")

    assert shop.hear(CAPTURED, order, "py-1") == "applied"
    assert shop.find(order.id).state == "credited"


def test_money_for_a_request_whose_answer_was_lost_is_found_by_the_id_of_its_webhook(shop: Shop) -> None:
    """The order was sent twice, and the payer paid the first."""
    order = shop.order()
    shop.till.others["pr-lost"] = shop.till.pay(order.id)
    shop.till.say(order.id, state="open", payment_id="")
    shop.till.faults["fetch"] = ProviderUnavailable("timeout")
    assert shop.hear(CAPTURED, order, provider_id="pr-lost") == "waiting"

    shop.poll()

    assert shop.find(order.id).state == "credited"


@pytest.mark.parametrize(
    ("ids", "note"),
    [
        ({"reference": ""}, "it names no order"),
        ({"reference": "ord_unknown"}, "there is no such order"),
        ({"refund": "rfd_unknown"}, "there is no such refund"),
    ],
)
def test_what_names_nothing_of_ours_is_kept_and_ignored(any_shop: Shop, ids: dict[str, str], note: str) -> None:
    order = any_shop.order()

    assert any_shop.hear("customer.created", order, **ids) == "ignored"

    (event,) = any_shop.rows(webhook_events)
    assert (event.outcome, event.note) == ("ignored", note)
    assert any_shop.till.asked == ["create"]


def test_an_answer_of_another_order_is_not_taken(shop: Shop) -> None:
    order = shop.order()
    shop.till.pay(order.id)
    shop.till.say(order.id, reference_id="ord_another")

    assert shop.hear(CAPTURED, order) == "ignored"
    assert shop.find(order.id).state == "pending"


@pytest.mark.parametrize("token", ["", "wrong", "righ", "right "])
def test_without_the_right_token_nothing_at_all_happens(any_shop: Shop, token: str) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)

    with pytest.raises(WebhookRefused):
        any_shop.hear(CAPTURED, order, "py-1", token=token)

    assert any_shop.rows(webhook_events) == []
    assert any_shop.states(order.id) == ["created", "pending"]
    assert any_shop.till.asked == ["create"]


def test_words_that_no_database_takes_are_kept_as_far_as_they_can_be(any_shop: Shop) -> None:
    order = any_shop.order()

    assert any_shop.hear("e" * 300, order, "py\0\ud800", reference="r" * 300) == "ignored"

    (event,) = any_shop.rows(webhook_events)
    assert (event.event, event.reference_id, event.payment_id) == ("e" * 64, "r" * 120, "py\ufffd?")


def test_a_webhook_of_a_provider_that_is_not_set_up_is_refused(shop: Shop) -> None:
    with pytest.raises(ProviderUnavailable):
        webhooks.receive(shop.system, shop.till, "stripe", {"x-token": "right"}, b"e")
    assert shop.rows(webhook_events) == []


def test_webhooks_are_forgotten_after_ninety_days(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.hear("first", order)
    any_shop.clock.forward(days=89)
    any_shop.hear("second", order)

    assert events.forget(any_shop.system.ledger, any_shop.clock.now + timedelta(days=2)) == 1
    assert [row.event for row in any_shop.rows(webhook_events)] == ["second"]
    assert any_shop.rows(payment_differences) == []


def test_a_webhook_that_names_what_is_not_the_orders_keeps_nobody_from_asking_about_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = shop.till.fetch

    def strict(order: Order, provider_id: str = "") -> Found | None:
        if provider_id == "pr-another":
            raise ProviderUnclear("pr-another is not of it")
        return fetch(order, provider_id)

    monkeypatch.setattr(shop.till, "fetch", strict)
    order = shop.order()
    assert shop.hear(CAPTURED, order, "py-1", provider_id="pr-another") == "waiting"

    shop.clock.forward(days=9)
    shop.poll()

    assert shop.find(order.id).state == "expired"
    assert [row.outcome for row in shop.rows(webhook_events)] == ["applied"]


@pytest.mark.parametrize("state", ["expired", "canceled", "failed"])
def test_late_money_that_the_provider_is_slow_to_show_is_asked_for_soon(shop: Shop, state: str) -> None:
    order = shop.order()
    shop.till.say(order.id, state=state)
    shop.take(order.id)
    shop.clock.forward(days=30)
    shop.poll()
    assert shop.rows(orders)[0].next_poll_at is None

    assert shop.hear(CAPTURED, order, "py-late") == "applied"
    shop.till.pay(order.id)
    shop.clock.forward(seconds=15)
    shop.poll()

    assert shop.find(order.id).state == "credited"


def test_a_refund_is_heard_of_by_its_own_provider_alone(shop: Shop) -> None:
    order = shop.bought()
    shop.till.faults["refund"] = ProviderUnavailable("timeout")
    made = refunds.refund(shop.system, shop.till, shop.by(), order, None)
    with shop.system.ledger.begin() as connection:
        connection.execute(update(orders).values(provider="stripe"))

    assert shop.hear("refund.succeeded", order, refund=made.id) == "ignored"

    assert refunds.find(shop.system, made.id).state == "created"
