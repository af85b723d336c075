"""What is said to Xendit and by it: bodies of requests and answers, webhooks, amounts. Pages are of docs.xendit.co.

Fields that are not needed are not named here, and those that may be missing are None or empty.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow
from typing import Any

import msgspec

from gateway.domain.money import MAX_MINOR, Money, places_of
from gateway.domain.order import QRIS, Found, Instruction, Order
from gateway.payments.http import decode, id_in, moment
from gateway.payments.provider import MalformedWebhook, Notification, ProviderRefused

#: What one QRIS payment can be, in sen, and how long it can be paid (docs/qris: no other expiry can be set).
_QRIS_LIMITS = range(100, 1_000_000_001)
_QRIS_LASTS = timedelta(hours=48)
#: Where each currency is paid (apidocs/create-session). QR codes and virtual accounts are rupiah.
_COUNTRIES = {"IDR": "ID", "PHP": "PH", "VND": "VN", "THB": "TH", "SGD": "SG", "MYR": "MY"}

_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
#: Arithmetic that raises where it would round.
_EXACT = Context(prec=40, Emax=30, Emin=-30, traps=[Inexact, InvalidOperation, Overflow, Underflow])


class ToPay(msgspec.Struct):
    """How an order is paid, and until when."""

    instruction: Instruction
    expires_at: datetime | None


class Action(msgspec.Struct):
    descriptor: str = ""
    value: str = ""


class ChannelProperties(msgspec.Struct):
    expires_at: str | None = None


class PaymentRequest(msgspec.Struct):
    """apidocs/get-payment-request."""

    payment_request_id: str
    reference_id: str
    status: str
    request_amount: Any = None
    currency: str = ""
    channel_code: str | None = None
    channel_properties: ChannelProperties | None = None
    actions: list[Action] | None = None
    latest_payment_id: str | None = None
    failure_code: str | None = None
    created: str | None = None

    @property
    def to_pay(self) -> ToPay:
        said = {each.descriptor: each.value for each in self.actions or ()}
        instruction = Instruction(
            said.get("QR_STRING", ""), said.get("VIRTUAL_ACCOUNT_NUMBER", ""), said.get("WEB_URL", "")
        )
        expires_at = moment(self.channel_properties.expires_at if self.channel_properties else None)
        created = moment(self.created)
        if expires_at is None and created is not None and self.channel_code == "QRIS":
            expires_at = created + _QRIS_LASTS
        return ToPay(instruction, expires_at)


class Session(msgspec.Struct):
    """apidocs/get-session."""

    payment_session_id: str
    reference_id: str
    status: str
    amount: Any = None
    currency: str = ""
    payment_link_url: str | None = None
    payment_request_id: str | None = None
    payment_id: str | None = None
    expires_at: str | None = None

    @property
    def to_pay(self) -> ToPay:
        return ToPay(Instruction(url=self.payment_link_url or ""), moment(self.expires_at))


class Capture(msgspec.Struct):
    capture_amount: Any = None
    capture_timestamp: str | None = None


class Payment(msgspec.Struct):
    """apidocs/get-payment."""

    payment_id: str
    status: str
    payment_request_id: str | None = None
    request_amount: Any = None
    currency: str = ""
    channel_code: str | None = None
    captures: list[Capture] | None = None
    updated: str | None = None

    @property
    def money(self) -> Money | None:
        """What was captured; a payment that names no captures was captured whole."""
        if not self.captures:
            return money_of(self.request_amount, self.currency)
        parts = [money_of(each.capture_amount, self.currency) for each in self.captures]
        if None in parts:
            return None
        return Money(sum(part.minor for part in parts if part is not None), self.currency)

    @property
    def paid_at(self) -> datetime | None:
        return moment(self.captures[-1].capture_timestamp if self.captures else None) or moment(self.updated)


class ProductData(msgspec.Struct):
    payment_request_id: str | None = None


class Transaction(msgspec.Struct):
    id: str
    #: Of payments by v3, the payment's id.
    product_id: str
    reference_id: str | None = None
    amount: Any = None
    currency: str = ""
    channel_code: str | None = None
    created: str | None = None
    product_data: ProductData | None = None

    @property
    def found(self) -> Found:
        request = self.product_data.payment_request_id if self.product_data else None
        return Found(
            self.reference_id or "", request or "", "paid", self.product_id, money_of(self.amount, self.currency),
            self.channel_code or "", moment(self.created),
        )  # fmt: skip


class Refund(msgspec.Struct):
    """apidocs/refund-payment-request."""

    id: str
    status: str
    reference_id: str | None = None
    failure_code: str | None = None


class Webhook(msgspec.Struct):
    event: str
    data: dict[str, Any]


class ApiError(msgspec.Struct):
    error_code: str
    message: str = ""


def payment_request_for(order: Order, account_name: str) -> dict[str, Any]:
    """What `POST /v3/payment_requests` takes (apidocs/create-payment-request, docs/qris, docs/bca-virtual-account)."""
    _refuse_currency(order, ("IDR",))
    properties: dict[str, Any] = {}
    if order.method == QRIS:
        if order.price.minor not in _QRIS_LIMITS:
            raise ProviderRefused(f"{order.price} cannot be paid by QRIS: it takes 1 to 10000000 IDR")
    else:
        properties["display_name"] = account_name
        if order.expires_at is not None:
            properties["expires_at"] = instant(order.expires_at)
    return {
        "reference_id": order.id,
        "type": "PAY",
        "country": _COUNTRIES[order.price.currency],
        "currency": order.price.currency,
        "request_amount": Decimal(order.price.major),
        "capture_method": "AUTOMATIC",
        "channel_code": "QRIS" if order.method == QRIS else f"{order.channel}_VIRTUAL_ACCOUNT",
        "channel_properties": properties,
        "description": f"Order {order.id}",
    }


def session_for(order: Order, return_url: str) -> dict[str, Any]:
    """What `POST /sessions` takes (apidocs/create-session): one payment, on a page of Xendit's."""
    _refuse_currency(order, tuple(_COUNTRIES))
    asked: dict[str, Any] = {
        "reference_id": order.id,
        "session_type": "PAY",
        "mode": "PAYMENT_LINK",
        "amount": Decimal(order.price.major),
        "currency": order.price.currency,
        "country": _COUNTRIES[order.price.currency],
        "capture_method": "AUTOMATIC",
        "description": f"Order {order.id}",
    }
    if order.expires_at is not None:
        asked["expires_at"] = instant(order.expires_at)
    if return_url:
        asked |= {"success_return_url": return_url, "cancel_return_url": return_url}
    return asked


