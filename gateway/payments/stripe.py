"""Stripe Checkout: a page of Stripe's, for each order (docs.stripe.com/api/checkout/sessions).

A session carries the order's id as `client_reference_id`, and so does the payment intent that comes of it, as metadata.
A session is paid when its `payment_status` says so: one that is complete may still wait for a bank. What was paid is
what the intent has received. Requests that make something carry an Idempotency-Key, which Stripe remembers for a day.

Asked for: `POST /v1/checkout/sessions`, `GET` and `POST …/expire` of one; `GET /v1/payment_intents`; `POST
/v1/refunds`, `GET /v1/refunds/{id}`, `GET /v1/refunds`. Pages are of docs.stripe.com.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx2
import msgspec

from gateway.config.payments import Stripe as Settings
from gateway.domain.money import MAX_MINOR, Money, places_of
from gateway.domain.order import LINK, Found, Instruction, Order
from gateway.payments.http import Api, decode, decode_webhook, id_in, is_id
from gateway.payments.provider import (
    Created,
    MalformedWebhook,
    Notification,
    ProviderRefused,
    RefundFound,
    RefundWanted,
    WebhookRefused,
)

#: How far a webhook's time may be from ours (webhooks/signature: against replays).
TOLERANCE_S = 300

#: A session lasts from 30 minutes to 24 hours after it is made, by Stripe's clock (api/checkout/sessions/create). It is
#: told the same when it is asked again, so that both are kept clear of from the order's own beginning.
_SHORTEST, _LONGEST = timedelta(hours=1), timedelta(hours=23)

#: Places of Stripe's amounts where they are not two (currencies#zero-decimal, #three-decimal). ISK and UGX have none
#: any more, and are sent with two all the same (#special-cases).
_PLACES = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}

#: An intent that waits for another attempt, or for none.
_FAILED = frozenset(("requires_payment_method", "canceled"))
_REFUND_STATES = {
    "pending": "pending", "requires_action": "pending", "succeeded": "succeeded", "failed": "failed",
    "canceled": "failed",
}  # fmt: skip

#: How many are asked for at a time.
_PAGE = "100"
_TIME = re.compile(r"[0-9]{1,12}")


class Stripe:
    """Stripe, as a `gateway.payments.provider.Provider`."""

    name = "stripe"

    def __init__(self, settings: Settings, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._settings = settings
        headers = {"stripe-version": "2025-03-31.basil"}
        self._api = Api("Stripe", settings.base_url, settings.secret_key, headers, _explain, transport=transport)

    def create(self, order: Order, *, return_url: str = "") -> Created:
        asked = _session_for(order, return_url or self._settings.return_url)
        session = self._api.post("/v1/checkout/sessions", _Session, form=asked, headers={"idempotency-key": order.id})
        if session.client_reference_id != order.id or not is_id(session.id) or not session.url:
            raise self._api.unclear(f"it does not say how order {order.id} is paid")
        return Created(session.id, Instruction(url=session.url), datetime.fromtimestamp(session.expires_at, UTC))

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notification:
        if not self._settings.webhook_secret:
            raise WebhookRefused("webhooks of Stripe cannot be proved: there is no webhook_secret")
        _prove(headers.get("stripe-signature", ""), body, self._settings.webhook_secret, now)
        return _notification(decode_webhook(body, _Webhook))

    def fetch(self, order: Order, provider_id: str = "") -> Found | None:
        provider_id = provider_id or order.provider_id
        if not provider_id:
            # Listed, not searched for: what is found by a search may be an hour old.
            paid = self.payments(order.created_at, order.created_at + timedelta(days=2))
            return next((found for found in paid if found.reference_id == order.id), None)
        session = self._session(provider_id)
        if session is not None and session.client_reference_id != order.id:
            raise self._api.unclear(f"{provider_id} is not of order {order.id}")
        return None if session is None else _found(session)

    def cancel(self, order: Order) -> Found:
        if not is_id(order.provider_id):
            raise ProviderRefused(f"order {order.id} cannot be canceled: Stripe has not answered for it yet")
        path = f"/v1/checkout/sessions/{order.provider_id}/expire"
        found = self._api.cancel(path, lambda: self.fetch(order))
        return replace(found, state="canceled") if found.state == "expired" else found

    def refund(self, wanted: RefundWanted) -> RefundFound:
        # One whose answer was lost was perhaps made, and its key may be forgotten.
        found = self._known_refund(wanted)
        if found is None:
            asked = {
                "payment_intent": wanted.payment_id,
                "amount": str(_amount(wanted.money)),
                "reason": "requested_by_customer",
                "metadata[refund]": wanted.id,
            }
            found = self._api.post("/v1/refunds", _Refund, form=asked, headers={"idempotency-key": wanted.id})
        return self._refund(found)

    def fetch_refund(self, wanted: RefundWanted, provider_id: str) -> RefundFound | None:
        if is_id(provider_id):
            found = self._api.get(f"/v1/refunds/{provider_id}", _Refund)
        else:
            found = self._known_refund(wanted)
        return None if found is None else self._refund(found)

    def payments(self, since: datetime, until: datetime) -> Iterator[Found]:
        """Counted by when the payment began: a bank's may be days older than its money."""
        span = (("created[gte]", str(int(since.timestamp()))), ("created[lt]", str(int(until.timestamp()))))
        intents = self._api.items("/v1/payment_intents", _Intent, [*span, ("limit", _PAGE)], "starting_after")
        return (_paid(intent) for intent in intents if intent.status == "succeeded")

    def close(self) -> None:
        self._api.close()

    def _session(self, provider_id: str) -> _Session | None:
        if not is_id(provider_id):
            return None
        return self._api.get(f"/v1/checkout/sessions/{provider_id}", _Session, [("expand[]", "payment_intent")])

    def _known_refund(self, wanted: RefundWanted) -> _Refund | None:
        query = [("payment_intent", wanted.payment_id), ("limit", _PAGE)]
        refunds = self._api.items("/v1/refunds", _Refund, query, "starting_after")
        return next((each for each in refunds if (each.metadata or {}).get("refund") == wanted.id), None)

    def _refund(self, refund: _Refund) -> RefundFound:
        if refund.status not in _REFUND_STATES:
            raise self._api.unclear(f"refund {refund.id} is {refund.status[:40]!r}")
        return RefundFound(refund.id, _REFUND_STATES[refund.status], refund.failure_reason or "")


