"""Each fault does what it says, alone and beside another."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from typing import Any

import httpx2
import pytest

from gateway.domain.errors import RefusedInput
from gateway.sandbox.faults import Faults, parse_faults
from tests.sandbox.asking import client, link, made, qris, refused
from tests.sandbox.test_paths import refund
from tests.support.sandbox import TOKEN, Clock, Sandbox

#: All of them, switched on.
ALL: dict[str, Any] = {
    "duplicate": 3, "reordered": True, "dropped": True, "late": True, "wrong_amount": True, "wrong_currency": True,
    "wrong_token": True, "slow_create": 60, "lost_create": 1, "lost_refund": 1, "failed_refund": True,
    "unavailable": 1, "slow_webhook": 30,
}  # fmt: skip


def delivered(sandbox: Sandbox, status: int = 200) -> list[tuple[str, str]]:
    """Posts all, and says which events came with which token."""
    seen: list[tuple[str, str]] = []

    def post(headers: dict[str, str], body: bytes) -> int:
        seen.append((httpx2.Response(200, content=body).json()["event"], headers["x-callback-token"]))
        return status

    sandbox.deliver(post)
    return seen


def test_without_faults_each_event_is_posted_once_in_its_order(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")
    sandbox.call("POST", "/refunds", refund(id))

    assert delivered(sandbox) == [("payment.capture", TOKEN), ("refund.succeeded", TOKEN)]
    assert delivered(sandbox) == []


def test_duplicate(sandbox: Sandbox) -> None:
    sandbox.fault(duplicate=3)
    made(sandbox)
    sandbox.pay("ord_1")

    assert delivered(sandbox) == [("payment.capture", TOKEN)] * 3


def test_reordered(sandbox: Sandbox) -> None:
    sandbox.fault(reordered=True)
    sandbox.call("POST", "/sessions", link())
    sandbox.pay("ord_1")

    assert [event for event, _ in delivered(sandbox)] == ["payment_session.completed", "payment.capture"]


def test_dropped(sandbox: Sandbox) -> None:
    sandbox.fault(dropped=True)
    made(sandbox)
    sandbox.pay("ord_1")

    assert delivered(sandbox) == []
    assert len(sandbox.paid("ord_1")) == 1


@pytest.mark.parametrize("how", ["expired", "canceled", "failed"])
def test_late(sandbox: Sandbox, clock: Clock, how: str) -> None:
    id = made(sandbox)
    if how == "expired":
        clock.forward(hours=48)
    else:
        sandbox.call("POST", f"/v3/payment_requests/{id}/cancel") if how == "canceled" else sandbox.bank.fail(id)
    before = refused(sandbox, "POST", f"/v3/payment_requests/{id}/simulate", {})

    sandbox.fault(late=True)
    sandbox.call("POST", f"/v3/payment_requests/{id}/simulate", {})

    assert before == (400, "INELIGIBLE_TRANSACTION")
    assert sandbox.call("GET", f"/v3/payment_requests/{id}")["status"] == "SUCCEEDED"
    assert len(sandbox.paid("ord_1")) == 1
    assert refused(sandbox, "POST", f"/v3/payment_requests/{id}/simulate", {})[0] == 400  # Not twice, however late.


def test_wrong_amount(sandbox: Sandbox) -> None:
    sandbox.fault(wrong_amount=True)
    made(sandbox)

    payment = sandbox.pay("ord_1")

    (move,) = sandbox.call("GET", "/transactions")["data"]
    assert payment["captures"][0]["capture_amount"] == move["amount"] == 10_001


def test_wrong_currency(sandbox: Sandbox) -> None:
    sandbox.fault(wrong_currency=True)
    made(sandbox)

    payment = sandbox.pay("ord_1")

    (move,) = sandbox.call("GET", "/transactions")["data"]
    assert payment["currency"] == move["currency"] == "SGD"


def test_wrong_token(sandbox: Sandbox) -> None:
    sandbox.fault(wrong_token=True)
    made(sandbox)
    sandbox.pay("ord_1")

    ((_, token),) = delivered(sandbox)
    assert token != TOKEN


def test_slow_create(sandbox: Sandbox) -> None:
    sandbox.fault(slow_create=60)
    with client(sandbox) as caller:
        with pytest.raises(httpx2.ReadTimeout):
            caller.post("/v3/payment_requests", json=qris(), timeout=10)
        patient = caller.post("/v3/payment_requests", json=qris(), timeout=90)

    assert patient.status_code == 201
    assert len(sandbox.bank.requests) == 2  # The first was made all the same.


@pytest.mark.parametrize(("path", "asked"), [("/v3/payment_requests", qris()), ("/sessions", link())])
def test_lost_create(sandbox: Sandbox, path: str, asked: dict[str, Any]) -> None:
    sandbox.fault(lost_create=1)
    with client(sandbox) as caller:
        with pytest.raises(httpx2.RemoteProtocolError):
            caller.post(path, json=asked)
        again = caller.post(path, json=asked)

    assert again.status_code == 201
    assert len(sandbox.bank.waiting()) == 2


def test_what_is_refused_is_not_lost(sandbox: Sandbox) -> None:
    sandbox.fault(lost_create=1)

    assert refused(sandbox, "POST", "/v3/payment_requests", {})[0] == 400
    assert sandbox.bank.faults.lost_create == 1


def test_lost_refund(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")
    sandbox.fault(lost_refund=True)
    with client(sandbox) as caller:
        for _ in range(2):  # true is every time.
            with pytest.raises(httpx2.RemoteProtocolError):
                caller.post("/refunds", json=refund(id), headers={"idempotency-key": "ref_1"})

    assert [each["status"] for each in sandbox.bank.refunds.values()] == ["SUCCEEDED"]


def test_failed_refund(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.pay("ord_1")
    sandbox.fault(failed_refund=True)

    answer = sandbox.call("POST", "/refunds", refund(id, amount=10_000))
    sandbox.fault(failed_refund=False)
    again = sandbox.call("POST", "/refunds", refund(id, amount=10_000))

    assert sandbox.call("GET", f"/refunds/{answer['id']}")["status"] == "FAILED"
    assert sandbox.call("GET", f"/refunds/{again['id']}")["status"] == "SUCCEEDED"
    assert [event for event, _ in delivered(sandbox)][1:] == ["refund.failed", "refund.succeeded"]


def test_unavailable(sandbox: Sandbox) -> None:
    sandbox.fault(unavailable=2)

    refusals = [refused(sandbox, "POST", "/v3/payment_requests", qris()) for _ in range(2)]

    assert refusals == [(503, "SERVER_ERROR")] * 2
    assert sandbox.bank.requests == {}
    made(sandbox)


def test_slow_webhook(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.fault(slow_webhook=30)
    made(sandbox)
    sandbox.pay("ord_1")

    early = sandbox.bank.outbox.take(clock.now)
    clock.forward(seconds=30)

    assert (early, len(sandbox.bank.outbox.take(clock.now))) == ([], 1)


@pytest.mark.parametrize("pair", list(combinations(ALL, 2)), ids=" ".join)
def test_two_faults_at_once_are_both_there(pair: tuple[str, str], sandbox: Sandbox, clock: Clock) -> None:
    """Whatever is on, the books stand: what came was paid once, and the webhooks tell of it or are not there."""
    on = {name: ALL[name] for name in pair}
    sandbox.fault(**on)
    with client(sandbox) as caller:
        for _ in range(3):
            with suppress(httpx2.TransportError):
                caller.post("/v3/payment_requests", json=qris())
        if "late" in on:
            clock.forward(hours=48)
        payment = caller.post("/sandbox/pay", json={"reference_id": "ord_1"}).json()
        asked = refund(payment["payment_request_id"], currency=payment["currency"], amount=1_000)
        with suppress(httpx2.TransportError):
            caller.post("/refunds", json=asked)
    told = delivered(sandbox)

    assert len(sandbox.bank.requests) == 3 - ("unavailable" in on)
    assert payment["captures"][0]["capture_amount"] == 10_000 + ("wrong_amount" in on)
    assert payment["currency"] == ("SGD" if "wrong_currency" in on else "IDR")
    captures = [token for event, token in told if event == "payment.capture"]
    assert len(captures) == (0 if "dropped" in on else 3 if "duplicate" in on else 1)
    assert all((token == TOKEN) != ("wrong_token" in on) for token in captures)
    (refunded,) = sandbox.bank.refunds.values()
    assert refunded["status"] == ("FAILED" if "failed_refund" in on else "SUCCEEDED")


# ── setting them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_faults_are_known_here() -> None:
    assert set(ALL) == set(Faults().as_json())


def test_faults_are_set_and_shown_while_it_runs(sandbox: Sandbox) -> None:
    set_to = sandbox.control("faults", {"duplicate": 2, "late": True})

    assert set_to == sandbox.call("GET", "/sandbox/faults") == Faults(duplicate=2, late=True).as_json()
    assert sandbox.control("faults", {"late": False})["duplicate"] == 2


@pytest.mark.parametrize(
    "asked",
    [{"nonsense": True}, {"duplicate": 0}, {"duplicate": True}, {"duplicate": 101}, {"late": 1}, {"late": "yes"},
     {"lost_create": -1}, {"slow_create": 1.5}, {"slow_webhook": 86_401}],
    ids=str,
)  # fmt: skip
def test_what_is_no_fault_is_refused_and_changes_nothing(sandbox: Sandbox, asked: dict[str, Any]) -> None:
    assert refused(sandbox, "POST", "/sandbox/faults", {"dropped": True} | asked)[0] == 400
    assert sandbox.bank.faults == Faults()


def test_a_command_line_names_them() -> None:
    assert parse_faults(["duplicate=3", "late", "lost_create=2"]) == Faults(duplicate=3, late=True, lost_create=2)


@pytest.mark.parametrize("word", ["nonsense", "duplicate", "duplicate=x", "late=1", "=3", ""])
def test_a_command_line_that_names_others_is_refused(word: str) -> None:
    with pytest.raises(RefusedInput):
        parse_faults([word])


# ── the other switches ───────────────────────────────────────────────────────────────────────────────────────────────


def test_its_time_can_be_moved(sandbox: Sandbox) -> None:
    id = made(sandbox)

    said = sandbox.control("clock", {"now": "2026-11-23T10:00:00+07:00"})["now"]
    later = sandbox.control("clock", {"forward_s": 60})["now"]

    assert (said, later) == ("2026-11-23T03:00:00.000Z", "2026-11-23T03:01:00.000Z")
    assert sandbox.call("GET", f"/v3/payment_requests/{id}")["status"] == "EXPIRED"


@pytest.mark.parametrize("asked", [{"now": "tomorrow"}, {"now": 5}, {"now": "2026-11-23T03:00:00"},
                                   {"forward_s": "1"}, {"forward_s": 10**30}], ids=str)  # fmt: skip
def test_a_time_that_is_none_is_refused(sandbox: Sandbox, asked: dict[str, Any]) -> None:
    assert refused(sandbox, "POST", "/sandbox/clock", asked)[0] == 400


def test_an_event_can_be_sent_that_never_was(sandbox: Sandbox) -> None:
    id = made(sandbox)
    for event in ("payment.capture", "payment.expiry", "payment.surprise"):
        sandbox.control("send", {"event": event, "id": id})

    assert [event for event, _ in delivered(sandbox)] == ["payment.capture", "payment.expiry", "payment.surprise"]
    assert sandbox.paid("ord_1") == []


def test_all_of_it_is_forgotten_at_a_word(sandbox: Sandbox) -> None:
    sandbox.fault(late=True)
    made(sandbox)
    sandbox.pay("ord_1")

    sandbox.control("reset", {})

    books = sandbox.call("GET", "/sandbox/payments")
    assert [books[name] for name in ("requests", "payments", "transactions")] == [{}, {}, []]
    assert (delivered(sandbox), sandbox.bank.faults) == ([], Faults())


def test_the_record_says_what_was_paid(sandbox: Sandbox) -> None:
    made(sandbox)
    payment = sandbox.pay("ord_1", 7_000)

    books = sandbox.call("GET", "/sandbox/payments")

    assert books["payments"] == {payment["payment_id"]: payment}
    assert payment["captures"][0]["capture_amount"] == 7_000