def _refuse_currency(order: Order, currencies: tuple[str, ...]) -> None:
    if order.price.currency not in currencies:
        raise ProviderRefused(
            f"{order.price} cannot be paid by {order.method} with Xendit: it takes {', '.join(currencies)}"
        )


def notification_of(webhook: Webhook, body: bytes) -> Notification:
    """What a webhook names (apidocs/payment-webhook-notification, refund-webhook-notification and that of sessions).
    One that we do not know names nothing, and is told from others by what it says."""
    data = webhook.data
    kind = webhook.event.partition(".")[0]
    named: dict[str, str] = {}
    match kind:
        case "payment" | "payment_request":
            named = _ids(data, reference_id="reference_id", provider_id="payment_request_id", payment_id="payment_id")
        case "payment_session":
            named = _ids(data, reference_id="reference_id", provider_id="payment_session_id", payment_id="payment_id")
        case "refund":
            # Their own example wraps it twice.
            inner = data.get("data")
            data = inner if isinstance(inner, dict) else data
            named = _ids(data, refund_id="reference_id", provider_id="payment_request_id", payment_id="payment_id")
    about = id_in(data, "id") if kind == "refund" else named.get("payment_id") or named.get("provider_id")
    about = about or hashlib.sha256(body).hexdigest()[:32]
    if len(webhook.event) > 64:
        raise MalformedWebhook("the webhook cannot be read: its event is longer than 64 characters")
    return Notification(f"{webhook.event} {about}", webhook.event, **named)


def _ids(data: Mapping[str, Any], **names: str) -> dict[str, str]:
    return {ours: id_in(data, theirs) for ours, theirs in names.items()}


def money_of(amount: Any, currency: str) -> Money | None:
    """An amount in major units, as JSON has it. None for what is no whole number of minor units, or no money."""
    if isinstance(amount, str) and _NUMBER.fullmatch(amount):
        amount = Decimal(amount)
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return None
    try:
        minor = int(Decimal(amount).scaleb(places_of(currency), _EXACT).to_integral_exact(context=_EXACT))
    except (ArithmeticError, ValueError):
        return None
    return Money(minor, currency) if 0 < minor <= MAX_MINOR else None


def instant(at: datetime) -> str:
    """An instant, as Xendit reads it: to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def explain(body: bytes) -> tuple[str, str]:
    """Code and message of an error: `{"error_code", "message"}`."""
    try:
        error = decode(body, ApiError)
    except ValueError:
        return "", ""
    return error.error_code, error.message
