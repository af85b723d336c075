"""The Xendit of the gateway, unchanged, against the sandbox: only address and keys are other ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.config.payments import Payments
from gateway.domain.money import Money
from gateway.domain.order import CREATED, LINK, QRIS, TOPUP, VA, Found, Order
from gateway.launch import places
from gateway.payments import providers
from gateway.payments.provider import ProviderRefused, ProviderUnavailable, RefundWanted, WebhookRefused
from gateway.payments.providers import Providers
from gateway.payments.xendit import Xendit
from tests.support.sandbox import Clock, Sandbox

METHODS = [(QRIS, ""), (VA, "BCA"), (VA, "MANDIRI"), (LINK, "")]


@pytest.fixture
def xendit(sandbox: Sandbox) -> Iterator[Xendit]:
    provider = Xendit(sandbox.settings(), transport=sandbox.transport)
    yield provider
    provider.close()


@pytest.fixture(params=METHODS, ids=" ".join)
def order(request: pytest.FixtureRequest, clock: Clock) -> Order:
    method, channel = request.param
    return order_by(method, channel, clock.now)


def order_by(method: str, channel: str, now: datetime, **change: Any) -> Order:
    order = Order(
        "ord_1", "alice", TOPUP, "small", 1000, 0, 0, Money(1_000_000, "IDR"), "xendit", method, channel, CREATED,
        now, now, expires_at=now + timedelta(hours=24),
    )  # fmt: skip
    return replace(order, **change)


def created(xendit: Xendit, order: Order) -> Order:
    return replace(order, provider_id=xendit.create(order).provider_id)


def found(xendit: Xendit, order: Order) -> Found:
    answer = xendit.fetch(order)
    assert answer is not None
    return answer


def test_an_order_is_open_until_it_is_paid(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    before = found(xendit, order)
    payment = sandbox.pay(order.id)
    after = found(xendit, order)

    assert (before.state, before.payment_id) == ("open", "")
    assert (after.state, after.payment_id, after.money) == ("paid", payment["payment_id"], order.price)
    assert after.paid_at == sandbox.bank.now()


def test_it_is_told_how_to_pay(xendit: Xendit, order: Order) -> None:
    answer = xendit.create(order)

    said = answer.instruction
    assert [bool(said.qr_string), bool(said.va_number), bool(said.url)] == [
        order.method == QRIS, order.method == VA, order.method == LINK,
    ]  # fmt: skip
    assert answer.expires_at is not None


def test_an_order_whose_create_was_lost_is_found_once_it_is_paid(
    sandbox: Sandbox, xendit: Xendit, order: Order
) -> None:
    sandbox.fault(lost_create=1)
    with pytest.raises(ProviderUnavailable):
        xendit.create(order)
    before = xendit.fetch(order)

    sandbox.pay(order.id)

    assert before is None
    assert (found(xendit, order).state, found(xendit, order).money) == ("paid", order.price)


def test_a_provider_that_is_away_or_slow_says_nothing_of_the_order(
    sandbox: Sandbox, xendit: Xendit, order: Order
) -> None:
    for fault in ({"unavailable": 1}, {"slow_create": 60}):
        sandbox.fault(**fault)
        with pytest.raises(ProviderUnavailable):
            xendit.create(order)


def test_what_expired_or_was_canceled_is_found_as_that(
    sandbox: Sandbox, xendit: Xendit, order: Order, clock: Clock
) -> None:
    canceled, expired = created(xendit, order), created(xendit, replace(order, id="ord_2"))

    assert xendit.cancel(canceled).state == found(xendit, canceled).state == "canceled"
    clock.forward(hours=48)
    assert found(xendit, expired).state == "expired"


def test_canceling_what_is_paid_finds_it_paid(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    sandbox.pay(order.id)

    assert xendit.cancel(order).state == "paid"


def test_money_that_came_late_is_found(sandbox: Sandbox, xendit: Xendit, order: Order, clock: Clock) -> None:
    order = created(xendit, order)
    clock.forward(hours=48)
    sandbox.fault(late=True)
    sandbox.pay(order.id)

    assert (found(xendit, order).state, found(xendit, order).money) == ("paid", order.price)


@pytest.mark.parametrize("by_reference", [False, True])
@pytest.mark.parametrize(
    ("fault", "money"), [("wrong_amount", Money(1_000_100, "IDR")), ("wrong_currency", Money(1_000_000, "SGD"))]
)
def test_other_money_than_was_asked_for_is_found_as_what_it_is(
    sandbox: Sandbox, xendit: Xendit, order: Order, fault: str, money: Money, by_reference: bool
) -> None:
    placed = created(xendit, order)
    sandbox.fault(**{fault: True})
    sandbox.pay(order.id)

    assert found(xendit, order if by_reference else placed).money == money


def test_its_webhooks_are_proven_and_read(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    payment = sandbox.pay(order.id)
    told = []

    def post(headers: dict[str, str], body: bytes) -> int:
        told.append(xendit.parse_webhook(headers, body, sandbox.bank.now()))
        return 200

    sandbox.deliver(post)

    assert {(each.reference_id, each.payment_id) for each in told} == {(order.id, payment["payment_id"])}
    assert order.provider_id in {each.provider_id for each in told}


def test_webhooks_with_a_wrong_token_are_not_believed(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    created(xendit, order)
    sandbox.fault(wrong_token=True)
    sandbox.pay(order.id)

    def post(headers: dict[str, str], body: bytes) -> int:
        with pytest.raises(WebhookRefused):
            xendit.parse_webhook(headers, body, sandbox.bank.now())
        return 401

    assert set(sandbox.deliver(post)) == {401}


def wanted(sandbox: Sandbox, order: Order, minor: int) -> RefundWanted:
    (payment,) = sandbox.paid(order.id)
    return RefundWanted("ref_1", order, payment["payment_id"], Money(minor, "IDR"), "asked for")


def test_money_goes_back_once_though_the_answer_was_lost(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    sandbox.pay(order.id)
    asked = wanted(sandbox, order, 400_000)
    sandbox.fault(lost_refund=1)

    with pytest.raises(ProviderUnavailable):
        xendit.refund(asked)
    again = xendit.refund(asked)

    assert again.state == "succeeded"
    assert xendit.fetch_refund(asked, "") == xendit.fetch_refund(asked, again.provider_id) == again
    assert [each["amount"] for each in sandbox.bank.refunds.values()] == [4_000]


def test_a_refund_that_fails_is_found_as_that(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    sandbox.pay(order.id)
    sandbox.fault(failed_refund=True)

    first = xendit.refund(wanted(sandbox, order, 1_000_000))
    after = xendit.fetch_refund(wanted(sandbox, order, 1_000_000), first.provider_id)

    assert first.state == "pending"
    assert after is not None
    assert after.state == "failed"


def test_more_than_was_paid_does_not_go_back(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    order = created(xendit, order)
    sandbox.pay(order.id)

    with pytest.raises(ProviderRefused, match="MAXIMUM_REFUND_AMOUNT_REACHED"):
        xendit.refund(wanted(sandbox, order, 1_000_100))


def test_all_payments_of_a_time_are_told(sandbox: Sandbox, xendit: Xendit, clock: Clock) -> None:
    since = clock.now
    for number in range(60):  # More than a page.
        created(xendit, order_by(QRIS, "", clock.now, id=f"ord_{number}"))
        sandbox.pay(f"ord_{number}")
        clock.forward(minutes=1)

    told = list(xendit.payments(since + timedelta(minutes=1), clock.now))

    assert sorted(each.reference_id for each in told) == sorted(f"ord_{number}" for number in range(1, 60))
    assert {each.money for each in told} == {Money(1_000_000, "IDR")}


def test_a_wrong_key_is_the_operators_fault(sandbox: Sandbox, clock: Clock) -> None:
    provider = Xendit(replace(sandbox.settings(), secret_key="xnd_other"), transport=sandbox.transport)
    try:
        with pytest.raises(ProviderUnavailable, match="refuses our key"):
            provider.create(order_by(QRIS, "", clock.now))
    finally:
        provider.close()


def test_the_gateway_finds_the_sandbox_by_its_environment(sandbox: Sandbox, clock: Clock) -> None:
    unset = replace(sandbox.settings(), secret_key="", callback_token="", base_url="https://api.xendit.co")
    settings = sandbox.settings()
    told = {
        places.SANDBOX_URL: settings.base_url, places.SANDBOX_SECRET: settings.secret_key,
        places.SANDBOX_TOKEN: settings.callback_token,
    }  # fmt: skip
    found = Providers(Payments("xendit", xendit=unset), told, transport=sandbox.transport)
    try:
        found.for_new_orders().create(order_by(QRIS, "", clock.now))
    finally:
        found.close()

    assert found.is_sandbox
    assert len(sandbox.bank.requests) == 1
    assert set(providers.SANDBOX) == set(told)


def test_nothing_of_it_is_a_secret_in_the_books(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    created(xendit, order)

    assert sandbox.settings().secret_key not in json.dumps(sandbox.call("GET", "/sandbox/payments"))


def test_instants_are_those_of_the_clock(sandbox: Sandbox, xendit: Xendit, order: Order) -> None:
    answer = xendit.create(order)

    lasts = {QRIS: timedelta(hours=48), VA: timedelta(hours=24), LINK: timedelta(hours=24)}
    assert answer.expires_at == datetime(2026, 11, 21, 3, 0, tzinfo=UTC) + lasts[order.method]
