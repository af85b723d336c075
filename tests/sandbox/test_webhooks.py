"""How webhooks are posted: what they say, when again, and when never again."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from gateway.sandbox import courier
from gateway.sandbox.outbox import REORDER_S, RETRY_S, Outcome
from tests.sandbox.asking import link, made
from tests.sandbox.test_paths import refund
from tests.support.sandbox import TOKEN, WEBHOOK_URL, Clock, Sandbox

Receive = Callable[[httpx2.Request], httpx2.Response]


def post_due(sandbox: Sandbox, receive: Receive) -> int:
    """Posts what is due by the clock, and nothing else."""
    with httpx2.Client(transport=httpx2.MockTransport(receive)) as client:
        return courier.post_due(sandbox.desk, client, WEBHOOK_URL)


def taking(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(204)


def refusing(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(500)


def hanging(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadTimeout("The read operation timed out", request=request)


def away(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("Connection refused", request=request)


@pytest.fixture
def paid(sandbox: Sandbox) -> Sandbox:
    """A sandbox with one webhook to post."""
    made(sandbox)
    sandbox.pay("ord_1")
    return sandbox


def test_a_capture_says_what_was_paid_and_proves_itself(paid: Sandbox) -> None:
    seen: list[httpx2.Request] = []

    def receive(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    post_due(paid, receive)

    (request,) = seen
    body = httpx2.Response(200, content=request.read()).json()
    assert str(request.url) == WEBHOOK_URL
    assert request.headers["x-callback-token"] == TOKEN
    assert body["event"] == "payment.capture"
    assert body["created"] == "2026-11-21T03:00:00.000Z"
    assert body["data"] == paid.paid("ord_1")[0]
    assert body["data"].keys() > {"payment_id", "status", "payment_request_id", "request_amount", "currency",
                                  "channel_code", "reference_id"}  # fmt: skip


def test_a_webhook_says_what_held_when_it_happened(sandbox: Sandbox) -> None:
    id = made(sandbox)
    sandbox.bank.expire()
    sandbox.control("send", {"event": "payment_request.expiry", "id": id})
    sandbox.pay("ord_1")

    assert [message.body["data"]["status"] for message in sandbox.bank.outbox.waiting] == [
        "REQUIRES_ACTION", "SUCCEEDED",
    ]  # fmt: skip


def test_each_thing_that_happens_has_its_event(sandbox: Sandbox, clock: Clock) -> None:
    first = made(sandbox, reference_id="ord_1")
    sandbox.pay("ord_1")
    sandbox.call("POST", "/refunds", refund(first))
    sandbox.control("fail", {"id": made(sandbox, reference_id="ord_2")})
    made(sandbox, reference_id="ord_3")
    sandbox.call("POST", "/sessions", link(reference_id="ord_4"))
    clock.forward(hours=48)
    sandbox.bank.expire()

    assert [message.event for message in sandbox.bank.outbox.waiting] == [
        "payment.capture", "refund.succeeded", "payment.failure", "payment_request.expiry", "payment_session.expired",
    ]  # fmt: skip


@pytest.mark.parametrize("receive", [refusing, away], ids=["refusing", "away"])
def test_one_that_is_refused_is_posted_again_and_in_the_end_given_up(
    paid: Sandbox, clock: Clock, receive: Receive
) -> None:
    tries = post_due(paid, receive)
    for pause_s in RETRY_S:
        clock.forward(seconds=pause_s - 1)
        assert post_due(paid, receive) == 0
        clock.forward(seconds=1)
        tries += post_due(paid, receive)
    clock.forward(days=2)

    assert (tries, post_due(paid, receive)) == (1 + len(RETRY_S), 0)
    assert {outcome for _, outcome in paid.posted} == {Outcome.REFUSED}


def test_one_that_is_taken_later_is_not_posted_again(paid: Sandbox, clock: Clock) -> None:
    post_due(paid, refusing)
    clock.forward(seconds=RETRY_S[0])
    post_due(paid, taking)
    clock.forward(days=2)

    assert post_due(paid, taking) == 0
    assert [outcome for _, outcome in paid.posted] == [Outcome.REFUSED, Outcome.TAKEN]


def test_one_that_was_not_answered_in_time_is_never_posted_again(paid: Sandbox, clock: Clock) -> None:
    post_due(paid, hanging)
    clock.forward(days=2)

    assert post_due(paid, taking) == 0
    assert [outcome for _, outcome in paid.posted] == [Outcome.TIMEOUT]


def test_reordered_ones_wait_for_others_to_overtake_them(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.fault(reordered=True)
    sandbox.call("POST", "/sessions", link())
    sandbox.pay("ord_1")

    early = post_due(sandbox, taking)
    clock.forward(seconds=REORDER_S)
    post_due(sandbox, taking)

    assert early == 0
    assert [message.event for message, _ in sandbox.posted] == ["payment_session.completed", "payment.capture"]


def test_what_is_held_back_is_delivered_at_a_word(sandbox: Sandbox) -> None:
    sandbox.fault(slow_webhook=3600)
    made(sandbox)
    sandbox.pay("ord_1")
    waiting = sandbox.call("GET", "/sandbox/webhooks")["waiting"]

    sandbox.control("deliver", {})
    post_due(sandbox, taking)

    assert waiting == [{"event": "payment.capture", "due": "2026-11-21T04:00:00.000Z", "tries": 0}]
    assert sandbox.call("GET", "/sandbox/webhooks") == {
        "waiting": [], "posted": [{"event": "payment.capture", "outcome": "taken"}],
    }  # fmt: skip
