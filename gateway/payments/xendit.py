"""Xendit, Payments API v3 (docs.xendit.co, `api-version: 2024-11-11`). The sandbox speaks the same.

A QR code or a virtual account is a payment request (`pr-…`), a page of Xendit's a payment session (`ps-…`), which makes
its payment request when somebody pays. Either carries the order's id as its `reference_id`. What was paid is a payment
(`py-…`): neither request nor session says how much it was, so that it is the payment that is believed, whatever
state the two are in. Amounts are numbers in major units: 10 000 rupiah are `10000`.

Asked for: `POST /v3/payment_requests`, `GET` and `POST …/cancel` of one, `GET /v3/payments/{id}`; `POST /sessions`,
`GET` and `POST …/cancel` of one; `GET /transactions`; `POST /refunds`, `GET /refunds/{id}`, `GET /refunds`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal

import httpx2

from gateway.config.payments import Xendit as Settings
from gateway.domain.order import LINK, Found, Instruction, Order
from gateway.payments.http import Api, Query, decode_webhook, is_id
from gateway.payments.provider import (
    Created,
    Notification,
    ProviderRefused,
    RefundFound,
    RefundWanted,
    WebhookRefused,
)
from gateway.payments.xendit_wire import (
    Payment,
    PaymentRequest,
    Refund,
    Session,
    ToPay,
    Transaction,
    Webhook,
    explain,
    instant,
    money_of,
    notification_of,
    payment_request_for,
    session_for,
)

#: Refusals of a refund that have status 403 (apidocs/refund-payment-request): QRIS of some banks, virtual accounts.
_REFUSALS = frozenset(("REFUND_NOT_SUPPORTED", "PARTIAL_REFUND_NOT_SUPPORTED"))

#: How an order stands by the status of its payment request or session.
_STATES = {
    **dict.fromkeys(("ACCEPTING_PAYMENTS", "REQUIRES_ACTION", "AUTHORIZED", "PENDING", "ACTIVE"), "open"),
    **dict.fromkeys(("SUCCEEDED", "COMPLETED"), "paid"),
    "CANCELED": "canceled",
    "EXPIRED": "expired",
    "FAILED": "failed",
}
#: In which nothing more is paid, as a rule.
_OVER = frozenset(("canceled", "expired", "failed"))
_REFUND_STATES = {"PENDING": "pending", "SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELLED": "failed"}

#: How many are asked for at a time.
_PAGE = "50"


class Xendit:
    """Xendit, or the sandbox in its place: a `gateway.payments.provider.Provider`."""

    name = "xendit"

    def __init__(self, settings: Settings, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._settings = settings
        headers = {"api-version": "2024-11-11"}
        self._api = Api(
            "Xendit", settings.base_url, settings.secret_key, headers, explain, refusals=_REFUSALS, transport=transport
        )

    def create(self, order: Order, *, return_url: str = "") -> Created:
        if order.method == LINK:
            session = self._api.post(
                "/sessions", Session, json=session_for(order, return_url or self._settings.return_url)
            )
            return self._created(order, session.reference_id, session.payment_session_id, session.to_pay)
        asked = payment_request_for(order, self._settings.account_name)
        request = self._api.post("/v3/payment_requests", PaymentRequest, json=asked)
        return self._created(order, request.reference_id, request.payment_request_id, request.to_pay)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notification:
        token = headers.get("x-callback-token", "")
        if not self._settings.callback_token or not _same(token, self._settings.callback_token):
            raise WebhookRefused("the webhook's x-callback-token is not ours")
        return notification_of(decode_webhook(body, Webhook), body)

    def fetch(self, order: Order, provider_id: str = "") -> Found | None:
        provider_id = provider_id or order.provider_id
        found = self._by_id(provider_id) if is_id(provider_id) else None
        if found is not None and found.reference_id != order.id:
            raise self._api.unclear(f"{provider_id} is not of order {order.id}")
        if found is None or found.state in _OVER:
            # Asked for twice because the first answer was lost, it may have been paid under the id we never heard.
            return next(self._transactions((("reference_id", order.id),), order.id), found)
        return found

    def cancel(self, order: Order) -> Found:
        if not is_id(order.provider_id):
            raise ProviderRefused(f"order {order.id} cannot be canceled: Xendit has not answered for it yet")
        path = "/sessions" if _is_session(order.provider_id) else "/v3/payment_requests"
        return self._api.cancel(f"{path}/{order.provider_id}/cancel", lambda: self.fetch(order))

    def refund(self, wanted: RefundWanted) -> RefundFound:
        payment = self._payment(wanted.payment_id)
        if payment is None or not payment.payment_request_id:
            raise ProviderRefused(f"refund {wanted.id}: Xendit does not know payment {wanted.payment_id}")
        # One whose answer was lost was perhaps made.
        found = self._known_refund(payment, wanted.id)
        if found is None:
            asked = {
                "reference_id": wanted.id,
                "payment_request_id": payment.payment_request_id,
                "currency": wanted.money.currency,
                "amount": Decimal(wanted.money.major),
                "reason": "REQUESTED_BY_CUSTOMER",
            }
            found = self._api.post("/refunds", Refund, json=asked, headers={"idempotency-key": wanted.id})
        return self._refund(found)

    def fetch_refund(self, wanted: RefundWanted, provider_id: str) -> RefundFound | None:
        if is_id(provider_id):
            found = self._api.get(f"/refunds/{provider_id}", Refund)
        else:
            payment = self._payment(wanted.payment_id)
            found = None if payment is None else self._known_refund(payment, wanted.id)
        return None if found is None else self._refund(found)

    def payments(self, since: datetime, until: datetime) -> Iterator[Found]:
        return self._transactions((("created[gte]", instant(since)), ("created[lte]", instant(until))))

    def close(self) -> None:
        self._api.close()

    def _created(self, order: Order, reference_id: str, provider_id: str, to_pay: ToPay) -> Created:
        if reference_id != order.id or not is_id(provider_id) or to_pay.instruction == Instruction():
            raise self._api.unclear(f"it does not say how order {order.id} is paid")
        return Created(provider_id, to_pay.instruction, to_pay.expires_at)

    def _by_id(self, provider_id: str) -> Found | None:
        return self._session(provider_id) if _is_session(provider_id) else self._request(provider_id)

    def _request(self, provider_id: str) -> Found | None:
        request = self._api.get(f"/v3/payment_requests/{provider_id}", PaymentRequest)
        if request is None:
            return None
        asked = Found(
            request.reference_id, request.payment_request_id, self._state(request.status),
            request.latest_payment_id or "", money_of(request.request_amount, request.currency),
            request.channel_code or "", reason=request.failure_code or "",
        )  # fmt: skip
        return self._with_payment(asked)

    def _session(self, provider_id: str) -> Found | None:
        session = self._api.get(f"/sessions/{provider_id}", Session)
        if session is None:
            return None
        payment_id = session.payment_id or ""
        if not payment_id and is_id(session.payment_request_id or ""):
            request = self._api.get(f"/v3/payment_requests/{session.payment_request_id}", PaymentRequest)
            payment_id = (request.latest_payment_id if request is not None else None) or ""
        asked = Found(
            session.reference_id, session.payment_session_id, self._state(session.status), payment_id,
            money_of(session.amount, session.currency),
        )  # fmt: skip
        return self._with_payment(asked)

    def _with_payment(self, asked: Found) -> Found:
        """What was asked for, and what became of it: an attempt that failed leaves it as it was, and money that came
        makes it paid."""
        payment = self._payment(asked.payment_id)
        if payment is not None and payment.status == "SUCCEEDED":
            return Found(
                asked.reference_id, asked.provider_id, "paid", asked.payment_id, payment.money,
                payment.channel_code or asked.channel, payment.paid_at,
            )  # fmt: skip
        # Paid by a payment that is not there, or not yet: it will be.
        state = "open" if asked.state == "paid" and asked.payment_id else asked.state
        return Found(
            asked.reference_id, asked.provider_id, state, "", asked.money, asked.channel, reason=asked.reason
        )  # fmt: skip

    def _payment(self, payment_id: str) -> Payment | None:
        return self._api.get(f"/v3/payments/{payment_id}", Payment) if is_id(payment_id) else None

    def _transactions(self, filters: Query, reference_id: str = "") -> Iterator[Found]:
        """Payments that arrived (apidocs/list-transactions), of one reference or of all."""
        query = [("types", "PAYMENT"), ("statuses", "SUCCESS"), ("limit", _PAGE), *filters]
        found = (each.found for each in self._api.items("/transactions", Transaction, query, "after_id"))
        # The search may find parts of references, too.
        return (each for each in found if reference_id in ("", each.reference_id))

    def _known_refund(self, payment: Payment, refund_id: str) -> Refund | None:
        query = [("payment_request_id", payment.payment_request_id or ""), ("limit", _PAGE)]
        refunds = self._api.items("/refunds", Refund, query, "after_id")
        return next((each for each in refunds if each.reference_id == refund_id), None)

    def _refund(self, refund: Refund) -> RefundFound:
        if refund.status not in _REFUND_STATES:
            raise self._api.unclear(f"refund {refund.id} is {refund.status[:40]!r}")
        return RefundFound(refund.id, _REFUND_STATES[refund.status], refund.failure_code or "")

    def _state(self, status: str) -> str:
        if status not in _STATES:
            raise self._api.unclear(f"an order is {status[:40]!r}")
        return _STATES[status]


def _is_session(provider_id: str) -> bool:
    return provider_id.startswith("ps-")


def _same(given: str, ours: str) -> bool:
    """Compares two secrets. How long it takes tells neither their length nor where they differ."""
    digests = [hashlib.sha256(each.encode("utf-8", "surrogatepass")).digest() for each in (given, ours)]
    return hmac.compare_digest(*digests)
