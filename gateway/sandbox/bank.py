"""The provider's books: what is asked for, what was paid and given back. No input or output but the file it is kept in.

Every record is the JSON object that Xendit answers with (`records.py`), so that what is shown, posted and kept is one
and the same. Amounts are whole rupiah.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gateway.domain.errors import RefusedInput
from gateway.sandbox import records
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
from gateway.sandbox.outbox import Outbox
from gateway.sandbox.records import Record, amount_of, instant, text

Clock = Callable[[], datetime]

#: What QRIS takes at the most.
QRIS_MOST = 10_000_000
#: What comes in place of rupiah, where other money comes than was asked for.
OTHER_CURRENCY = "SGD"

#: States in which a request or a session waits for its payer, and in which it has the money.
_OPEN, _PAID = ("REQUIRES_ACTION", "ACTIVE"), ("SUCCEEDED", "COMPLETED")
_BOOKS = ("requests", "sessions", "payments", "refunds", "transactions", "keys")


class Bank:
    """All that the provider knows. Each method may raise Refusal."""

    requests: dict[str, Record]
    sessions: dict[str, Record]
    payments: dict[str, Record]
    refunds: dict[str, Record]
    #: What moved money, the first first.
    transactions: list[Record]
    #: The refund that was asked for with an idempotency key.
    keys: dict[str, str]

    def __init__(
        self, *, clock: Clock = lambda: datetime.now(UTC), faults: Faults | None = None, state: Path | None = None
    ) -> None:
        """`state`: the file that its records are kept in from one start to the next; webhooks are not. Raises
        RefusedInput when it cannot be read."""
        self.faults = faults or Faults()
        self.outbox = Outbox()
        #: How far its time is ahead of the clock.
        self.ahead = timedelta()
        #: Where its pages are: what links begin with.
        self.address = ""
        self._clock = clock
        self._state = state
        self._open_books()
        if state is not None and state.is_file():
            self._load(state)

    def now(self) -> datetime:
        return self._clock() + self.ahead

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────

    def create_request(self, asked: AskedRequest) -> Record:
        """A QR code or a virtual account. The same reference may be asked for any number of times, as at Xendit."""
        now, properties = self.now(), asked.channel_properties
        if properties.expires_at is not None and properties.expires_at <= now:
            raise invalid('"channel_properties.expires_at" must be in the future')
        if asked.channel_code == "QRIS" and asked.request_amount > QRIS_MOST:
            raise invalid(f'"request_amount" must be from 1 to {QRIS_MOST} for QRIS')
        if asked.channel_code != "QRIS" and not properties.display_name:
            raise invalid('"channel_properties.display_name" is required')
        return self._add_request(asked, now)

    def request(self, id: str) -> Record:
        return _known(self.requests, id, "Payment request")

    def cancel_request(self, id: str) -> Record:
        return self._cancel(self.request(id))

    def create_session(self, asked: AskedSession) -> Record:
        """A page, on which the payer chooses how to pay."""
        now = self.now()
        if asked.expires_at is not None and asked.expires_at <= now:
            raise invalid('"expires_at" must be in the future')
        made = records.session(asked, self.address, now)
        self.sessions[made["payment_session_id"]] = made
        return made

    def session(self, id: str) -> Record:
        return _known(self.sessions, id, "Session")

    def cancel_session(self, id: str) -> Record:
        return self._cancel(self.session(id))

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

    # ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    def pay(self, id: str, amount: int | None = None) -> Record:
        """The money comes. Returns the payment. `amount`: another one than was asked for."""
        wanted = self._to_be_paid(id)
        request = self._chosen(wanted)
        amount = (amount_of(wanted) if amount is None else amount) + int(self.faults.wrong_amount)
        currency = OTHER_CURRENCY if self.faults.wrong_currency else request["currency"]
        payment = records.payment(request, amount, currency, self.now())
        self._add_payment(request, payment)
        self.transactions.append(records.transaction(payment, self.now()))
        self._tell("payment.capture", payment)
        if wanted is not request:
            named = {key: payment[key] for key in ("payment_id", "payment_request_id")}
            wanted |= named | {"status": "COMPLETED", "updated": payment["updated"]}
            self._tell("payment_session.completed", wanted)
        return payment

    def fail(self, id: str) -> Record:
        """The payer's bank refuses. Returns the payment that failed; a session can be paid all the same."""
        request = self._chosen(self._to_be_paid(id))
        payment = records.failure(request, self.now())
        self._add_payment(request, payment)
        self._tell("payment.failure", payment)
        return payment

    def expire(self) -> None:
        """Ends what could be paid until now."""
        now = self.now()
        for kept, event in ((self.requests, "payment_request.expiry"), (self.sessions, "payment_session.expired")):
            for wanted in kept.values():
                ends_at = records.ends_at(wanted)
                if wanted["status"] in _OPEN and ends_at is not None and ends_at <= now:
                    wanted |= {"status": "EXPIRED", "updated": text(now)}
                    self._tell(event, wanted)

    def payment(self, id: str) -> Record:
        return _known(self.payments, id, "Payment")

    def page(self, asked: AskedTransactions) -> Record:
        """A page of what moved money, the last first."""
        found = [
            each
            for each in reversed(self.transactions)
            if (not asked.types or each["type"] in asked.types)
            and (not asked.statuses or each["status"] in asked.statuses)
            and asked.reference_id in each["reference_id"]
            and (asked.created_from is None or instant(each["created"]) >= asked.created_from)
            and (asked.created_until is None or instant(each["created"]) <= asked.created_until)
        ]
        ids = [each["id"] for each in found]
        if asked.after_id and asked.after_id not in ids:
            raise not_found("after_id")
        begin = ids.index(asked.after_id) + 1 if asked.after_id else 0
        end = begin + asked.limit
        return {"has_more": end < len(found), "data": found[begin:end], "links": []}

    # ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_refund(self, asked: AskedRefund, key: str = "") -> Record:
        """Gives money back: pending in the answer, and done right after. `key`: a repeat with it is the same refund."""
        if key and key in self.keys:
            return self.refunds[self.keys[key]]
        request = self.request(asked.payment_request_id)
        payment = self.payments.get(request.get("latest_payment_id", ""))
        if payment is None or payment["status"] != "SUCCEEDED":
            raise ineligible(f"Payment request is {request['status']} and cannot be refunded")
        if asked.currency and asked.currency != payment["currency"]:
            raise invalid('"currency" is not the currency of the payment')
        given = [each for each in self.refunds_of(asked.payment_request_id) if each["status"] != "FAILED"]
        left = payment["captures"][0]["capture_amount"] - sum(each["amount"] for each in given)
        amount = left if asked.amount is None else asked.amount
        if not 0 < amount <= left:
            raise Refusal(HTTPStatus.BAD_REQUEST, "MAXIMUM_REFUND_AMOUNT_REACHED", f"{left} is left to be refunded")
        refund = records.refund(asked, payment, amount, self.now())
        answer = dict(refund)
        self.refunds[refund["id"]] = refund
        if key:
            self.keys[key] = refund["id"]
        self._end_refund(refund)
        return answer

    def refund(self, id: str) -> Record:
        return _known(self.refunds, id, "Refund")

    def refunds_of(self, request_id: str) -> list[Record]:
        """Those of a payment request."""
        self.request(request_id)
        return [refund for refund in self.refunds.values() if refund["payment_request_id"] == request_id]

    # ── the sandbox itself ───────────────────────────────────────────────────────────────────────────────────────────

    def send(self, event: str, id: str) -> None:
        """Tells of an event once more, or of one that never was. What it is about stays as it is."""
        self._tell(event, self.payments.get(id) or self.refunds.get(id) or self.payable(id))

    def record(self) -> Record:
        """All there is, for who wants to compare."""
        return self._books() | {"now": text(self.now())}

    def reset(self) -> None:
        """Forgets all: records, webhooks, faults, and how far it was ahead."""
        self._open_books()
        self.outbox = Outbox()
        self.faults = Faults()
        self.ahead = timedelta()

    def save(self) -> None:
        """Writes the file that it is kept in, where there is one."""
        if self._state is not None:
            beside = self._state.with_suffix(".new")
            beside.write_text(json.dumps(self._books()))
            beside.replace(self._state)

    # ── the helpers of the above ─────────────────────────────────────────────────────────────────────────────────────

    def _open_books(self) -> None:
        self.requests, self.sessions, self.payments, self.refunds = {}, {}, {}, {}
        self.transactions, self.keys = [], {}

    def _load(self, state: Path) -> None:
        try:
            kept = json.loads(state.read_text())
            books = {name: kept[name] for name in _BOOKS}
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedInput(f"{state} cannot be read; remove it, and the sandbox begins anew") from error
        vars(self).update(books)

    def _books(self) -> Record:
        return {name: getattr(self, name) for name in _BOOKS}

    def _add_request(self, asked: AskedRequest, now: datetime) -> Record:
        made = records.payment_request(asked, now)
        self.requests[made["payment_request_id"]] = made
        return made

    def _add_payment(self, request: Record, payment: Record) -> None:
        self.payments[payment["payment_id"]] = payment
        request |= {key: payment[key] for key in ("status", "failure_code", "updated")}
        request["latest_payment_id"] = payment["payment_id"]

    def _to_be_paid(self, id: str) -> Record:
        wanted = self.payable(id)
        status = wanted["status"]
        if status in _PAID or (status not in _OPEN and not self.faults.late):
            raise ineligible(f"It is {status} and cannot be paid")
        return wanted

    def _chosen(self, wanted: Record) -> Record:
        """The payment request that money comes for. Of a session it is made now: its payer has chosen QRIS."""
        if "payment_session_id" not in wanted:
            return wanted
        same = {key: wanted[key] for key in ("reference_id", "country", "currency", "description", "metadata")}
        asked = AskedRequest(type="PAY", channel_code="QRIS", request_amount=wanted["amount"], **same)
        return self._add_request(asked, self.now())

    def _cancel(self, wanted: Record) -> Record:
        if wanted["status"] not in _OPEN:
            raise ineligible(f"It is {wanted['status']} and cannot be canceled")
        wanted |= {"status": "CANCELED", "updated": text(self.now())}
        return wanted

    def _end_refund(self, refund: Record) -> None:
        now = self.now()
        refund["updated"] = text(now)
        if self.faults.failed_refund:
            refund |= {"status": "FAILED", "failure_code": "REFUND_FAILED"}
            self._tell("refund.failed", refund)
        else:
            refund["status"] = "SUCCEEDED"
            self.transactions.append(records.transaction(refund, now))
            self._tell("refund.succeeded", refund)

    def _tell(self, event: str, data: Mapping[str, Any]) -> None:
        now = self.now()
        self.outbox.put(event, records.webhook(event, data, now), now, self.faults)


def ineligible(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "INELIGIBLE_TRANSACTION", message)


def _known(kept: Mapping[str, Record], id: str, what: str) -> Record:
    if id not in kept:
        raise not_found(f"{what} {id}")
    return kept[id]