#: Seconds since 1970, of a year that datetime has.
_Seconds = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800)]


class _Failure(msgspec.Struct):
    code: str | None = None


class _Intent(msgspec.Struct):
    id: str
    status: str
    currency: str
    created: _Seconds
    amount_received: int = 0
    metadata: dict[str, str] | None = None
    last_payment_error: _Failure | None = None


class _Session(msgspec.Struct):
    id: str
    #: "open", "complete" or "expired".
    status: str
    #: "paid", "unpaid" or "no_payment_required".
    payment_status: str
    expires_at: _Seconds
    amount_total: int | None = None
    currency: str | None = None
    client_reference_id: str | None = None
    url: str | None = None
    #: Whole where we ask for it; its id elsewhere.
    payment_intent: _Intent | str | None = None


class _Refund(msgspec.Struct):
    id: str
    status: str
    metadata: dict[str, str] | None = None
    failure_reason: str | None = None


class _WebhookData(msgspec.Struct):
    object: dict[str, Any]


class _Webhook(msgspec.Struct):
    id: str
    type: str
    data: _WebhookData


class _ErrorBody(msgspec.Struct):
    type: str
    code: str | None = None
    message: str | None = None


class _Error(msgspec.Struct):
    error: _ErrorBody


def _session_for(order: Order, return_url: str) -> dict[str, str]:
    """What `POST /v1/checkout/sessions` takes. Prices are paid in their own currency, not in the payer's."""
    if order.method != LINK:
        raise ProviderRefused(f"Stripe takes no {order.method}: its page offers what the payer can pay by")
    lasts = (order.expires_at or order.created_at + _LONGEST) - order.created_at
    expires_at = order.created_at + min(max(lasts, _SHORTEST), _LONGEST)
    return {
        "mode": "payment",
        "client_reference_id": order.id,
        "metadata[order]": order.id,
        "payment_intent_data[metadata][order]": order.id,
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": order.price.currency.lower(),
        "line_items[0][price_data][unit_amount]": str(_amount(order.price)),
        "line_items[0][price_data][product_data][name]": f"Order {order.id}",
        "adaptive_pricing[enabled]": "false",
        "success_url": return_url,
        "cancel_url": return_url,
        "expires_at": str(int(expires_at.timestamp())),
    }


