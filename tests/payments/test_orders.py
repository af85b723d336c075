"""Orders: stored before they are sent, one for each request, sold as the config says."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.money import parse_money
from gateway.ledger.sales import orders as table
from gateway.payments.orders import MOST_OPEN
from gateway.payments.provider import ProviderRefused, ProviderUnavailable
from tests.payments.shop import Shop


def count(shop: Shop) -> int:
    with shop.system.ledger.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_an_order_says_how_to_pay_it(any_shop: Shop) -> None:
    order = any_shop.order("small")

    assert (order.state, order.units, order.bonus, order.price) == ("pending", 5000, 500, parse_money("50000 IDR"))
    assert order.instruction.qr_string == f"QR {order.id}"
    assert any_shop.find(order.id) == order
    assert any_shop.states(order.id) == ["created", "pending"]


def test_a_repeat_of_a_request_is_the_same_order_and_another_wish_is_refused(any_shop: Shop) -> None:
    order = any_shop.order()

    assert any_shop.order() == order
    with pytest.raises(Conflicting, match=order.id):
        any_shop.order("small")
    assert count(any_shop) == 1
    assert any_shop.till.asked == ["create"]


def test_any_number_of_units_has_its_price_rounded_up_to_what_can_be_paid(shop: Shop) -> None:
    order = shop.order(package=None, units=101)  # type: ignore[arg-type]

    assert order.price == parse_money("1616 IDR")
    assert shop.order(package=None, units=333, write_id="w2").price == parse_money("5328 IDR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({"package": "huge"}, "'huge': there is none; there are plain, small"),
        ({"package": None, "units": 99}, "amount = 99: must be from 100 to 1000000"),
        ({"package": None, "units": None}, "either a package or an amount"),
        ({"package": "small", "units": 5}, "either a package or an amount"),
    ],
)
def test_what_is_not_sold_is_refused_and_nothing_is_stored(shop: Shop, wanted: dict[str, object], fault: str) -> None:
    with pytest.raises(RefusedInput, match=fault):
        shop.order(**wanted)  # type: ignore[arg-type]
    assert (count(shop), shop.till.asked) == (0, [])


def test_an_order_that_the_provider_refuses_has_failed(shop: Shop) -> None:
    shop.till.faults["create"] = ProviderRefused("QRIS is not active")

    with pytest.raises(ProviderRefused):
        shop.order()

    order = shop.order()
    assert (order.state, order.note) == ("failed", "QRIS is not active")


@pytest.mark.parametrize("fault", ["create", "lost create"])
def test_an_order_whose_answer_is_lost_is_kept_and_its_repeat_goes_on_with_it(shop: Shop, fault: str) -> None:
    shop.till.faults[fault] = ProviderUnavailable("timeout")
    with pytest.raises(ProviderUnavailable):
        shop.order()

    order = shop.order()

    assert (count(shop), order.state) == (1, "pending")
    assert order.instruction.qr_string


def test_an_account_has_no_end_of_orders_to_pay(any_shop: Shop) -> None:
    made = [any_shop.order(write_id=f"w{number}") for number in range(MOST_OPEN)]

    with pytest.raises(Conflicting, match=f"{MOST_OPEN} payments to make"):
        any_shop.order(write_id="another")

    assert count(any_shop) == MOST_OPEN
    assert any_shop.order(write_id="w0") == made[0]  # A repeat asks for nothing more.
    any_shop.order(account="bob", write_id="bob's")
    any_shop.till.pay(made[0].id)
    any_shop.take(made[0].id)
    any_shop.order(write_id="another")


def test_an_order_that_is_heard_of_before_it_can_be_paid_is_sent_again(shop: Shop) -> None:
    shop.till.faults["lost create"] = ProviderUnavailable("timeout")
    with pytest.raises(ProviderUnavailable):
        shop.order()
    (unanswered,) = shop.till.found
    assert shop.take(unanswered).state == "pending"  # It is open, says the provider; and not how it is paid.

    order = shop.order()

    assert (order.id, order.state) == (unanswered, "pending")
    assert order.instruction.qr_string
    assert shop.order() == order
    assert shop.till.asked.count("create") == 2
