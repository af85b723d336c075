"""One request in, one reply out: Xendit's paths over the bank, the switches of the sandbox, and the page for payers.

Pure but for the bank: `app.py` serves it to the network, and tests call it without one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from gateway.domain.errors import RefusedInput
from gateway.sandbox import page
from gateway.sandbox.asked import (
    AskedPayment,
    AskedRefund,
    AskedRequest,
    AskedSession,
    AskedTime,
    AskedTransactions,
    Refusal,
    check,
    invalid,
    not_found,
    read,
    read_object,
)
from gateway.sandbox.bank import Bank
from gateway.sandbox.records import Record, amount_of, text

API_VERSION = "2024-11-11"

_SERVER_ERROR = "An unexpected error occured, our team has been notified and will troubleshoot the issue"


@dataclass(frozen=True, slots=True)
class Request:
    """What came: over HTTP, or from a test."""

    method: str
    #: With its query.
    target: str
    #: By lower-case names.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer, and how."""

    status: int
    body: bytes
    content_type: str = "application/json"
    #: The connection ends instead: nobody hears of it.
    is_lost: bool = False
    #: To be answered after so many seconds, or once `Desk.releases` has changed.
    wait_s: int = 0


class Desk:
    """Where the bank is called. One call at a time, from any thread."""

    def __init__(self, bank: Bank, *, secret: str, token: str) -> None:
        """`secret`: the key that calls must show; `token`: what webhooks carry."""
        self.bank = bank
        self.token = token
        self.lock = threading.RLock()
        #: How often replies that wait were let go.
        self.releases = 0
        self._secret = secret

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.bank.expire()
            try:
                reply = self._answer(request)
            except Refusal as refusal:
                reply = _error(refusal.status, refusal.error_code, refusal.message)
            except RefusedInput as error:
                reply = _error(HTTPStatus.BAD_REQUEST, "API_VALIDATION_ERROR", str(error))
            if request.method != "GET":
                self.bank.save()
            return reply

    def _answer(self, request: Request) -> Reply:
        path, _, query = request.target.partition("?")
        parts = tuple(path.strip("/").split("/"))
        if parts == ("healthz",):
            return _json({"status": "ok"})
        if parts[0] == "pay":
            return self._page(request.method, parts)
        if not self._is_authorised(request):
            return _error(HTTPStatus.UNAUTHORIZED, "INVALID_API_KEY", "API key format is invalid")
        if parts[0] == "sandbox":
            return self._control(request, parts)
        if self.bank.faults.unavailable:
            self._once_less("unavailable")
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "SERVER_ERROR", _SERVER_ERROR)
        if parts[0] == "v3" and request.headers.get("api-version") != API_VERSION:
            raise invalid(f'header "api-version" must be {API_VERSION}')
        return self._xendit(request, parts, query)

    def _is_authorised(self, request: Request) -> bool:
        """Basic auth, the key as the user, and no password."""
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        try:
            shown = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(shown, f"{self._secret}:".encode())

    # ── Xendit's paths ───────────────────────────────────────────────────────────────────────────────────────────────

    def _xendit(self, request: Request, parts: Sequence[str], query: str) -> Reply:
        bank, body = self.bank, request.body
        match request.method, *parts:
            case "POST", "v3", "payment_requests":
                return self._created(_json(bank.create_request(read(AskedRequest, body)), HTTPStatus.CREATED))
            case "GET", "v3", "payment_requests", id:
                return _json(bank.request(id))
            case "POST", "v3", "payment_requests", id, "cancel":
                return _json(bank.cancel_request(id))
            case "POST", "v3", "payment_requests", id, "simulate":
                bank.request(id)
                bank.pay(id, read(AskedPayment, body).amount)
                return _json({"status": "PENDING", "message": f"A payment of {id} is being processed."})
            case "GET", "v3", "payments", id:
                return _json(bank.payment(id))
            case "POST", "sessions":
                return self._created(_json(bank.create_session(read(AskedSession, body)), HTTPStatus.CREATED))
            case "GET", "sessions", id:
                return _json(bank.session(id))
            case "POST", "sessions", id, "cancel":
                return _json(bank.cancel_session(id))
            case "GET", "transactions":
                return _json(bank.page(check(AskedTransactions, _query(query))))
            case "POST", "refunds":
                made = bank.create_refund(read(AskedRefund, body), request.headers.get("idempotency-key", ""))
                return self._lost_by("lost_refund", _json(made))
            case "GET", "refunds":
                found = bank.refunds_of(dict(parse_qsl(query)).get("payment_request_id", ""))
                return _json({"has_more": False, "data": found})
            case "GET", "refunds", id:
                return _json(bank.refund(id))
        raise Refusal(HTTPStatus.NOT_FOUND, "NOT_FOUND", "The requested resource was not found")

    def _created(self, reply: Reply) -> Reply:
        reply = self._lost_by("lost_create", reply)
        return Reply(reply.status, reply.body, is_lost=reply.is_lost, wait_s=self.bank.faults.slow_create)

    def _lost_by(self, fault: str, reply: Reply) -> Reply:
        if not getattr(self.bank.faults, fault):
            return reply
        self._once_less(fault)
        return Reply(reply.status, reply.body, is_lost=True)

    def _once_less(self, fault: str) -> None:
        self.bank.faults = self.bank.faults.once_less(fault)

    # ── the sandbox's own ────────────────────────────────────────────────────────────────────────────────────────────

    def _control(self, request: Request, parts: Sequence[str]) -> Reply:
        if request.method == "GET" and len(parts) == 2 and parts[1] in self._shown:
            return _json(self._shown[parts[1]]())
        if request.method == "POST" and len(parts) == 2 and parts[1] in self._done:
            return _json(self._done[parts[1]](request.body) or {})
        raise not_found("/".join(parts))

    @property
    def _shown(self) -> Mapping[str, Callable[[], Any]]:
        return {
            "faults": self.bank.faults.as_json,
            "payments": self.bank.record,
            "webhooks": self._webhooks,
        }

    @property
    def _done(self) -> Mapping[str, Callable[[bytes], Record | None]]:
        return {
            "faults": self._set_faults,
            "clock": self._set_clock,
            "pay": self._pay,
            "fail": lambda body: self.bank.fail(self._named(read(AskedPayment, body))),
            "send": self._send,
            "release": self._release,
            "deliver": lambda _: self.bank.outbox.hasten(self.bank.now()),
            "reset": self._reset,
        }

    def _set_faults(self, body: bytes) -> Record:
        self.bank.faults = self.bank.faults.with_changes(read_object(body))
        return self.bank.faults.as_json()

    def _set_clock(self, body: bytes) -> Record:
        asked, bank = read(AskedTime, body), self.bank
        bank.ahead += timedelta(seconds=asked.forward_s)
        if asked.now is not None:
            bank.ahead += asked.now - bank.now()
        bank.expire()
        return {"now": text(bank.now())}

    def _pay(self, body: bytes) -> Record:
        asked = read(AskedPayment, body)
        return self.bank.pay(self._named(asked), asked.amount)

    def _send(self, body: bytes) -> None:
        asked = read(AskedPayment, body)
        self.bank.send(asked.event, self._named(asked))

    def _named(self, asked: AskedPayment) -> str:
        if asked.id:
            return asked.id
        for kept in (self.bank.sessions, self.bank.requests):
            found = [id for id, each in kept.items() if each["reference_id"] == asked.reference_id]
            if found:
                return found[-1]
        raise not_found(f"reference_id {asked.reference_id}")

    def _release(self, _: bytes) -> None:
        self.releases += 1

    def _reset(self, _: bytes) -> None:
        self.releases += 1
        self.bank.reset()

    def _webhooks(self) -> Record:
        outbox = self.bank.outbox
        return {
            "waiting": [
                {"event": each.event, "due": text(each.due_at), "tries": each.tries} for each in outbox.waiting
            ],
            "posted": [{"event": each.event, "outcome": outcome.value} for each, outcome in outbox.posted],
        }

    # ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _page(self, method: str, parts: Sequence[str]) -> Reply:
        """Whoever is on this machine may pay: there is no money in it."""
        if len(parts) == 1:
            return _html(page.waiting(self.bank.waiting()), HTTPStatus.OK)
        status, note = HTTPStatus.OK, ""
        try:
            wanted = self.bank.payable(parts[1])
            if method == "POST":
                act = self.bank.fail if parts[2:] == ("fail",) else self.bank.pay
                act(parts[1])
        except Refusal as refusal:
            if refusal.status is HTTPStatus.NOT_FOUND:
                return _html(page.nothing(), HTTPStatus.NOT_FOUND)
            status, note = refusal.status, refusal.message
        return _html(page.payable(parts[1], wanted, amount_of(wanted), note), status)


def _json(body: Any, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    return Reply(status, json.dumps(body).encode())


def _html(body: str, status: HTTPStatus) -> Reply:
    return Reply(status, body.encode(), "text/html; charset=utf-8")


def _error(status: HTTPStatus, error_code: str, message: str) -> Reply:
    return _json({"error_code": error_code, "message": message}, status)


def _query(query: str) -> dict[str, Any]:
    """types and statuses may come several times."""
    pairs = parse_qsl(query, keep_blank_values=True)
    lists = {name: [value for each, value in pairs if each == name] for name in ("types", "statuses")}
    return dict(pairs) | {name: values for name, values in lists.items() if values}