def _found(session: _Session) -> Found:
    """How an order stands by its session."""
    reference_id = session.client_reference_id or ""
    intent = session.payment_intent if isinstance(session.payment_intent, _Intent) else None
    if session.payment_status == "paid" and intent is not None:
        return replace(_paid(intent), reference_id=reference_id, provider_id=session.id)
    money = None if session.amount_total is None else _money(session.amount_total, session.currency or "")
    state, reason = "open", ""
    if session.payment_status == "paid":
        # By nothing that it names: for people to look at.
        state = "paid"
    elif session.status == "expired":
        state = "expired"
    elif session.status == "complete" and intent is not None and intent.status in _FAILED:
        state = "failed"
        reason = (intent.last_payment_error.code if intent.last_payment_error else None) or ""
    return Found(reference_id, session.id, state, "", money, reason=reason)


def _paid(intent: _Intent) -> Found:
    """The payment of an intent."""
    reference_id = (intent.metadata or {}).get("order", "")
    money = _money(intent.amount_received, intent.currency)
    return Found(reference_id, "", "paid", intent.id, money, paid_at=datetime.fromtimestamp(intent.created, UTC))


def _amount(money: Money) -> int:
    """Money in Stripe's units. Raises ProviderRefused for what Stripe has no unit for."""
    places, theirs = places_of(money.currency), _PLACES.get(money.currency, 2)
    amount, rest = divmod(money.minor * int(10**theirs), int(10**places))
    if rest:
        raise ProviderRefused(f"{money} cannot be paid with Stripe: it takes {theirs} places of {money.currency}")
    return amount


def _money(amount: int, currency: str) -> Money | None:
    """Money of Stripe's units; None for what is no money."""
    currency = currency.upper()
    try:
        minor, rest = divmod(amount * int(10 ** places_of(currency)), int(10 ** _PLACES.get(currency, 2)))
    except ValueError:
        return None
    return Money(minor, currency) if not rest and 0 < minor <= MAX_MINOR else None


def _prove(signature: str, body: bytes, secret: str, now: datetime) -> None:
    """Checks `t=…,v1=…,v1=…`: one of them must be the HMAC of time and body (webhooks/signature). Raises
    WebhookRefused, after the same work whatever is wrong."""
    fields = [each.strip().partition("=") for each in signature.split(",")]
    at = next((value for name, _, value in fields if name == "t"), "")
    signed = at.encode("utf-8", "surrogatepass") + b"." + body
    ours = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
    given = [value.encode("utf-8", "surrogatepass") for name, _, value in fields if name == "v1"]
    if not any([hmac.compare_digest(ours, each) for each in given]):  # noqa: C419 each of them, whichever it is
        raise WebhookRefused("the webhook's Stripe-Signature is not ours")
    if _TIME.fullmatch(at) is None or abs(now.timestamp() - int(at)) > TOLERANCE_S:
        raise WebhookRefused(f"the webhook was signed more than {TOLERANCE_S} s away from now")


def _notification(webhook: _Webhook) -> Notification:
    """What an event names (api/events/types). Its id is the same each time it comes."""
    if not is_id(webhook.id) or len(webhook.type) > 64:
        raise MalformedWebhook("the webhook cannot be read: its id or its type is none")
    about = webhook.data.object
    metadata = about.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    event = Notification(webhook.id, webhook.type)
    match about.get("object"):
        case "checkout.session":
            return replace(
                event,
                reference_id=id_in(about, "client_reference_id"),
                provider_id=id_in(about, "id"),
                payment_id=id_in(about, "payment_intent"),
            )
        case "payment_intent":
            return replace(event, reference_id=id_in(metadata, "order"), payment_id=id_in(about, "id"))
        case "charge":
            return replace(event, reference_id=id_in(metadata, "order"), payment_id=id_in(about, "payment_intent"))
        case "refund":
            return replace(event, refund_id=id_in(metadata, "refund"), payment_id=id_in(about, "payment_intent"))
    return event


def _explain(body: bytes) -> tuple[str, str]:
    """Code and message of an error: `{"error": {"type", "code", "message"}}`."""
    try:
        error = decode(body, _Error).error
    except ValueError:
        return "", ""
    return error.code or error.type, error.message or ""
