"""Webhooks of payment providers at the door: proved first, never believed about money, and never a 500."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from gateway.ledger.sales import payments, webhook_events
from gateway.payments import webhooks
from tests.api.market import WEBHOOKS, Market
from tests.api.user.door import Door, told
from tests.support.sandbox import TOKEN

PROVED = {"x-callback-token": TOKEN, "content-type": "application/json"}


def capture(order: str, **data: Any) -> bytes:
    said = {"payment_id": "py-1", "payment_request_id": "pr-1", "status": "SUCCEEDED", "reference_id": order} | data
    event = {"event": "payment.capture", "business_id": "b", "created": "2026-11-20T00:00:00Z", "data": said}
    return json.dumps(event).encode()


def rows(market: Market) -> int:
    with market.ledger.connect() as connection:
        counts = [connection.execute(select(func.count()).select_from(table)) for table in (webhook_events, payments)]
    return sum(count.scalar_one() for count in counts)


def test_a_webhook_has_the_payment_credited_and_comes_again_without_effect(market: Market) -> None:
    bought = market.buy()
    market.sandbox.fault(duplicate=3)
    market.sandbox.pay(bought["id"])

    assert market.deliver() == [200, 200, 200]

    assert market.left() == 15 + 5500
    (seen,) = market.get("/api/payments")["items"]
    assert seen["state"] == "credited"
    with market.ledger.connect() as connection:
        (event,) = connection.execute(select(webhook_events)).all()
    assert (event.times, event.outcome) == (3, "applied")


@pytest.mark.parametrize(
    "token", [{}, {"x-callback-token": ""}, {"x-callback-token": "another"}, {"x-callback-token": TOKEN + "x"},
              {"x-callback-token": "tök".encode()}, {"authorization": f"Bearer {TOKEN}"}],
)  # fmt: skip
def test_without_the_token_nothing_is_heard(market: Market, token: dict[str, Any]) -> None:
    bought = market.buy()
    market.sandbox.pay(bought["id"])

    answer = market.hear(capture(bought["id"]), headers={"content-type": "application/json"} | token)

    assert told(answer, 401)["code"] == "invalid_webhook"
    assert TOKEN not in answer.text
    assert rows(market) == 0


def test_what_a_webhook_says_of_money_is_not_believed(market: Market) -> None:
    bought = market.buy()
    (request,) = market.sandbox.bank.requests.values()

    said = capture(bought["id"], payment_request_id=request["payment_request_id"])
    answer = market.hear(said, headers=PROVED)

    assert answer.status_code == 200
    assert market.get(f"/api/payments/{bought['id']}")["state"] == "pending"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"event": 1, "data": {}}', b'{"event": "payment.capture"}',
     b'{"data": {}}', b"[" * 100_000, b'{"event":"payment.capture","data":{"payment_id":{}}}',
     b'{"event":"%s","data":{}}' % (b"x" * 65)],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_logged_without_its_body(
    market: Market, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = market.hear(body, headers=PROVED)

    assert told(answer, 400)["code"] == "malformed_webhook"
    assert "a webhook of xendit was refused" in caplog.text
    assert rows(market) == 0


@pytest.mark.parametrize("event", ["a.new.one", "payment.capture", "refund.succeeded", "x" * 64])
def test_an_event_of_nothing_that_we_know_is_recorded_and_not_acted_on(market: Market, event: str) -> None:
    body = json.dumps({"event": event, "data": {"reference_id": "ord_nobody", "payment_id": "py-9"}}).encode()

    answer = market.hear(body, headers=PROVED)

    assert told(answer, 200) == {"outcome": "ignored"}
    assert rows(market) == 1


@pytest.mark.parametrize(("size", "declared"), [(256 * 1024 + 1, True), (256 * 1024 + 1, False), (10_000_000, True),
                                                (10_000_000, False)])  # fmt: skip
@pytest.mark.parametrize("token", [TOKEN, "another"])
def test_a_large_body_is_refused_before_it_is_whole(market: Market, size: int, declared: bool, token: str) -> None:
    async def pieces() -> Any:
        for _ in range(0, size, 65_536):
            yield b" " * 65_536

    content: Any = b" " * size if declared else pieces()
    (answer,) = market.together(("POST", WEBHOOKS, {"content": content, "headers": {"x-callback-token": token}}))

    assert told(answer, 413)["code"] == "request_too_large"


def test_a_provider_that_is_not_set_up_is_not_heard(market: Market, door: Door) -> None:
    for heard, path in ((market, "/api/webhooks/stripe"), (door, WEBHOOKS), (door, "/api/webhooks/stripe")):
        (answer,) = heard.together(("POST", path, {"content": b"{}", "headers": PROVED}))
        assert told(answer, 404)["code"] == "not_found"
    (answer,) = market.together(("GET", WEBHOOKS, {}))
    assert told(answer, 405)["code"] == "method_not_allowed"


def test_a_ledger_that_is_away_has_the_provider_send_it_again(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(webhooks, "receive", away)

    answer = market.hear(capture("ord_x"), headers=PROVED)

    assert told(answer, 503)["code"] == "ledger_unavailable"


def test_a_provider_that_cannot_be_asked_now_is_asked_later(market: Market) -> None:
    bought = market.buy()
    market.sandbox.pay(bought["id"])
    (request,) = market.sandbox.bank.requests.values()
    market.sandbox.fault(unavailable=True)

    answer = market.hear(capture(bought["id"], payment_request_id=request["payment_request_id"]), headers=PROVED)

    assert told(answer, 200) == {"outcome": "waiting"}
    market.sandbox.fault(unavailable=0)
    market.stale()
    assert market.get(f"/api/payments/{bought['id']}")["state"] == "credited"
