"""Xendit's paths: what they answer, refuse and end in time."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from gateway.config.shapes.payments import BANKS
from gateway.sandbox import numbers
from gateway.sandbox.numbers import crc16, qr_string
from tests.sandbox.asking import client, link, made, qris, refused, va
from tests.support.sandbox import Clock, Sandbox

# ── asking for money ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_qr_code_is_shown_to_the_payer_and_lasts_two_days(sandbox: Sandbox) -> None:
    answer = sandbox.call("POST", "/v3/payment_requests", qris())

    (action,) = answer["actions"]
    assert (action["type"], action["descriptor"]) == ("PRESENT_TO_CUSTOMER", "QR_STRING")
    assert (answer["status"], answer["reference_id"], answer["request_amount"]) == ("REQUIRES_ACTION", "ord_1", 10_000)
    assert len(answer["payment_request_id"]) == 39  # As documented.
    assert answer["channel_properties"]["expires_at"] == "2026-11-23T03:00:00.000Z"
    assert sandbox.call("GET", f"/v3/payment_requests/{answer['payment_request_id']}") == answer


@pytest.mark.parametrize("bank", BANKS)
def test_each_bank_has_numbers_of_its_own(sandbox: Sandbox, bank: str) -> None:
    first, second = (
        sandbox.call("POST", "/v3/payment_requests", va(bank, expires_at="2026-11-22T10:00:00+07:00")) for _ in range(2)
    )

    (action,) = first["actions"]
    assert action["descriptor"] == "VIRTUAL_ACCOUNT_NUMBER"
    assert re.fullmatch(r"[0-9]{16,18}", action["value"])
    assert action["value"] != second["actions"][0]["value"]
    assert first["channel_properties"] == {"display_name": "Quotagate", "expires_at": "2026-11-22T03:00:00.000Z"}


def test_the_banks_are_those_of_the_config() -> None:
    assert tuple(numbers.BANKS) == BANKS


def test_a_link_leads_to_a_page_of_the_sandbox(sandbox: Sandbox) -> None:
    session = sandbox.call("POST", "/sessions", link())

    id = session["payment_session_id"]
    assert session["payment_link_url"] == f"http://sandbox.test/pay/{id}"
    assert (session["status"], session["expires_at"]) == ("ACTIVE", "2026-11-21T03:30:00.000Z")
    assert sandbox.call("GET", f"/sessions/{id}") == session


def test_a_reference_may_be_asked_for_twice(sandbox: Sandbox) -> None:
    assert made(sandbox) != made(sandbox)


def test_the_crc_is_the_one_of_emvco() -> None:
    assert crc16(b"123456789") == 0x29B1


def test_a_qr_code_says_how_much_and_ends_with_its_crc() -> None:
    said = qr_string(12_345, "ord_1")

    tags = dict(parsed(said))
    assert (tags["54"], tags["53"], tags["58"], tags["62"]) == ("12345", "360", "ID", "0505ord_1")
    assert tags["63"] == f"{crc16(said[:-4].encode()):04X}"


def parsed(said: str) -> list[tuple[str, str]]:
    found = []
    while said:
        length = int(said[2:4])
        found.append((said[:2], said[4 : 4 + length]))
        said = said[4 + length :]
    return found


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"request_amount": 0}, {"request_amount": 10_000_001}, {"request_amount": 10.5}, {"request_amount": "10000"},
        {"request_amount": True}, {"request_amount": -1}, {"currency": "USD"}, {"country": "PH"}, {"type": "SAVE"},
        {"channel_code": "OVO"}, {"reference_id": ""}, {"reference_id": None}, {"channel_properties": []},
        {"channel_code": "BCA_VIRTUAL_ACCOUNT"}, {"channel_properties": {"expires_at": "tomorrow"}},
        {"channel_properties": {"expires_at": "2026-11-21T02:59:59Z"}}, {"metadata": "x"},
        {"channel_properties": {"expires_at": "0001-01-01T00:00:00+14:00"}},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_asked_for_is_a_validation_error(sandbox: Sandbox, change: dict[str, Any]) -> None:
    assert refused(sandbox, "POST", "/v3/payment_requests", qris(**change)) == (400, "API_VALIDATION_ERROR")
    assert sandbox.bank.requests == {}


def test_a_whole_number_may_be_written_with_a_point(sandbox: Sandbox) -> None:
    body = b'{"request_amount": 1e4, ' + str(qris()).replace("'", '"').encode()[1:].replace(
        b'"request_amount": 10000,', b""
    )
    with client(sandbox) as caller:
        answer = caller.post("/v3/payment_requests", content=body)

    assert (answer.status_code, answer.json()["request_amount"]) == (201, 10_000)


def test_a_number_that_fills_the_memory_is_no_amount(sandbox: Sandbox) -> None:
    with client(sandbox) as caller:
        answer = caller.post("/v3/payment_requests", content=b'{"request_amount": 1e99999999}')

    assert (answer.status_code, answer.json()["error_code"]) == (400, "API_VALIDATION_ERROR")


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b'{"request_amount": NaN}', b"\xff", b'{"a": 1e999999999999}'])
def test_what_is_no_json_is_refused_as_that(sandbox: Sandbox, body: bytes) -> None:
    with client(sandbox) as caller:
        answer = caller.post("/v3/payment_requests", content=body)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v3/payment_requests/pr-1"), ("POST", "/v3/payment_requests/pr-1/cancel"),
        ("POST", "/v3/payment_requests/pr-1/simulate"), ("GET", "/v3/payments/py-1"), ("GET", "/sessions/ps-1"),
        ("POST", "/sessions/ps-1/cancel"), ("GET", "/refunds/rfd-1"), ("GET", "/transactions?after_id=txn_1"),
        ("POST", "/sandbox/nonsense"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(sandbox: Sandbox, method: str, path: str) -> None:
    assert refused(sandbox, method, path, {} if method == "POST" else None) == (404, "DATA_NOT_FOUND")


@pytest.mark.parametrize("path", ["/v3/payment_requests/pr-1", "/transactions", "/sandbox/payments", "/nothing"])
@pytest.mark.parametrize("secret", ["", "another", "schlüssel"])
def test_without_the_key_nothing_is_said(sandbox: Sandbox, path: str, secret: str) -> None:
    with client(sandbox, secret) as caller:
        answer = caller.get(path)

    assert (answer.status_code, answer.json()["error_code"]) == (401, "INVALID_API_KEY")


@pytest.mark.parametrize("header", ["", "Basic", "Basic ?", "Basic c2VjcmV0", "Bearer x", "Basic \xff"])
def test_another_header_than_the_key_is_refused(sandbox: Sandbox, header: str) -> None:
    with httpx2.Client(transport=sandbox.transport, base_url=sandbox.bank.address) as caller:
        answer = caller.get("/transactions", headers=[(b"authorization", header.encode("latin-1"))])

    assert answer.status_code == 401


@pytest.mark.parametrize("version", ["", "2020-01-01"])
def test_the_version_of_the_api_must_be_named(sandbox: Sandbox, version: str) -> None:
    with client(sandbox, **{"api-version": version}) as caller:
        answer = caller.post("/v3/payment_requests", json=qris())

    assert (answer.status_code, answer.json()["error_code"]) == (400, "API_VALIDATION_ERROR")


# ── paying, canceling, expiring ──────────────────────────────────────────────────────────────────────────────────────


def test_a_simulated_payment_is_one(sandbox: Sandbox) -> None:
    id = made(sandbox)

    answer = sandbox.call("POST", f"/v3/payment_requests/{id}/simulate", {"amount": 10_000})

    request = sandbox.call("GET", f"/v3/payment_requests/{id}")
    payment = sandbox.call("GET", f"/v3/payments/{request['latest_payment_id']}")
    assert answer["status"] == "PENDING"  # As Xendit: it says no more.
    assert request["status"] == payment["status"] == "SUCCEEDED"
    assert [capture["capture_amount"] for capture in payment["captures"]] == [10_000]
    assert (payment["payment_request_id"], payment["reference_id"], payment["currency"]) == (id, "ord_1", "IDR")


def test_it_is_paid_once(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")

    assert refused(sandbox, "POST", f"/v3/payment_requests/{id}/simulate", {}) == (400, "INELIGIBLE_TRANSACTION")
    assert refused(sandbox, "POST", f"/v3/payment_requests/{id}/cancel") == (400, "INELIGIBLE_TRANSACTION")
    assert len(sandbox.paid("ord_1")) == 1


@pytest.mark.parametrize("amount", [0, -5, 1.5, True])
def test_no_part_of_a_rupiah_is_paid(sandbox: Sandbox, amount: Any) -> None:
    id = made(sandbox)

    assert refused(sandbox, "POST", f"/v3/payment_requests/{id}/simulate", {"amount": amount})[0] == 400
    assert sandbox.paid("ord_1") == []


def test_a_canceled_request_cannot_be_paid(sandbox: Sandbox) -> None:
    id = made(sandbox)

    assert sandbox.call("POST", f"/v3/payment_requests/{id}/cancel")["status"] == "CANCELED"
    assert refused(sandbox, "POST", f"/v3/payment_requests/{id}/simulate", {}) == (400, "INELIGIBLE_TRANSACTION")


def test_a_request_expires_at_its_instant_and_not_before(sandbox: Sandbox, clock: Clock) -> None:
    answer = sandbox.call("POST", "/v3/payment_requests", va(expires_at="2026-11-21T04:00:00Z"))
    path = f"/v3/payment_requests/{answer['payment_request_id']}"

    clock.forward(minutes=59, seconds=59)
    before = sandbox.call("GET", path)["status"]
    clock.forward(seconds=1)
    after = sandbox.call("GET", path)["status"]

    assert (before, after) == ("REQUIRES_ACTION", "EXPIRED")
    assert refused(sandbox, "POST", f"{path}/simulate", {}) == (400, "INELIGIBLE_TRANSACTION")
    assert [message.event for message in sandbox.bank.outbox.waiting] == ["payment_request.expiry"]


def test_what_was_paid_does_not_expire(sandbox: Sandbox, clock: Clock) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")
    clock.forward(hours=49)

    assert sandbox.call("GET", f"/v3/payment_requests/{id}")["status"] == "SUCCEEDED"


def test_a_payment_that_failed_is_over_but_for_a_session(sandbox: Sandbox) -> None:
    id = made(sandbox)
    session = sandbox.call("POST", "/sessions", link(reference_id="ord_2"))["payment_session_id"]

    failed = sandbox.control("fail", {"id": id})
    sandbox.control("fail", {"id": session})
    sandbox.control("pay", {"id": session})

    assert (failed["status"], failed["captures"]) == ("FAILED", [])
    assert sandbox.call("GET", f"/v3/payment_requests/{id}")["failure_code"] == failed["failure_code"]
    assert sandbox.call("GET", f"/sessions/{session}")["status"] == "COMPLETED"


def test_a_session_that_is_paid_names_its_payment(sandbox: Sandbox) -> None:
    session = sandbox.call("POST", "/sessions", link(amount=20_000_000))

    payment = sandbox.pay("ord_1")

    found = sandbox.call("GET", f"/sessions/{session['payment_session_id']}")
    assert (found["status"], found["payment_id"]) == ("COMPLETED", payment["payment_id"])
    request = sandbox.call("GET", f"/v3/payment_requests/{found['payment_request_id']}")
    assert (request["reference_id"], request["request_amount"]) == ("ord_1", 20_000_000)
    assert [message.event for message in sandbox.bank.outbox.waiting] == [
        "payment.capture", "payment_session.completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"amount": 0}, {"amount": 1.5}, {"currency": "USD"}, {"mode": "COMPONENT"}, {"session_type": "SAVE"},
     {"expires_at": "2026-11-21T03:00:00Z"}, {"expires_at": "2026-11-22T03:00:00"}, {"reference_id": "x" * 256}],
    ids=str,
)  # fmt: skip
def test_a_session_that_cannot_be_is_a_validation_error(sandbox: Sandbox, change: dict[str, Any]) -> None:
    assert refused(sandbox, "POST", "/sessions", link(**change)) == (400, "API_VALIDATION_ERROR")
    assert sandbox.bank.sessions == {}


def test_a_session_ends_by_its_time_or_by_being_canceled(sandbox: Sandbox, clock: Clock) -> None:
    first, second = (sandbox.call("POST", "/sessions", link())["payment_session_id"] for _ in range(2))

    canceled = sandbox.call("POST", f"/sessions/{first}/cancel")["status"]
    clock.forward(minutes=30)

    assert (canceled, sandbox.call("GET", f"/sessions/{second}")["status"]) == ("CANCELED", "EXPIRED")
    assert [message.event for message in sandbox.bank.outbox.waiting] == ["payment_session.expired"]


# ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("payments", "pages"), [(1, 1), (4, 2), (5, 3)])
def test_transactions_come_in_pages_the_last_first(sandbox: Sandbox, clock: Clock, payments: int, pages: int) -> None:
    for number in range(payments):
        made(sandbox, reference_id=f"ord_{number}")
        sandbox.pay(f"ord_{number}")
        clock.forward(minutes=1)

    seen, after, more, asked = [], "", True, 0
    while more:
        asked += 1
        page = sandbox.call("GET", f"/transactions?types=PAYMENT&limit=2{after}")
        seen += [each["reference_id"] for each in page["data"]]
        after, more = f"&after_id={page['data'][-1]['id']}", page["has_more"]

    assert seen == [f"ord_{number}" for number in reversed(range(payments))]
    assert asked == pages


def test_transactions_are_found_by_reference_and_time(sandbox: Sandbox, clock: Clock) -> None:
    for number in (1, 11, 2):
        made(sandbox, reference_id=f"ord_{number}")
        sandbox.pay(f"ord_{number}")
        clock.forward(hours=1)

    def found(query: str) -> list[str]:
        return [each["reference_id"] for each in sandbox.call("GET", f"/transactions?{query}")["data"]]

    assert found("reference_id=ord_1") == ["ord_11", "ord_1"]  # A part is enough, as at Xendit.
    assert found("created[gte]=2026-11-21T04:00:00Z") == ["ord_2", "ord_11"]
    assert found("created[gte]=2026-11-21T03:30:00Z&created%5Blte%5D=2026-11-21T04:30:00Z") == ["ord_11"]
    assert found("types=REFUND") == []
    assert found("types=REFUND&types=PAYMENT&statuses=SUCCESS") == ["ord_2", "ord_11", "ord_1"]


@pytest.mark.parametrize("query", ["limit=0", "limit=51", "limit=x", "types=TRANSFER", "created[gte]=yesterday"])
def test_a_query_that_cannot_be_read_is_refused(sandbox: Sandbox, query: str) -> None:
    assert refused(sandbox, "GET", f"/transactions?{query}") == (400, "API_VALIDATION_ERROR")


# ── refunds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refund(id: str, **change: Any) -> dict[str, Any]:
    return {
        "reference_id": "ref_1", "payment_request_id": id, "currency": "IDR", "amount": 4_000,
        "reason": "REQUESTED_BY_CUSTOMER",
    } | change  # fmt: skip


def test_money_goes_back_until_nothing_is_left(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")

    first = sandbox.call("POST", "/refunds", refund(id))
    second = sandbox.call("POST", "/refunds", refund(id, amount=6_000, reference_id="ref_2"))

    assert first["status"] == "PENDING"
    assert sandbox.call("GET", f"/refunds/{first['id']}")["status"] == "SUCCEEDED"
    assert refused(sandbox, "POST", "/refunds", refund(id, amount=1)) == (400, "MAXIMUM_REFUND_AMOUNT_REACHED")
    listed = sandbox.call("GET", f"/refunds?payment_request_id={id}&limit=50")["data"]
    assert [each["id"] for each in listed] == [first["id"], second["id"]]
    moves = sandbox.call("GET", "/transactions?types=REFUND")["data"]
    assert [(move["amount"], move["cashflow"]) for move in moves] == [(6_000, "MONEY_OUT"), (4_000, "MONEY_OUT")]
    assert [message.event for message in sandbox.bank.outbox.waiting][1:] == ["refund.succeeded", "refund.succeeded"]


def test_a_refund_that_is_repeated_with_its_key_is_the_same_one(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")

    with client(sandbox, **{"idempotency-key": "ref_1"}) as caller:
        first, second = (caller.post("/refunds", json=refund(id)).json() for _ in range(2))

    assert first["id"] == second["id"]
    assert len(sandbox.bank.refunds) == 1


@pytest.mark.parametrize(
    "change", [{"currency": "USD"}, {"amount": 0}, {"amount": 10_001}, {"reason": "NONE"}, {"amount": 0.5}], ids=str
)
def test_a_refund_that_cannot_be_is_refused(sandbox: Sandbox, change: dict[str, Any]) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")

    assert refused(sandbox, "POST", "/refunds", refund(id, **change))[0] == 400
    assert sandbox.bank.refunds == {}


def test_what_was_not_paid_is_not_given_back(sandbox: Sandbox) -> None:
    assert refused(sandbox, "POST", "/refunds", refund(made(sandbox))) == (400, "INELIGIBLE_TRANSACTION")
