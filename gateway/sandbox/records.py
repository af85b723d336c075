"""The records of the bank, as new ones are written: JSON objects in the shapes of Xendit's documentation. Pure but for
ids, which are made by chance."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.sandbox.asked import AskedRefund, AskedRequest, AskedSession
from gateway.sandbox.numbers import account_number, qr_string

Record = dict[str, Any]

BUSINESS_ID = "5f27a14a9bf05c73dd040bc8"
#: How long a code of QRIS can be paid, and a page when nothing else was asked for.
QRIS_LASTS, SESSION_LASTS = timedelta(hours=48), timedelta(minutes=30)


def payment_request(asked: AskedRequest, now: datetime) -> Record:
    """What waits for a payer's money, at a QR code or at a number of a bank."""
    properties = asked.channel_properties
    ends_at = properties.expires_at
    if asked.channel_code == "QRIS":
        ends_at = min(ends_at or now + QRIS_LASTS, now + QRIS_LASTS)
        action = {"descriptor": "QR_STRING", "value": qr_string(asked.request_amount, asked.reference_id)}
    else:
        number = account_number(asked.channel_code.removesuffix("_VIRTUAL_ACCOUNT"))
        action = {"descriptor": "VIRTUAL_ACCOUNT_NUMBER", "value": number}
    said = {"display_name": properties.display_name, "expires_at": text(ends_at) if ends_at else ""}
    return {
        "payment_request_id": f"pr-{uuid.uuid4()}", "business_id": BUSINESS_ID, "reference_id": asked.reference_id,
        "type": "PAY", "country": "ID", "currency": "IDR", "request_amount": asked.request_amount,
        "capture_method": "AUTOMATIC", "channel_code": asked.channel_code,
        "channel_properties": {key: value for key, value in said.items() if value},
        "actions": [{"type": "PRESENT_TO_CUSTOMER"} | action], "status": "REQUIRES_ACTION",
        "description": asked.description, "metadata": asked.metadata, "created": text(now), "updated": text(now),
    }  # fmt: skip


def session(asked: AskedSession, address: str, now: datetime) -> Record:
    """A page to pay on, below an address."""
    id = f"ps-{uuid.uuid4().hex[:24]}"
    return {
        "payment_session_id": id, "business_id": BUSINESS_ID, "reference_id": asked.reference_id,
        "session_type": "PAY", "mode": "PAYMENT_LINK", "country": "ID", "currency": "IDR", "amount": asked.amount,
        "status": "ACTIVE", "locale": asked.locale, "description": asked.description, "metadata": asked.metadata,
        "expires_at": text(asked.expires_at or now + SESSION_LASTS), "success_return_url": asked.success_return_url,
        "cancel_return_url": asked.cancel_return_url, "payment_link_url": f"{address}/pay/{id}",
        "created": text(now), "updated": text(now),
    }  # fmt: skip


def payment(request: Record, amount: int, currency: str, now: datetime) -> Record:
    """Money that came for a payment request."""
    capture = {"capture_id": f"cap-{uuid.uuid4()}", "capture_timestamp": text(now), "capture_amount": amount}
    return failure(request, now) | {
        "status": "SUCCEEDED", "failure_code": None, "currency": currency, "captures": [capture],
    }  # fmt: skip


def failure(request: Record, now: datetime) -> Record:
    """A payment that the payer's bank has refused."""
    return {key: request[key] for key in _OF_REQUEST} | {
        "payment_id": f"py-{uuid.uuid4()}", "type": "SINGLE_PAYMENT", "status": "FAILED",
        "failure_code": "CHANNEL_REJECTED", "captures": [], "created": text(now), "updated": text(now),
    }  # fmt: skip


def refund(asked: AskedRefund, of: Record, amount: int, now: datetime) -> Record:
    """Money that is to go back, of a payment."""
    return {
        "id": f"rfd-{uuid.uuid4()}", "payment_request_id": of["payment_request_id"], "payment_id": of["payment_id"],
        "invoice_id": None, "reference_id": asked.reference_id, "channel_code": of["channel_code"],
        "currency": of["currency"], "amount": amount, "status": "PENDING", "reason": asked.reason,
        "failure_code": None, "refund_fee_amount": None, "metadata": asked.metadata, "created": text(now),
        "updated": text(now),
    }  # fmt: skip


def transaction(of: Record, now: datetime) -> Record:
    """What moved money: a payment or a refund."""
    is_refund = "id" in of
    channel = of["channel_code"].removesuffix("_VIRTUAL_ACCOUNT")
    amount = of["amount"] if is_refund else of["captures"][0]["capture_amount"]
    return {
        "id": f"txn_{uuid.uuid4()}", "product_id": of["id"] if is_refund else of["payment_id"],
        "product_data": {"payment_request_id": of["payment_request_id"]}, "type": "REFUND" if is_refund else "PAYMENT",
        "status": "SUCCESS", "channel_category": "QR_CODE" if channel == "QRIS" else "VIRTUAL_ACCOUNT",
        "channel_code": channel, "reference_id": of["reference_id"], "account_identifier": None,
        "currency": of["currency"], "amount": amount, "net_amount": amount,
        "cashflow": "MONEY_OUT" if is_refund else "MONEY_IN", "settlement_status": "PENDING",
        "business_id": BUSINESS_ID, "created": text(now), "updated": text(now),
    }  # fmt: skip


def webhook(event: str, data: Mapping[str, Any], now: datetime) -> Record:
    """What tells of an event: a copy of what it is about, which stays as it was."""
    told = {"event": event, "business_id": BUSINESS_ID, "created": text(now), "api_version": "v3"}
    return told | {"data": json.loads(json.dumps(data))}


def amount_of(wanted: Record) -> int:
    """What is to be paid for a payment request or a session, in rupiah."""
    amount: int = wanted["amount"] if "amount" in wanted else wanted["request_amount"]
    return amount


def ends_at(wanted: Record) -> datetime | None:
    """Until when a payment request or a session can be paid. None: for ever."""
    written = wanted.get("expires_at") or wanted.get("channel_properties", {}).get("expires_at")
    return None if written is None else instant(written)


def text(moment: datetime) -> str:
    """As Xendit writes instants: to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(written: str) -> datetime:
    return datetime.fromisoformat(written)


#: What a payment says of its payment request.
_OF_REQUEST = (
    "payment_request_id", "business_id", "reference_id", "country", "currency", "request_amount", "capture_method",
    "channel_code", "channel_properties", "description", "metadata",
)  # fmt: skip
