"""Xendit: what it is asked, what its answers mean, and what is believed of its webhooks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from gateway.config.payments import Xendit as Settings
from gateway.domain.money import Money
from gateway.domain.order import LINK, VA, Found, Instruction
from gateway.payments.http import MAX_ANSWER_BYTES, MAX_WEBHOOK_BYTES
from gateway.payments.provider import (
    MalformedWebhook,
    Notification,
    ProviderRefused,
    ProviderUnavailable,
    RefundFound,
    RefundWanted,
    WebhookRefused,
)
from gateway.payments.xendit import Xendit
from gateway.payments.xendit_wire import money_of
from tests.payments.wire import NOW, Answer, Wire, an_order, message_of

KEY, TOKEN = "xnd_development_SECRET", "callback-SECRET"
REQUEST, PAYMENT, SESSION = "pr-1102feb0", "py-1402feb0", "ps-661f87c6"
IDR_10000 = Money(1_000_000, "IDR")

Ask = Callable[[Xendit], object]


def xendit(wire: Wire, **settings: Any) -> Xendit:
    """Xendit on a wire, on which nothing was paid but what the wire says."""
    wire.answers.setdefault("GET /transactions", (200, {"has_more": False, "data": []}))
    facts = {"secret_key": KEY, "callback_token": TOKEN, "base_url": "https://api.xendit.test"}
    return Xendit(
        Settings(**facts | {"methods": ("qris",), "banks": ("BCA",), "return_url": ""} | settings),
        transport=wire.transport,
    )


def a_request(**changes: Any) -> dict[str, Any]:
    return {
        "payment_request_id": REQUEST, "reference_id": "ord_1", "status": "REQUIRES_ACTION", "request_amount": 10000,
        "currency": "IDR", "channel_code": "QRIS", "channel_properties": {}, "created": "2026-11-20T10:00:00Z",
        "actions": [{"type": "PRESENT_TO_CUSTOMER", "descriptor": "QR_STRING", "value": "000201"}],
    } | changes  # fmt: skip


def a_session(**changes: Any) -> dict[str, Any]:
    return {
        "payment_session_id": SESSION, "reference_id": "ord_1", "status": "ACTIVE", "amount": 10000, "currency": "IDR",
        "payment_link_url": "https://dev.xen.to/1", "expires_at": "2026-11-21T10:00:00Z", "payment_id": None,
    } | changes  # fmt: skip


def a_payment(**changes: Any) -> dict[str, Any]:
    return {
        "payment_id": PAYMENT, "status": "SUCCEEDED", "payment_request_id": REQUEST, "request_amount": 10000,
        "currency": "IDR", "channel_code": "QRIS", "updated": "2026-11-20T11:00:00Z",
        "captures": [{"capture_amount": 10000, "capture_timestamp": "2026-11-20T10:59:58Z"}],
    } | changes  # fmt: skip


def a_transaction(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"txn_{number}", "product_id": f"py-{number}", "type": "PAYMENT", "status": "SUCCESS",
        "channel_code": "QRIS", "reference_id": f"ord_{number}", "currency": "IDR", "amount": 10000,
        "created": "2026-11-20T10:59:58Z", "product_data": {"payment_request_id": f"pr-{number}"},
    } | changes  # fmt: skip


def paid_wire(request: dict[str, Any], payment: dict[str, Any]) -> Wire:
    return Wire({
        f"GET /v3/payment_requests/{REQUEST}": (200, request),
        f"GET /v3/payments/{PAYMENT}": (200, payment),
    })  # fmt: skip


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_qris_is_asked_for_in_whole_rupiah_and_answered_with_its_code() -> None:
    wire = Wire({"POST /v3/payment_requests": (201, a_request())})

    made = xendit(wire).create(an_order())

    assert made.provider_id == REQUEST
    assert made.instruction == Instruction(qr_string="000201")
    assert made.expires_at == NOW + timedelta(hours=48)
    assert b'"request_amount":10000,' in wire.asked[0].content
    assert wire.body() == {
        "reference_id": "ord_1", "type": "PAY", "country": "ID", "currency": "IDR", "request_amount": 10000,
        "capture_method": "AUTOMATIC", "channel_code": "QRIS", "channel_properties": {}, "description": "Order ord_1",
    }  # fmt: skip
    sent = wire.asked[0].headers
    assert sent["api-version"] == "2024-11-11"
    assert sent["authorization"] == httpx2.BasicAuth(KEY, "")._auth_header
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize("bank", ["BCA", "BNI", "BRI", "MANDIRI", "PERMATA", "BSI"])
def test_a_virtual_account_is_asked_for_by_its_bank_until_the_order_ends(bank: str) -> None:
    answer = a_request(
        channel_code=f"{bank}_VIRTUAL_ACCOUNT",
        channel_properties={"expires_at": "2026-11-21T10:00:00Z"},
        actions=[{"type": "PRESENT_TO_CUSTOMER", "descriptor": "VIRTUAL_ACCOUNT_NUMBER", "value": "8808"}],
    )
    wire = Wire({"POST /v3/payment_requests": (200, answer)})

    made = xendit(wire, account_name="Toko Kata").create(an_order(method=VA, channel=bank))

    assert made.instruction == Instruction(va_number="8808")
    assert made.expires_at == NOW + timedelta(hours=24)
    assert wire.body()["channel_code"] == f"{bank}_VIRTUAL_ACCOUNT"
    assert wire.body()["channel_properties"] == {"display_name": "Toko Kata", "expires_at": "2026-11-21T10:00:00Z"}


def test_a_link_is_a_payment_session() -> None:
    wire = Wire({"POST /sessions": (201, a_session(currency="PHP"))})

    php = an_order(method=LINK, price=Money(499, "PHP"))
    made = xendit(wire).create(php, return_url="https://shop.test/back?x=1")

    assert made.provider_id == SESSION
    assert made.instruction == Instruction(url="https://dev.xen.to/1")
    assert made.expires_at == NOW + timedelta(hours=24)
    assert b'"amount":4.99,' in wire.asked[0].content
    assert wire.body() == {
        "reference_id": "ord_1", "session_type": "PAY", "mode": "PAYMENT_LINK", "amount": 4.99, "currency": "PHP",
        "country": "PH", "capture_method": "AUTOMATIC", "description": "Order ord_1",
        "expires_at": "2026-11-21T10:00:00Z", "success_return_url": "https://shop.test/back?x=1",
        "cancel_return_url": "https://shop.test/back?x=1",
    }  # fmt: skip


def test_a_payer_comes_back_to_the_page_of_the_config_or_to_none() -> None:
    wire = Wire({"POST /sessions": (201, a_session())})
    order = an_order(method=LINK, expires_at=None)

    xendit(wire, return_url="https://shop.test/thanks").create(order)
    xendit(wire).create(order)

    assert wire.body(0)["success_return_url"] == wire.body(0)["cancel_return_url"] == "https://shop.test/thanks"
    assert not {"success_return_url", "cancel_return_url", "expires_at"} & set(wire.body(1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price": Money(1_000_000_100, "IDR")}, "10000001 IDR cannot be paid by QRIS: it takes 1 to 10000000 IDR"),
        ({"price": Money(499, "USD")}, "4.99 USD cannot be paid by qris with Xendit: it takes IDR"),
        ({"price": Money(499, "PHP"), "method": VA, "channel": "BCA"}, "4.99 PHP cannot be paid by va with Xendit"),
        ({"price": Money(499, "EUR"), "method": LINK}, "4.99 EUR cannot be paid by link with Xendit: it takes IDR, P"),
    ],
)
def test_what_xendit_cannot_take_is_refused_before_it_is_asked(changes: dict[str, Any], said: str) -> None:
    wire = Wire()

    assert message_of(lambda: xendit(wire).create(an_order(**changes)), ProviderRefused).startswith(said)
    assert wire.asked == []


def test_qris_takes_its_smallest_and_its_largest_amount() -> None:
    wire = Wire({"POST /v3/payment_requests": (200, a_request())})

    for minor in (100, 1_000_000_000):
        xendit(wire).create(an_order(price=Money(minor, "IDR")))

    assert [wire.body(number)["request_amount"] for number in (0, 1)] == [1, 10_000_000]


@pytest.mark.parametrize(
    "answer",
    [
        a_request(reference_id="ord_2"), a_request(actions=[]), a_request(actions=None),
        a_request(payment_request_id="../x"), {"payment_request_id": REQUEST}, [], "null",
    ],
)  # fmt: skip
def test_an_answer_that_does_not_say_how_to_pay_is_unclear(answer: object) -> None:
    wire = Wire({"POST /v3/payment_requests": (200, answer)})

    with pytest.raises(ProviderUnavailable, match="Xendit answered what cannot be read"):
        xendit(wire).create(an_order())


# ── fetch ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ACCEPTING_PAYMENTS", "open"), ("REQUIRES_ACTION", "open"), ("AUTHORIZED", "open"), ("CANCELED", "canceled"),
        ("EXPIRED", "expired"), ("FAILED", "failed"), ("SUCCEEDED", "paid"),
    ],
)  # fmt: skip
def test_a_request_stands_as_its_status_says(status: str, state: str) -> None:
    wire = Wire({f"GET /v3/payment_requests/{REQUEST}": (200, a_request(status=status, failure_code="CARD_DECLINED"))})

    found = xendit(wire).fetch(an_order(provider_id=REQUEST))

    assert found == Found("ord_1", REQUEST, state, "", IDR_10000, "QRIS", reason="CARD_DECLINED")


@pytest.mark.parametrize("status", ["SUCCEEDED", "EXPIRED", "CANCELED", "REQUIRES_ACTION", "FAILED"])
def test_money_that_came_makes_it_paid_whatever_the_request_says(status: str) -> None:
    wire = paid_wire(a_request(status=status, latest_payment_id=PAYMENT), a_payment())

    found = xendit(wire).fetch(an_order(), REQUEST)

    paid_at = NOW + timedelta(minutes=59, seconds=58)
    assert found == Found("ord_1", REQUEST, "paid", PAYMENT, IDR_10000, "QRIS", paid_at)


@pytest.mark.parametrize(
    ("status", "state"), [("REQUIRES_ACTION", "open"), ("SUCCEEDED", "open"), ("FAILED", "failed")]
)
@pytest.mark.parametrize("payment", ["FAILED", "PENDING", "AUTHORIZED", "CANCELED"])
def test_an_attempt_without_money_pays_nothing(status: str, state: str, payment: str) -> None:
    wire = paid_wire(a_request(status=status, latest_payment_id=PAYMENT), a_payment(status=payment))

    found = xendit(wire).fetch(an_order(), REQUEST)

    assert found is not None
    assert (found.state, found.payment_id) == (state, "")


@pytest.mark.parametrize(
    ("changes", "money"),
    [
        ({"captures": [{"capture_amount": 9999}]}, Money(999_900, "IDR")),
        ({"captures": [{"capture_amount": 4000}, {"capture_amount": 6000}]}, IDR_10000),
        ({"captures": [{"capture_amount": 4000}, {"capture_amount": None}]}, None),
        ({"captures": None}, IDR_10000),
        ({"captures": [], "request_amount": 10000.5}, Money(1_000_050, "IDR")),
        ({"currency": "SGD"}, Money(1_000_000, "SGD")),
        ({"currency": "ZZZ"}, None),
    ],
)
def test_what_was_paid_is_what_was_captured(changes: dict[str, Any], money: Money | None) -> None:
    wire = paid_wire(a_request(status="SUCCEEDED", latest_payment_id=PAYMENT), a_payment(**changes))

    found = xendit(wire).fetch(an_order(), REQUEST)

    assert found is not None
    assert (found.state, found.money) == ("paid", money)


def test_a_session_is_paid_by_its_payment() -> None:
    wire = Wire({
        f"GET /sessions/{SESSION}": (200, a_session(status="COMPLETED", payment_id=PAYMENT)),
        f"GET /v3/payments/{PAYMENT}": (200, a_payment(channel_code="DANA")),
    })  # fmt: skip

    found = xendit(wire).fetch(an_order(method=LINK, provider_id=SESSION))

    assert found is not None
    assert (found.state, found.provider_id, found.payment_id, found.channel) == ("paid", SESSION, PAYMENT, "DANA")


def test_a_session_that_names_no_payment_is_paid_by_that_of_its_request() -> None:
    wire = paid_wire(a_request(reference_id="their own", latest_payment_id=PAYMENT), a_payment())
    wire.answers[f"GET /sessions/{SESSION}"] = (200, a_session(status="COMPLETED", payment_request_id=REQUEST))

    found = xendit(wire).fetch(an_order(provider_id=SESSION))

    assert found is not None
    assert (found.reference_id, found.state, found.payment_id) == ("ord_1", "paid", PAYMENT)


@pytest.mark.parametrize(("status", "state"), [("ACTIVE", "open"), ("EXPIRED", "expired"), ("CANCELED", "canceled")])
def test_a_session_stands_as_its_status_says(status: str, state: str) -> None:
    wire = Wire({f"GET /sessions/{SESSION}": (200, a_session(status=status))})

    assert xendit(wire).fetch(an_order(provider_id=SESSION)) == Found("ord_1", SESSION, state, "", IDR_10000)


def test_an_order_that_was_never_answered_is_found_by_what_was_paid_under_its_reference() -> None:
    alike = a_transaction(11)
    wire = Wire({"GET /transactions": (200, {"has_more": False, "data": [alike, a_transaction(1)]})})

    found = xendit(wire).fetch(an_order())

    assert found is not None
    assert (found.reference_id, found.state, found.provider_id, found.payment_id) == ("ord_1", "paid", "pr-1", "py-1")
    assert wire.query() == {"types": "PAYMENT", "statuses": "SUCCESS", "limit": "50", "reference_id": "ord_1"}


def test_what_xendit_does_not_know_is_none() -> None:
    wire = Wire()

    assert xendit(wire).fetch(an_order()) is None
    assert xendit(wire).fetch(an_order(provider_id=REQUEST)) is None
    assert xendit(wire).fetch(an_order(provider_id=SESSION)) is None
    assert xendit(wire).fetch(an_order(provider_id="../../balance?")) is None
    assert set(wire.paths) == {
        "GET /transactions", f"GET /v3/payment_requests/{REQUEST}", f"GET /sessions/{SESSION}",
    }  # fmt: skip


@pytest.mark.parametrize("status", ["EXPIRED", "CANCELED", "FAILED"])
def test_what_is_over_under_the_id_that_we_heard_may_be_paid_under_another(status: str) -> None:
    wire = Wire({
        f"GET /v3/payment_requests/{REQUEST}": (200, a_request(status=status)),
        "GET /transactions": (200, {"has_more": False, "data": [a_transaction(1)]}),
    })  # fmt: skip

    found = xendit(wire).fetch(an_order(), REQUEST)

    assert found is not None
    assert (found.state, found.provider_id, found.payment_id) == ("paid", "pr-1", "py-1")


def test_a_request_of_another_order_is_not_taken_for_ours() -> None:
    wire = paid_wire(a_request(reference_id="ord_2", status="SUCCEEDED", latest_payment_id=PAYMENT), a_payment())

    with pytest.raises(ProviderUnavailable, match=f"{REQUEST} is not of order ord_1"):
        xendit(wire).fetch(an_order(), REQUEST)


def test_a_status_that_nobody_knows_is_not_guessed_at() -> None:
    wire = Wire({f"GET /v3/payment_requests/{REQUEST}": (200, a_request(status="PARTLY"))})

    with pytest.raises(ProviderUnavailable, match="an order is 'PARTLY'"):
        xendit(wire).fetch(an_order(), REQUEST)


@pytest.mark.parametrize(
    ("written", "minor"),
    [
        ("10000", 1_000_000), ("1e4", 1_000_000), ("10000.0", 1_000_000), ('"10000"', 1_000_000),
        ('"10000.00"', 1_000_000), ("10000.5", 1_000_050), ("10000.005", None), ("1e999999", None), ("-10000", None),
        ("0", None), ("1e15", None), ('"1e4"', None), ('"NaN"', None), ('"10,000"', None), ("true", None),
        ("null", None), ("[10000]", None), ("9" * 30, None), ("1e-999999", None), ("10000." + "0" * 60 + "1", None),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly_or_not_at_all(written: str, minor: int | None) -> None:
    payment = json.dumps(a_payment(captures=None, request_amount="AMOUNT")).replace('"AMOUNT"', written)
    wire = Wire({
        f"GET /v3/payment_requests/{REQUEST}": (200, a_request(status="SUCCEEDED", latest_payment_id=PAYMENT)),
        f"GET /v3/payments/{PAYMENT}": (200, payment),
    })  # fmt: skip

    found = xendit(wire).fetch(an_order(), REQUEST)

    assert found is not None
    assert found.money == (None if minor is None else Money(minor, "IDR"))


@pytest.mark.parametrize("written", ["NaN", "Infinity", "010", "1e", "1e99999999999999999999", "{"])
def test_what_is_no_json_is_unclear(written: str) -> None:
    wire = paid_wire(a_request(latest_payment_id=PAYMENT), {})
    wire.answers[f"GET /v3/payments/{PAYMENT}"] = (200, f'{{"request_amount": {written}}}')

    with pytest.raises(ProviderUnavailable, match="cannot be read"):
        xendit(wire).fetch(an_order(), REQUEST)


@pytest.mark.parametrize(("amount", "currency", "minor"), [(500, "JPY", 500), (5, "BHD", 5000), (7, "VND", 7)])
def test_each_currency_has_its_own_places(amount: int, currency: str, minor: int) -> None:
    assert money_of(amount, currency) == Money(minor, currency)


# ── cancel ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("provider_id", "path", "answer"),
    [
        (REQUEST, "/v3/payment_requests/", a_request(status="CANCELED")),
        (SESSION, "/sessions/", a_session(status="CANCELED")),
    ],
)
def test_canceling_says_how_it_stands_then(provider_id: str, path: str, answer: dict[str, Any]) -> None:
    wire = Wire({
        f"POST {path}{provider_id}/cancel": (200, answer),
        f"GET {path}{provider_id}": (200, answer),
    })  # fmt: skip

    assert xendit(wire).cancel(an_order(provider_id=provider_id)).state == "canceled"


def test_canceling_what_was_paid_meanwhile_finds_the_money() -> None:
    wire = paid_wire(a_request(status="SUCCEEDED", latest_payment_id=PAYMENT), a_payment())
    refusal = {"error_code": "INACTIVE_PAYMENT_REQUEST", "message": "Payment request is already inactive."}
    wire.answers[f"POST /v3/payment_requests/{REQUEST}/cancel"] = (400, refusal)

    assert xendit(wire).cancel(an_order(provider_id=REQUEST)).state == "paid"


def test_a_refusal_to_cancel_what_is_open_is_passed_on() -> None:
    refusal = {"error_code": "INELIGIBLE_TRANSACTION_STATUS", "message": "Not now."}
    wire = Wire({
        f"POST /v3/payment_requests/{REQUEST}/cancel": (400, refusal),
        f"GET /v3/payment_requests/{REQUEST}": (200, a_request()),
    })  # fmt: skip

    with pytest.raises(ProviderRefused, match="INELIGIBLE_TRANSACTION_STATUS: Not now"):
        xendit(wire).cancel(an_order(provider_id=REQUEST))
    with pytest.raises(ProviderRefused, match="has not answered for it yet"):
        xendit(wire).cancel(an_order())


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


WANTED = RefundWanted("rfn_1", an_order(provider_id=REQUEST), PAYMENT, IDR_10000, "as asked by ann@example.test")


def a_refund(**changes: Any) -> dict[str, Any]:
    return {"id": "rfd-1", "status": "PENDING", "reference_id": "rfn_1", "failure_code": None} | changes


def refund_wire(*known: dict[str, Any], made: Answer | None = None) -> Wire:
    return Wire({
        f"GET /v3/payments/{PAYMENT}": (200, a_payment()),
        "GET /refunds": (200, {"data": list(known), "has_more": False}),
        "GET /refunds/rfd-1": (200, a_refund(status="SUCCEEDED")),
        "POST /refunds": made or (200, a_refund()),
    })  # fmt: skip


def test_a_refund_is_asked_for_once_and_tells_nothing_of_why() -> None:
    wire = refund_wire(a_refund(id="rfd-0", reference_id="rfn_0"))

    assert xendit(wire).refund(WANTED) == RefundFound("rfd-1", "pending")
    assert wire.body() == {
        "reference_id": "rfn_1", "payment_request_id": REQUEST, "currency": "IDR", "amount": 10000,
        "reason": "REQUESTED_BY_CUSTOMER",
    }  # fmt: skip
    assert wire.asked[-1].headers["idempotency-key"] == "rfn_1"


def test_a_refund_whose_answer_was_lost_is_not_asked_for_again() -> None:
    wire = refund_wire(a_refund(status="SUCCEEDED"))

    assert xendit(wire).refund(WANTED) == RefundFound("rfd-1", "succeeded")
    assert "POST /refunds" not in wire.paths


@pytest.mark.parametrize("code", ["REFUND_NOT_SUPPORTED", "PARTIAL_REFUND_NOT_SUPPORTED"])
def test_a_channel_without_refunds_refuses_them_and_not_our_key(code: str) -> None:
    wire = refund_wire(made=(403, {"error_code": code, "message": "No."}))

    with pytest.raises(ProviderRefused, match=code):
        xendit(wire).refund(WANTED)


@pytest.mark.parametrize(
    ("status", "state"),
    [("PENDING", "pending"), ("SUCCEEDED", "succeeded"), ("FAILED", "failed"), ("CANCELLED", "failed")],
)
def test_a_refund_stands_as_its_status_says(status: str, state: str) -> None:
    wire = refund_wire(a_refund(status=status, failure_code="ACCOUNT_NOT_FOUND"))

    assert xendit(wire).fetch_refund(WANTED, "") == RefundFound("rfd-1", state, "ACCOUNT_NOT_FOUND")
    assert xendit(wire).fetch_refund(WANTED, "rfd-1") == RefundFound("rfd-1", "succeeded")
    assert xendit(wire).fetch_refund(WANTED, "rfd-2") is None


def test_a_refund_of_a_payment_that_xendit_does_not_know_is_refused() -> None:
    with pytest.raises(ProviderRefused, match=f"does not know payment {PAYMENT}"):
        xendit(Wire()).refund(WANTED)
    assert xendit(Wire()).fetch_refund(WANTED, "") is None


# ── payments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_pages_of_payments_are_read() -> None:
    wire = Wire({
        "GET /transactions": [
            (200, {"has_more": True, "data": [a_transaction(1), a_transaction(2)]}),
            (200, {"has_more": True, "data": [a_transaction(3, product_data=None, reference_id=None)]}),
            (200, {"has_more": False, "data": []}),
        ]
    })  # fmt: skip

    found = list(xendit(wire).payments(NOW, NOW + timedelta(days=1)))

    paid_at = NOW + timedelta(minutes=59, seconds=58)
    assert found == [
        Found("ord_1", "pr-1", "paid", "py-1", IDR_10000, "QRIS", paid_at),
        Found("ord_2", "pr-2", "paid", "py-2", IDR_10000, "QRIS", paid_at),
        Found("", "", "paid", "py-3", IDR_10000, "QRIS", paid_at),
    ]
    assert [wire.query(number).get("after_id") for number in range(3)] == [None, "txn_2", "txn_3"]
    assert wire.query(0)["created[gte]"] == "2026-11-20T10:00:00Z"
    assert wire.query(2)["created[lte]"] == "2026-11-21T10:00:00Z"


@pytest.mark.parametrize("page", [[], [a_transaction(1)]])
def test_pages_that_go_round_in_circles_end(page: list[dict[str, Any]]) -> None:
    wire = Wire({"GET /transactions": (200, {"has_more": True, "data": page})})

    with pytest.raises(ProviderUnavailable, match="/transactions has more, and gives none"):
        list(xendit(wire).payments(NOW, NOW))


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE: Ask = lambda it: it.create(an_order())  # noqa: E731
FETCH: Ask = lambda it: it.fetch(an_order(), REQUEST)  # noqa: E731


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((400, {"error_code": "API_VALIDATION_ERROR", "message": "bad  \n amount"}), ProviderRefused,
         "Xendit refused it: API_VALIDATION_ERROR: bad amount"),
        ((404, {"error_code": "CHANNEL_NOT_FOUND", "message": ""}), ProviderRefused,
         "Xendit refused it: CHANNEL_NOT_FOUND"),
        ((400, {"error_code": "X", "message": f"key {KEY} is odd"}), ProviderRefused,
         "Xendit refused it: X: key … is odd"),
        ((400, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "m"}), ProviderUnavailable,
         "Xendit answered 400 TEMPORARILY_UNAVAILABLE"),
        ((400, "<html>proxy</html>"), ProviderUnavailable, "Xendit answered 400"),
        ((404, "not here"), ProviderUnavailable, "Xendit answered 404"),
        ((401, {"error_code": "INVALID_API_KEY", "message": KEY}), ProviderUnavailable,
         "Xendit refuses our key (401 INVALID_API_KEY)"),
        ((403, {"error_code": "REQUEST_FORBIDDEN_ERROR", "message": KEY}), ProviderUnavailable,
         "Xendit refuses our key (403 REQUEST_FORBIDDEN_ERROR)"),
        ((408, {"error_code": "T", "message": ""}), ProviderUnavailable, "Xendit answered 408 T"),
        ((409, {"error_code": "T", "message": ""}), ProviderUnavailable, "Xendit answered 409 T"),
        ((429, {"error_code": "RATE_LIMIT_EXCEEDED", "message": ""}), ProviderUnavailable,
         "Xendit answered 429 RATE_LIMIT_EXCEEDED"),
        ((500, {"error_code": "SERVER_ERROR", "message": ""}), ProviderUnavailable, "Xendit answered 500 SERVER_ERROR"),
        ((503, b"\xff\xfe"), ProviderUnavailable, "Xendit answered 503"),
        ((302, ""), ProviderUnavailable, "Xendit answered 302"),
        ((200, "x" * (MAX_ANSWER_BYTES + 1)), ProviderUnavailable, "Xendit answered more than 1048576 bytes"),
        ((200, ""), ProviderUnavailable, "Xendit answered what cannot be read: it is no JSON"),
        ((200, "[" * 100_000), ProviderUnavailable, "Xendit answered what cannot be read"),
        (httpx2.ReadTimeout(f"slow {KEY}"), ProviderUnavailable, "Xendit did not answer: ReadTimeout"),
        (httpx2.ConnectError("no"), ProviderUnavailable, "Xendit did not answer: ConnectError"),
        (httpx2.RemoteProtocolError("half"), ProviderUnavailable, "Xendit did not answer: RemoteProtocolError"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_refused_or_unavailable_and_says_no_secret(
    answer: Answer, kind: type[Exception], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wire = Wire({"POST /v3/payment_requests": answer, f"GET /v3/payment_requests/{REQUEST}": answer})

    message = message_of(lambda: CREATE(xendit(wire)), kind)

    assert message.startswith(said)
    assert KEY not in message + repr(xendit(wire)) + caplog.text
    if not (isinstance(answer, tuple) and answer[0] == 404):
        assert message_of(lambda: FETCH(xendit(wire)), kind) == message


def ask_of(answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
    settings = Settings(KEY, TOKEN, "https://api.xendit.test", ("qris",), (), "")
    Xendit(settings, transport=httpx2.MockTransport(answer)).create(an_order())


def test_a_redirect_is_not_followed_with_our_key() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.host)
        return httpx2.Response(307, headers={"location": "https://elsewhere.test/"})

    with pytest.raises(ProviderUnavailable, match="Xendit answered 307"):
        ask_of(answer)
    assert asked == ["api.xendit.test"]


def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = httpx2.Response(200, headers={"content-encoding": "gzip"}, content=iter([b"\x1f\x8b"]))

    with pytest.raises(ProviderUnavailable, match="it is compressed"):
        ask_of(lambda _: packed)


def test_an_answer_that_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 31.0])
    monkeypatch.setattr("gateway.payments.http.monotonic", lambda: next(times))
    pieces = iter([b"{", b" ", b" "])

    with pytest.raises(ProviderUnavailable, match="did not finish its answer in 30 s"):
        ask_of(lambda _: httpx2.Response(200, content=pieces))


def test_requests_are_not_logged_with_their_urls(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    xendit(Wire()).fetch(an_order(), REQUEST)

    assert REQUEST not in caplog.text


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def hear(event: str, data: object, token: str | None = TOKEN, **settings: Any) -> Notification:
    body = json.dumps({"event": event, "business_id": "b", "created": "2026-11-20T10:00:00Z", "data": data})
    headers = {} if token is None else {"x-callback-token": token}
    return xendit(Wire(), **settings).parse_webhook(headers, body.encode(), NOW)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + " ", TOKEN[:-1], TOKEN.upper(), "tökén", "\udcff", "\0"])
def test_a_webhook_without_our_token_is_refused(token: str | None) -> None:
    said = message_of(lambda: hear("payment.capture", a_payment(), token), WebhookRefused)

    assert said == "the webhook's x-callback-token is not ours"


@pytest.mark.parametrize("token", [None, ""])
def test_no_token_of_ours_lets_nobody_in(token: str | None) -> None:
    with pytest.raises(WebhookRefused):
        hear("payment.capture", a_payment(), token, callback_token="")


def test_a_token_that_is_not_ascii_can_be_ours() -> None:
    assert hear("payment.capture", a_payment(), "tökén", callback_token="tökén").payment_id == PAYMENT


@pytest.mark.parametrize("event", ["payment.capture", "payment.failure", "payment.expiry", "payment.authorization"])
def test_a_payments_webhook_names_order_request_and_payment(event: str) -> None:
    data = a_payment(reference_id="ord_1")

    assert hear(event, data) == Notification(f"{event} {PAYMENT}", event, "ord_1", REQUEST, PAYMENT)


def test_a_webhook_of_a_request_is_told_by_the_request() -> None:
    event = "payment_request.expiry"

    assert hear(event, a_request()) == Notification(f"{event} {REQUEST}", event, "ord_1", REQUEST)


def test_a_sessions_webhook_names_the_session() -> None:
    event = "payment_session.completed"
    data = a_session(status="COMPLETED", payment_id=PAYMENT, payment_request_id=REQUEST)

    assert hear(event, data) == Notification(f"{event} {PAYMENT}", event, "ord_1", SESSION, PAYMENT)
    assert hear("payment_session.expired", a_session()).id == f"payment_session.expired {SESSION}"


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: {"event": "refund.succeeded", "data": data}])
def test_a_refunds_webhook_names_our_refund_and_no_order(wrap: Callable[[dict[str, Any]], object]) -> None:
    event = "refund.succeeded"
    data = wrap(a_refund(payment_id=PAYMENT, payment_request_id=REQUEST))

    assert hear(event, data) == Notification(f"{event} rfd-1", event, "", REQUEST, PAYMENT, "rfn_1")


def test_the_same_webhook_has_the_same_id_whenever_it_is_sent() -> None:
    first = hear("payment.capture", a_payment(reference_id="ord_1"))
    again = hear("payment.capture", a_payment(reference_id="ord_1", updated="2026-11-21T00:00:00Z", status="X"))
    other = hear("payment.failure", a_payment(reference_id="ord_1"))

    assert first.id == again.id != other.id


def test_an_unknown_event_names_nothing_and_is_told_from_others() -> None:
    one, other = hear("payout.done", {"reference_id": "ord_1"}), hear("payout.done", {"reference_id": "ord_2"})

    assert (one.event, one.reference_id, one.provider_id, one.payment_id, one.refund_id) == ("payout.done", *[""] * 4)
    assert one.id != other.id
    assert one.id.startswith("payout.done ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is no JSON"), (b"{", "it is no JSON"), (b"\xff", "it is no JSON"), (b"[" * 200_000, ""),
        (b"null", "Expected"), (b"[]", "Expected"), (b'"x"', "Expected"), (b"{}", "missing required field"),
        (b'{"event":1,"data":{}}', "Expected `str`"), (b'{"event":"x","data":[]}', "Expected `object`"),
        (b'{"event":"x","data":null}', "Expected `object`"), (b'{"event":"x"}', "missing required field `data`"),
        (b'{"event":"payment.capture","data":{"payment_id":7}}', "its payment_id is no text of at most 120 characters"),
        (b'{"event":"payment.capture","data":{"reference_id":"%s"}}' % (b"x" * 121), "its reference_id is no text"),
        (b'{"event":"%s","data":{}}' % (b"e" * 65), "longer than 64 characters"),
        (b'{"event":"x","data":{"a":NaN}}', "it is no JSON"),
        (b'{"event":"x","data":{"a":"' + b"a" * MAX_WEBHOOK_BYTES + b'"}}', "larger than 262144 bytes"),
        (b"a" * 10_000_000, "larger than 262144 bytes"),
    ],
)  # fmt: skip
def test_a_webhook_that_cannot_be_read_is_malformed(body: bytes, said: str) -> None:
    message = message_of(lambda: xendit(Wire()).parse_webhook({"x-callback-token": TOKEN}, body, NOW), MalformedWebhook)

    assert said in message
    assert len(message) < 200


def test_what_is_malformed_is_not_read_before_it_is_proved() -> None:
    with pytest.raises(WebhookRefused):
        xendit(Wire()).parse_webhook({"x-callback-token": "wrong"}, b"a" * 10_000_000, NOW)
