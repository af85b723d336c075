"""Stripe Checkout: what it is asked, what its answers mean, and which of its webhooks are believed."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from datetime import timedelta
from typing import Any

import pytest

from gateway.config.payments import Stripe as Settings
from gateway.domain.money import Money
from gateway.domain.order import LINK, QRIS, VA, Found, Instruction
from gateway.payments.http import MAX_WEBHOOK_BYTES
from gateway.payments.provider import (
    MalformedWebhook,
    Notification,
    ProviderRefused,
    ProviderUnavailable,
    RefundFound,
    RefundWanted,
    WebhookRefused,
)
from gateway.payments.stripe import Stripe
from tests.payments.wire import NOW, Answer, Wire, an_order, message_of

KEY, SECRET = "sk_test_SECRET", "whsec_SECRET"
SESSION, INTENT = "cs_test_1", "pi_1"
USD_499 = Money(499, "USD")
ORDER = an_order(provider="stripe", method=LINK, price=USD_499)
SESSIONS = "/v1/checkout/sessions"


def stripe(wire: Wire) -> Stripe:
    return Stripe(Settings(KEY, SECRET, "https://api.stripe.test", "https://shop.test/back"), transport=wire.transport)


def an_intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": INTENT, "object": "payment_intent", "status": "succeeded", "currency": "usd", "amount_received": 499,
        "created": int(NOW.timestamp()), "metadata": {"order": "ord_1"}, "last_payment_error": None,
    } | changes  # fmt: skip


def a_session(**changes: Any) -> dict[str, Any]:
    return {
        "id": SESSION, "object": "checkout.session", "status": "open", "payment_status": "unpaid",
        "expires_at": int(NOW.timestamp()) + 82_800, "amount_total": 499, "currency": "usd",
        "client_reference_id": "ord_1", "url": "https://checkout.stripe.test/1", "payment_intent": None,
    } | changes  # fmt: skip


def session_wire(**changes: Any) -> Wire:
    return Wire({f"GET {SESSIONS}/{SESSION}": (200, a_session(**changes))})


# ── create ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_a_session_under_its_own_key() -> None:
    wire = Wire({f"POST {SESSIONS}": (200, a_session())})

    made = stripe(wire).create(ORDER)

    assert made.provider_id == SESSION
    assert made.instruction == Instruction(url="https://checkout.stripe.test/1")
    assert made.expires_at == NOW + timedelta(hours=23)
    assert wire.asked[0].headers["idempotency-key"] == "ord_1"
    assert wire.asked[0].headers["stripe-version"] == "2025-03-31.basil"
    assert wire.body() == {
        "mode": "payment", "client_reference_id": "ord_1", "metadata[order]": "ord_1",
        "payment_intent_data[metadata][order]": "ord_1", "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd", "line_items[0][price_data][unit_amount]": "499",
        "line_items[0][price_data][product_data][name]": "Order ord_1", "adaptive_pricing[enabled]": "false",
        "success_url": "https://shop.test/back", "cancel_url": "https://shop.test/back",
        "expires_at": str(int(NOW.timestamp()) + 82_800),
    }  # fmt: skip


def test_asking_again_asks_the_same_so_that_its_key_holds() -> None:
    wire = Wire({f"POST {SESSIONS}": (200, a_session())})

    for _ in range(2):
        stripe(wire).create(ORDER, return_url="https://elsewhere.test")

    assert wire.asked[0].content == wire.asked[1].content
    assert wire.body()["success_url"] == "https://elsewhere.test"


@pytest.mark.parametrize(
    ("asked_s", "sent_s"), [(60, 3600), (3600, 3600), (7200, 7200), (82_800, 82_800), (172_800, 82_800), (None, 82_800)]
)
def test_a_session_lasts_as_long_as_the_order_within_what_stripe_allows(asked_s: int | None, sent_s: int) -> None:
    wire = Wire({f"POST {SESSIONS}": (200, a_session())})
    expires_at = None if asked_s is None else NOW + timedelta(seconds=asked_s)

    stripe(wire).create(an_order(method=LINK, price=USD_499, expires_at=expires_at))

    assert int(wire.body()["expires_at"]) - int(NOW.timestamp()) == sent_s


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        (Money(1_000_000, "IDR"), 1_000_000), (Money(500, "JPY"), 500), (Money(500, "ISK"), 50_000),
        (Money(500, "UGX"), 50_000), (Money(500, "MGA"), 5), (Money(5120, "KWD"), 5120), (Money(7, "VND"), 7),
    ],
)  # fmt: skip
def test_amounts_are_in_stripes_units(money: Money, amount: int) -> None:
    intent = an_intent(currency=money.currency.lower(), amount_received=amount)
    wire = session_wire(status="complete", payment_status="paid", payment_intent=intent)
    wire.answers[f"POST {SESSIONS}"] = (200, a_session())

    stripe(wire).create(an_order(method=LINK, price=money))
    found = stripe(wire).fetch(ORDER, SESSION)

    assert wire.body(0)["line_items[0][price_data][unit_amount]"] == str(amount)
    assert found is not None
    assert found.money == money


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": QRIS}, "Stripe takes no qris"),
        ({"method": VA, "channel": "BCA"}, "Stripe takes no va"),
        ({"price": Money(550, "MGA")}, "5.50 MGA cannot be paid with Stripe: it takes 0 places of MGA"),
    ],
)
def test_what_stripe_cannot_take_is_refused_before_it_is_asked(changes: dict[str, Any], said: str) -> None:
    wire = Wire()

    message = message_of(lambda: stripe(wire).create(an_order(**{"method": LINK} | changes)), ProviderRefused)

    assert message.startswith(said)
    assert wire.asked == []


@pytest.mark.parametrize("changes", [{"client_reference_id": "ord_2"}, {"url": None}, {"id": ""}, {"expires_at": 9e18}])
def test_an_answer_that_does_not_say_how_to_pay_is_unclear(changes: dict[str, Any]) -> None:
    wire = Wire({f"POST {SESSIONS}": (200, a_session(**changes))})

    with pytest.raises(ProviderUnavailable, match="Stripe answered what cannot be read"):
        stripe(wire).create(ORDER)


# ── fetch ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_is_paid_by_what_its_intent_has_received() -> None:
    wire = session_wire(status="complete", payment_status="paid", payment_intent=an_intent(amount_received=498))

    found = stripe(wire).fetch(ORDER, SESSION)

    assert found == Found("ord_1", SESSION, "paid", INTENT, Money(498, "USD"), paid_at=NOW)
    assert wire.query() == {"expand[]": "payment_intent"}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "open"),
        ({"status": "expired"}, "expired"),
        ({"status": "complete", "payment_intent": an_intent(status="processing")}, "open"),
        ({"status": "complete", "payment_status": "no_payment_required"}, "open"),
        ({"status": "open", "payment_intent": an_intent(status="requires_payment_method")}, "open"),
        ({"status": "complete", "payment_status": "unpaid", "payment_intent": an_intent()}, "open"),
        ({"status": "complete", "payment_intent": an_intent(status="canceled")}, "failed"),
        ({"status": "complete", "payment_intent": an_intent(status="requires_payment_method")}, "failed"),
    ],
)
def test_only_a_session_that_says_so_is_paid(changes: dict[str, Any], state: str) -> None:
    assert stripe(session_wire(**changes)).fetch(ORDER, SESSION) == Found("ord_1", SESSION, state, "", USD_499)


def test_why_a_bank_refused_is_said() -> None:
    intent = an_intent(status="requires_payment_method", last_payment_error={"code": "card_declined"})

    found = stripe(session_wire(status="complete", payment_intent=intent)).fetch(ORDER, SESSION)

    assert found is not None
    assert (found.state, found.reason) == ("failed", "card_declined")


def test_a_session_that_is_paid_by_nothing_it_names_has_no_payment() -> None:
    found = stripe(session_wire(status="complete", payment_status="paid")).fetch(ORDER, SESSION)

    assert found == Found("ord_1", SESSION, "paid", "", USD_499)


@pytest.mark.parametrize(("amount", "currency"), [(0, "usd"), (-5, "usd"), (499, "zzz"), (5, "isk")])
def test_what_is_no_money_is_none(amount: int, currency: str) -> None:
    intent = an_intent(amount_received=amount, currency=currency)

    found = stripe(session_wire(payment_status="paid", payment_intent=intent)).fetch(ORDER, SESSION)

    assert found is not None
    assert (found.state, found.money) == ("paid", None)


def test_an_order_that_was_never_answered_is_found_among_the_payments_of_its_days() -> None:
    wire = Wire({"GET /v1/payment_intents": [
        (200, {"has_more": True, "data": [an_intent(id="pi_0", metadata={"order": "ord_0"})]}),
        (200, {"has_more": False, "data": [an_intent(status="processing"), an_intent(id="pi_2")]}),
    ]})  # fmt: skip

    found = stripe(wire).fetch(ORDER)

    assert found == Found("ord_1", "", "paid", "pi_2", USD_499, paid_at=NOW)
    assert wire.query(1)["starting_after"] == "pi_0"


def test_what_stripe_does_not_know_is_none() -> None:
    wire = Wire({"GET /v1/payment_intents": (200, {"has_more": False, "data": []})})

    assert stripe(wire).fetch(ORDER) is None
    assert stripe(wire).fetch(ORDER, SESSION) is None
    assert stripe(wire).fetch(ORDER, "../../v1/balance") is None
    assert len(wire.asked) == 2


def test_a_session_of_another_order_is_not_taken_for_ours() -> None:
    wire = session_wire(client_reference_id="ord_2", payment_status="paid", payment_intent=an_intent())

    with pytest.raises(ProviderUnavailable, match=f"{SESSION} is not of order ord_1"):
        stripe(wire).fetch(ORDER, SESSION)


# ── cancel, refund, payments ─────────────────────────────────────────────────────────────────────────────────────────


def test_canceling_expires_the_session() -> None:
    wire = session_wire(status="expired")
    wire.answers[f"POST {SESSIONS}/{SESSION}/expire"] = (200, a_session(status="expired"))

    assert stripe(wire).cancel(an_order(method=LINK, provider_id=SESSION)).state == "canceled"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"status": "complete", "payment_status": "paid", "payment_intent": an_intent()}, "paid"),
        ({"status": "expired"}, "canceled"),
    ],
)
def test_canceling_what_is_over_says_how_it_ended(changes: dict[str, Any], state: str) -> None:
    wire = session_wire(**changes)
    wire.answers[f"POST {SESSIONS}/{SESSION}/expire"] = an_error(400, "invalid_request_error")

    assert stripe(wire).cancel(an_order(method=LINK, provider_id=SESSION)).state == state


def test_a_refusal_to_cancel_what_is_open_is_passed_on() -> None:
    wire = session_wire()
    wire.answers[f"POST {SESSIONS}/{SESSION}/expire"] = an_error(400, "invalid_request_error")

    with pytest.raises(ProviderRefused, match="invalid_request_error"):
        stripe(wire).cancel(an_order(method=LINK, provider_id=SESSION))
    with pytest.raises(ProviderRefused, match="has not answered for it yet"):
        stripe(wire).cancel(ORDER)


WANTED = RefundWanted("rfn_1", ORDER, INTENT, USD_499, "as asked by ann@example.test")


def a_refund(**changes: Any) -> dict[str, Any]:
    return {"id": "re_1", "object": "refund", "status": "pending", "metadata": {"refund": "rfn_1"}} | changes


def test_a_refund_is_asked_for_once_and_tells_nothing_of_why() -> None:
    others = [a_refund(id="re_0", metadata={"refund": "rfn_0"}), a_refund(id="re_2", metadata=None)]
    wire = Wire({"GET /v1/refunds": (200, {"data": others}), "POST /v1/refunds": (200, a_refund())})

    assert stripe(wire).refund(WANTED) == RefundFound("re_1", "pending")
    assert wire.asked[-1].headers["idempotency-key"] == "rfn_1"
    assert wire.body() == {
        "payment_intent": INTENT, "amount": "499", "reason": "requested_by_customer", "metadata[refund]": "rfn_1",
    }  # fmt: skip


def test_a_refund_whose_answer_was_lost_is_not_asked_for_again() -> None:
    wire = Wire({"GET /v1/refunds": (200, {"data": [a_refund(status="succeeded")]})})

    assert stripe(wire).refund(WANTED) == RefundFound("re_1", "succeeded")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("pending", "pending"), ("requires_action", "pending"), ("succeeded", "succeeded"), ("failed", "failed"),
        ("canceled", "failed"),
    ],
)  # fmt: skip
def test_a_refund_stands_as_its_status_says(status: str, state: str) -> None:
    refund = a_refund(status=status, failure_reason="lost_or_stolen_card")
    wire = Wire({"GET /v1/refunds": (200, {"data": [refund]}), "GET /v1/refunds/re_1": (200, refund)})

    expected = RefundFound("re_1", state, "lost_or_stolen_card")
    assert stripe(wire).fetch_refund(WANTED, "") == stripe(wire).fetch_refund(WANTED, "re_1") == expected
    assert stripe(wire).fetch_refund(WANTED, "re_2") is None


def test_payments_are_the_intents_that_succeeded_in_that_time() -> None:
    intents = [an_intent(), an_intent(id="pi_2", status="processing"), an_intent(id="pi_3", metadata={})]
    wire = Wire({"GET /v1/payment_intents": (200, {"has_more": False, "data": intents})})

    found = list(stripe(wire).payments(NOW, NOW + timedelta(days=1)))

    assert [(each.reference_id, each.payment_id) for each in found] == [("ord_1", INTENT), ("", "pi_3")]
    since = int(NOW.timestamp())
    assert wire.query() == {"created[gte]": str(since), "created[lt]": str(since + 86_400), "limit": "100"}


@pytest.mark.parametrize("page", [[], [an_intent(status="processing")]])
def test_pages_that_go_round_in_circles_end(page: list[dict[str, Any]]) -> None:
    wire = Wire({"GET /v1/payment_intents": (200, {"has_more": True, "data": page})})

    with pytest.raises(ProviderUnavailable, match="/v1/payment_intents has more, and gives none"):
        list(stripe(wire).payments(NOW, NOW))


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def an_error(status: int, kind: str, code: str | None = None, message: str = "No.") -> Answer:
    return status, {"error": {"type": kind, "code": code, "message": message}}


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (an_error(400, "invalid_request_error", "amount_too_small"), ProviderRefused,
         "Stripe refused it: amount_too_small: No."),
        (an_error(402, "card_error"), ProviderRefused, "Stripe refused it: card_error: No."),
        (an_error(400, "idempotency_error", message=f"of {KEY}"), ProviderRefused,
         "Stripe refused it: idempotency_error: of …"),
        (an_error(401, "invalid_request_error", message=KEY), ProviderUnavailable,
         "Stripe refuses our key (401 invalid_request_error)"),
        (an_error(403, "invalid_request_error"), ProviderUnavailable, "Stripe refuses our key (403"),
        (an_error(409, "idempotency_error"), ProviderUnavailable, "Stripe answered 409"),
        (an_error(429, "invalid_request_error", "rate_limit"), ProviderUnavailable, "Stripe answered 429 rate_limit"),
        (an_error(500, "api_error"), ProviderUnavailable, "Stripe answered 500 api_error"),
        ((400, {"error": "text"}), ProviderUnavailable, "Stripe answered 400"),
        ((200, "<html>"), ProviderUnavailable, "Stripe answered what cannot be read: it is no JSON"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_refused_or_unavailable_and_says_no_secret(
    answer: Answer, kind: type[Exception], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wire = Wire({f"POST {SESSIONS}": answer})

    message = message_of(lambda: stripe(wire).create(ORDER), kind)

    assert message.startswith(said)
    assert KEY not in message + repr(stripe(wire)) + caplog.text


# ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def signature(body: bytes, at: object = int(NOW.timestamp()), secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def an_event(about: dict[str, Any], event: str = "checkout.session.completed") -> bytes:
    return json.dumps({"id": "evt_1", "object": "event", "type": event, "data": {"object": about}}).encode()


def hear(body: bytes, signed: str) -> Notification:
    return stripe(Wire()).parse_webhook({"stripe-signature": signed}, body, NOW)


T = int(NOW.timestamp())
BODY = an_event(a_session(payment_intent=INTENT))


@pytest.mark.parametrize(
    "signed",
    [
        f"t={T},v1={signature(BODY)}",
        f"v1={signature(BODY)}, t={T}",
        f"t={T},v1={'0' * 64},v1={signature(BODY)},v0=x",
        f"t={T - 300},v1={signature(BODY, T - 300)}",
        f"t={T + 300},v1={signature(BODY, T + 300)}",
    ],
)
def test_a_webhook_with_one_right_signature_is_believed(signed: str) -> None:
    assert hear(BODY, signed) == Notification("evt_1", "checkout.session.completed", "ord_1", SESSION, INTENT)


@pytest.mark.parametrize(
    ("signed", "said"),
    [
        ("", "not ours"),
        ("nonsense", "not ours"),
        (f"t={T}", "not ours"),
        (f"v1={signature(BODY)}", "not ours"),
        (f"t={T},v1=", "not ours"),
        (f"t={T},v1={signature(BODY, secret='whsec_other')}", "not ours"),
        (f"t={T},v1={signature(BODY + b' ')}", "not ours"),
        (f"t={T},v0={signature(BODY)}", "not ours"),
        (f"t={T + 1},v1={signature(BODY)}", "not ours"),
        (f"t={T},v1={signature(BODY).upper()}", "not ours"),
        (f"t={T},v1=é\udcff", "not ours"),
        (f"t={T - 301},v1={signature(BODY, T - 301)}", "more than 300 s away"),
        (f"t={T + 301},v1={signature(BODY, T + 301)}", "more than 300 s away"),
        (f"t=x,v1={signature(BODY, 'x')}", "more than 300 s away"),
        (f"t=-{T},v1={signature(BODY, f'-{T}')}", "more than 300 s away"),
        (f"t={'9' * 5000},v1={signature(BODY, '9' * 5000)}", "more than 300 s away"),
    ],
)
def test_a_webhook_without_a_right_signature_is_refused(signed: str, said: str) -> None:
    assert said in message_of(lambda: hear(BODY, signed), WebhookRefused)


def test_without_a_secret_nothing_is_believed() -> None:
    shop = Stripe(Settings(KEY, "", "https://api.stripe.test", "https://shop.test"), transport=Wire().transport)
    signed = {"stripe-signature": f"t={T},v1={signature(BODY, secret='')}"}

    with pytest.raises(WebhookRefused):
        shop.parse_webhook(signed, BODY, NOW)
    with pytest.raises(WebhookRefused):
        stripe(Wire()).parse_webhook({}, BODY, NOW)


def about(**facts: Any) -> Notification:
    body = an_event(facts, "some.event")
    return hear(body, f"t={T},v1={signature(body)}")


def test_each_kind_of_object_names_what_it_knows() -> None:
    order, refund = {"order": "ord_1"}, {"refund": "rfn_1"}

    assert about(object="payment_intent", id="pi_1", metadata=order) == Notification(
        "evt_1", "some.event", reference_id="ord_1", payment_id="pi_1"
    )
    assert about(object="charge", id="ch_1", payment_intent="pi_1", metadata=order) == Notification(
        "evt_1", "some.event", reference_id="ord_1", payment_id="pi_1"
    )
    assert about(object="refund", id="re_1", payment_intent="pi_1", metadata=refund) == Notification(
        "evt_1", "some.event", payment_id="pi_1", refund_id="rfn_1"
    )
    assert about(object="checkout.session", id="cs_1", client_reference_id=None, metadata=None).reference_id == ""
    assert about(object="customer", id="cus_1", metadata=order) == Notification("evt_1", "some.event")
    assert about(object=["charge"]) == Notification("evt_1", "some.event")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it is no JSON"), (b"[]", "Expected"), (b"{}", "missing required field"), (b"[" * 200_000, ""),
        (b'{"id":"evt_1","type":"x","data":{}}', "missing required field `object`"),
        (b'{"id":"evt 1","type":"x","data":{"object":{}}}', "its id or its type"),
        (b'{"id":"evt_1","type":"%s","data":{"object":{}}}' % (b"x" * 65), "its id or its type"),
        (an_event({"object": "charge", "payment_intent": {"id": "pi"}}), "its payment_intent is no text"),
        (b'"' + b"a" * MAX_WEBHOOK_BYTES + b'"', "larger than 262144 bytes"), (b"a" * 10_000_000, "larger than"),
    ],
)  # fmt: skip
def test_a_webhook_that_cannot_be_read_is_malformed(body: bytes, said: str) -> None:
    assert said in message_of(lambda: hear(body, f"t={T},v1={signature(body)}"), MalformedWebhook)
