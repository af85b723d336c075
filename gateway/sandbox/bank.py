"""The provider's books: what is asked for, what was paid and given back. No input or output but the file it is kept in.

Every record is the JSON object that Xendit answers with, so that what is shown, posted and kept is one and the same.
Amounts are whole rupiah.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gateway.sandbox.asked import (
    AskedRefund,
    AskedRequest,
    AskedSession,
    AskedTransactions,
    Refusal,
    invalid,
    not_found,
)
from gateway.sandbox.faults import Faults
from gateway.sandbox.numbers import account_number, qr_string
from gateway.sandbox.outbox import Outbox

Record = dict[str, Any]
Clock = Callable[[], datetime]

BUSINESS_ID = "5f27a14a9bf05c73dd040bc8"
#: What QRIS takes, and how long a code of it can be paid.
QRIS_MOST, QRIS_LASTS = 10_000_000, timedelta(hours=48)
#: How long a page can be paid when nothing else was asked for.
SESSION_LASTS = timedelta(minutes=30)
#: What else than rupiah is paid when other money comes than was asked for.
OTHER_CURRENCY = "SGD"

#: States in which a request or a session waits for its payer.
_OPEN = ("REQUIRES_ACTION", "ACTIVE")
_PAID = ("SUCCEEDED", "COMPLETED")


class Bank:
    """All that the provider knows. Each method may raise Refusal."""

    def __init__(
        self, *, clock: Clock = lambda: datetime.now(UTC), faults: Faults | None = None, state: Path | None = None
    ) -> None:
        """`state`: the file that its records are kept in from one start to the next; webhooks are not."""
        self.faults = faults or Faults()
        self.outbox = Outbox()
        #: How far its time is ahead of the clock.
        self.ahead = timedelta()
        #: Where its pages are: what links begin with.
        self.address = ""
        self._clock = clock
        self._state = state
        self._clear()
        if state is not None and state.is_file():
            vars(self).update(json.loads(state.read_text()))

    def now(self) -> datetime:
        return self._clock() + self.ahead

    # ── payment requests ─────────────────────────────────────────────────────────────────────────────────────────────

    def create_request(self, asked: AskedRequest) -> Record:
        """A QR code or a virtual account. The same reference may be asked for any number of times, as at Xendit."""
        request = self._request(
            asked.reference_id, asked.request_amount, asked.channel_code, asked.channel_properties.expires_at,
            asked.description, asked.metadata,
        )  # fmt: skip
        if asked.channel_code != "QRIS":
            if not asked.channel_properties.display_name:
                raise invalid('"channel_properties.display_name" is required')
            request["channel_properties"]["display_name"] = asked.channel_properties.display_name
        self.requests[request["payment_request_id"]] = request
        return request

    def request(self, id: str) -> Record:
        return _known(self.requests, id, "Payment request")

    def cancel_request(self, id: str) -> Record:
        return self._cancel(self.request(id))

    # ── sessions: pages to pay on ────────────────────────────────────────────────────────────────────────────────────

    def create_session(self, asked: AskedSession) -> Record:
        id = f"ps-{uuid.uuid4().hex[:24]}"
        now = self.now()
        self.sessions[id] = {
            "payment_session_id": id, "business_id": BUSINESS_ID, "created": text(now), "updated": text(now),
            "status": "ACTIVE", "reference_id": asked.reference_id, "session_type": "PAY", "mode": "PAYMENT_LINK",
            "country": "ID", "currency": "IDR", "amount": asked.amount, "locale": asked.locale,
            "expires_at": text(asked.expires_at or now + SESSION_LASTS), "description": asked.description,
            "metadata": asked.metadata, "success_return_url": asked.success_return_url,
            "cancel_return_url": asked.cancel_return_url, "payment_link_url": f"{self.address}/pay/{id}",
        }  # fmt: skip
        return self.sessions[id]

    def session(self, id: str) -> Record:
        return _known(self.sessions, id, "Session")

    def cancel_session(self, id: str) -> Record:
        return self._cancel(self.session(id))

    # ── what payers do ───────────────────────────────────────────────────────────────────────────────────────────────

    def payable(self, id: str) -> Record:
        """What can be paid under an id: a payment request or a session."""
        return self.session(id) if id.startswith("ps-") else self.request(id)

    def waiting(self) -> dict[str, Record]:
        """What waits for its payer, by id, the last first."""
        return {
            id: wanted
            for kept in (self.sessions, self.requests)
            for id, wanted in reversed(kept.items())
            if wanted["status"] in _OPEN
        }

    def pay(self, id: str, amount: int | None = None) -> Record:
        """The money comes. Returns the payment. `amount`: another one than was asked for."""
        wanted = self.payable(id)
        self._may_be_paid(wanted)
        request = self._chosen(wanted)
        payment = self._payment(request, amount_of(wanted) if amount is None else amount)
        request |= {"status": "SUCCEEDED", "latest_payment_id": payment["payment_id"], "updated": payment["updated"]}
        self._tell("payment.capture", payment)
        if wanted is not request:
            wanted |= {"status": "COMPLETED", "updated": payment["updated"]}
            wanted |= {key: payment[key] for key in ("payment_id", "payment_request_id")}
            self._tell("payment_session.completed", wanted)
        return payment

    def fail(self, id: str) -> Record:
        """The payer's bank refuses. Returns the payment that failed; a session can be paid all the same."""
        wanted = self.payable(id)
        self._may_be_paid(wanted)
        request = self._chosen(wanted)
        payment = self._payment(request, None)
        ended = {"status": "FAILED", "failure_code": payment["failure_code"], "updated": payment["updated"]}
        request |= ended | {"latest_payment_id": payment["payment_id"]}
        self._tell("payment.failure", payment)
        return payment

    def expire(self) -> None:
        """Ends what could be paid until now."""
        now = self.now()
        for kept, event in ((self.requests, "payment_request.expiry"), (self.sessions, "payment_session.expired")):
            for wanted in kept.values():
                ends_at = _ends_at(wanted)
                if wanted["status"] in _OPEN and ends_at is not None and ends_at <= now:
                    wanted |= {"status": "EXPIRED", "updated": text(now)}
                    self._tell(event, wanted)

    # ── what was paid ────────────────────────────────────────────────────────────────────────────────────────────────

    def payment(self, id: str) -> Record:
        return _known(self.payments, id, "Payment")

    def transactions(self, asked: AskedTransactions) -> Record:
        """A page of what moved money, the last first."""
        moves = [
            move
            for move in reversed(self.moves)
            if (not asked.types or move["type"] in asked.types)
            and (not asked.statuses or move["status"] in asked.statuses)
            and asked.reference_id in move["reference_id"]
            and (asked.created_from is None or instant(move["created"]) >= asked.created_from)
            and (asked.created_until is None or instant(move["created"]) <= asked.created_until)
        ]
        ids = [move["id"] for move in moves]
        if asked.after_id and asked.after_id not in ids:
            raise not_found("after_id")
        begin = ids.index(asked.after_id) + 1 if asked.after_id else 0
        page = moves[begin : begin + asked.limit]
        return {"has_more": begin + asked.limit < len(moves), "data": page, "links": []}

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_refund(self, asked: AskedRefund, key: str = "") -> Record:
        """Gives money back: pending in the answer, and done right after. `key`: a repeat with it is the same refund."""
        if key and key in self.keys:
            return self.refunds[self.keys[key]]
        request = self.request(asked.payment_request_id)
        payment = self.payments.get(request.get("latest_payment_id", ""), {})
        if payment.get("status") != "SUCCEEDED":
            raise ineligible(f"Payment request is {request['status']} and cannot be refunded")
        paid = payment["captures"][0]["capture_amount"]
        left = paid - sum(each["amount"] for each in self._refunds_of(request) if each["status"] != "FAILED")
        amount = left if asked.amount is None else asked.amount
        if (asked.currency or payment["currency"]) != payment["currency"]:
            raise invalid('"currency" is not the currency of the payment')
        if not 0 < amount <= left:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "MAXIMUM_REFUND_AMOUNT_REACHED", f"{left} is left of the payment to refund"
            )
        now = text(self.now())
        refund = {
            "id": f"rfd-{uuid.uuid4()}", "payment_request_id": request["payment_request_id"],
            "payment_id": payment["payment_id"], "invoice_id": None, "reference_id": asked.reference_id,
            "channel_code": request["channel_code"], "currency": payment["currency"], "amount": amount,
            "status": "PENDING", "reason": asked.reason, "failure_code": None, "refund_fee_amount": None,
            "metadata": asked.metadata, "created": now, "updated": now,
        }  # fmt: skip
        answer = dict(refund)
        self.refunds[refund["id"]] = refund
        if key:
            self.keys[key] = refund["id"]
        self._end_refund(refund)
        return answer

    def refund(self, id: str) -> Record:
        return _known(self.refunds, id, "Refund")

    def refunds_of(self, request_id: str) -> Record:
        """GET /refunds."""
        return {"has_more": False, "data": list(self._refunds_of(self.request(request_id)))}

    # ── the sandbox itself ───────────────────────────────────────────────────────────────────────────────────────────

    def send(self, event: str, id: str) -> None:
        """Posts an event once more, or one that never happened: what it is about stands as it stands."""
        data = self.payments.get(id) or self.refunds.get(id) or self.payable(id)
        self._tell(event, data)

    def record(self) -> Record:
        """All there is, for who wants to compare."""
        return {name: getattr(self, name) for name in _BOOKS} | {"now": text(self.now())}

    def reset(self) -> None:
        """Forgets all: records, webhooks, faults, and the time it was ahead."""
        self._clear()
        self.outbox = Outbox()
        self.faults = Faults()
        self.ahead = timedelta()

    def save(self) -> None:
        """Writes the file that it is kept in, where there is one."""
        if self._state is not None:
            beside = self._state.with_suffix(".new")
            beside.write_text(json.dumps({name: getattr(self, name) for name in _BOOKS}))
            beside.replace(self._state)

    # ── the helpers of the above ─────────────────────────────────────────────────────────────────────────────────────

    def _clear(self) -> None:
        self.requests: dict[str, Record] = {}
        self.sessions: dict[str, Record] = {}
        self.payments: dict[str, Record] = {}
        self.refunds: dict[str, Record] = {}
        #: Transactions, the first first.
        self.moves: list[Record] = []
        #: The refund that was asked for with an idempotency key.
        self.keys: dict[str, str] = {}

    def _request(
        self, reference: str, amount: int, channel: str, ends_at: datetime | None, description: str,
        metadata: Record,
    ) -> Record:  # fmt: skip
        now = self.now()
        if ends_at is not None and ends_at <= now:
            raise invalid('"channel_properties.expires_at" must be in the future')
        if channel == "QRIS":
            if amount > QRIS_MOST:
                raise invalid(f'"request_amount" must be from 1 to {QRIS_MOST} for QRIS')
            ends_at = min(ends_at or now + QRIS_LASTS, now + QRIS_LASTS)
            descriptor, value = "QR_STRING", qr_string(amount, reference)
        else:
            descriptor, value = "VIRTUAL_ACCOUNT_NUMBER", account_number(channel.removesuffix("_VIRTUAL_ACCOUNT"))
        return {
            "payment_request_id": f"pr-{uuid.uuid4()}", "business_id": BUSINESS_ID, "reference_id": reference,
            "type": "PAY", "country": "ID", "currency": "IDR", "request_amount": amount, "capture_method": "AUTOMATIC",
            "channel_code": channel, "channel_properties": {} if ends_at is None else {"expires_at": text(ends_at)},
            "actions": [{"type": "PRESENT_TO_CUSTOMER", "descriptor": descriptor, "value": value}],
            "status": "REQUIRES_ACTION", "description": description, "metadata": metadata, "created": text(now),
            "updated": text(now),
        }  # fmt: skip

    def _chosen(self, wanted: Record) -> Record:
        """The payment request that money comes for. Of a session it is made when its payer has chosen QRIS."""
        if "payment_request_id" in wanted and "payment_session_id" not in wanted:
            return wanted
        made = self._request(
            wanted["reference_id"], min(wanted["amount"], QRIS_MOST), "QRIS", None, wanted["description"],
            wanted["metadata"],
        )  # fmt: skip
        made["request_amount"] = wanted["amount"]
        self.requests[made["payment_request_id"]] = made
        return made

    def _payment(self, request: Record, amount: int | None) -> Record:
        """A payment of so much, or one that failed."""
        now = text(self.now())
        payment = {
            "payment_id": f"py-{uuid.uuid4()}", "type": "SINGLE_PAYMENT", "captures": [],
            "status": "FAILED" if amount is None else "SUCCEEDED",
        } | {key: request[key] for key in _OF_REQUEST} | {"created": now, "updated": now}  # fmt: skip
        self.payments[payment["payment_id"]] = payment
        if amount is None:
            payment["failure_code"] = "CHANNEL_REJECTED"
            return payment
        amount += int(self.faults.wrong_amount)
        if self.faults.wrong_currency:
            payment["currency"] = OTHER_CURRENCY
        payment["captures"] = [
            {"capture_id": f"cap-{uuid.uuid4()}", "capture_timestamp": now, "capture_amount": amount}
        ]
        self._move("PAYMENT", payment["payment_id"], request["reference_id"], request, payment["currency"], amount)
        return payment

    def _end_refund(self, refund: Record) -> None:
        refund["updated"] = text(self.now())
        if self.faults.failed_refund:
            refund |= {"status": "FAILED", "failure_code": "REFUND_FAILED"}
            self._tell("refund.failed", refund)
            return
        refund["status"] = "SUCCEEDED"
        request = self.requests[refund["payment_request_id"]]
        self._move("REFUND", refund["id"], refund["reference_id"], request, refund["currency"], refund["amount"])
        self._tell("refund.succeeded", refund)

    def _move(self, kind: str, of: str, reference: str, request: Record, currency: str, amount: int) -> None:
        code = request["channel_code"].removesuffix("_VIRTUAL_ACCOUNT")
        now = text(self.now())
        self.moves.append({
            "id": f"txn_{uuid.uuid4()}", "product_id": of,
            "product_data": {"payment_request_id": request["payment_request_id"]}, "type": kind, "status": "SUCCESS",
            "channel_category": "QR_CODE" if code == "QRIS" else "VIRTUAL_ACCOUNT", "channel_code": code,
            "reference_id": reference, "account_identifier": None, "currency": currency, "amount": amount,
            "net_amount": amount, "cashflow": "MONEY_IN" if kind == "PAYMENT" else "MONEY_OUT",
            "settlement_status": "PENDING", "business_id": BUSINESS_ID, "created": now, "updated": now,
        })  # fmt: skip

    def _refunds_of(self, request: Record) -> Iterator[Record]:
        id = request["payment_request_id"]
        return (refund for refund in self.refunds.values() if refund["payment_request_id"] == id)

    def _may_be_paid(self, wanted: Record) -> None:
        status = wanted["status"]
        if status in _PAID or (status not in _OPEN and not self.faults.late):
            raise ineligible(f"It is {status} and cannot be paid")

    def _cancel(self, wanted: Record) -> Record:
        if wanted["status"] not in _OPEN:
            raise ineligible(f"It is {wanted['status']} and cannot be canceled")
        wanted |= {"status": "CANCELED", "updated": text(self.now())}
        return wanted

    def _tell(self, event: str, data: Mapping[str, Any]) -> None:
        now = self.now()
        body = {"event": event, "business_id": BUSINESS_ID, "created": text(now), "api_version": "v3"}
        self.outbox.put(event, body | {"data": json.loads(json.dumps(data))}, now, self.faults)


def amount_of(wanted: Record) -> int:
    """What is to be paid for a payment request or a session."""
    amount: int = wanted["amount"] if "amount" in wanted else wanted["request_amount"]
    return amount


def ineligible(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "INELIGIBLE_TRANSACTION", message)


def text(moment: datetime) -> str:
    """As Xendit writes instants."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(written: str) -> datetime:
    return datetime.fromisoformat(written)


_BOOKS = ("requests", "sessions", "payments", "refunds", "moves", "keys")
_OF_REQUEST = (
    "payment_request_id", "business_id", "reference_id", "country", "currency", "request_amount", "capture_method",
    "channel_code", "channel_properties", "description", "metadata",
)  # fmt: skip


def _known(kept: Mapping[str, Record], id: str, what: str) -> Record:
    if id not in kept:
        raise not_found(f"{what} {id}")
    return kept[id]


def _ends_at(wanted: Record) -> datetime | None:
    written = wanted.get("expires_at") or wanted.get("channel_properties", {}).get("expires_at")
    return None if written is None else instant(written)
