"""The sandbox on a port: what only a network shows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from gateway.domain.errors import RefusedInput
from gateway.sandbox.app import MAX_BYTES
from gateway.sandbox.bank import Bank
from gateway.sandbox.desk import API_VERSION
from tests.sandbox.asking import made, qris
from tests.support.sandbox import SECRET, TOKEN, Clock, Sandbox, SandboxServer
from tests.support.upstream import Upstream, json_answer
from tests.support.waiting import until


@pytest.fixture
def receiver() -> Iterator[Upstream]:
    """Where webhooks go."""
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def server(receiver: Upstream) -> Iterator[SandboxServer]:
    running = SandboxServer(f"{receiver.url}/api/webhooks/xendit")
    yield running
    running.close()


@pytest.fixture
def caller(server: SandboxServer) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=server.url, auth=(SECRET, ""), headers={"api-version": API_VERSION}, timeout=20
    ) as client:
        yield client


def test_money_that_comes_is_told_to_the_gateway(caller: httpx2.Client, receiver: Upstream) -> None:
    id = caller.post("/v3/payment_requests", json=qris()).json()["payment_request_id"]
    caller.post(f"/v3/payment_requests/{id}/simulate", json={"amount": 10_000})

    (webhook,) = until(lambda: receiver.requests, what="the webhook")
    assert (webhook.method, webhook.target) == ("POST", "/api/webhooks/xendit")
    assert webhook.header("x-callback-token") == TOKEN
    assert webhook.json()["data"]["payment_request_id"] == id


def test_a_webhook_that_is_refused_comes_again(
    server: SandboxServer, caller: httpx2.Client, receiver: Upstream
) -> None:
    receiver.script = lambda request: json_answer({}, 500)
    made(server)
    server.pay("ord_1")
    until(lambda: len(receiver.requests) == 1 and server.posted, what="the first try")

    receiver.script = lambda request: json_answer({})
    caller.post("/sandbox/deliver", json={})

    until(lambda: len(receiver.requests) == 2, what="the second try")
    first, second = receiver.requests
    assert first.body == second.body


def test_a_lost_answer_is_a_connection_that_ends(server: SandboxServer, caller: httpx2.Client) -> None:
    server.fault(lost_create=1)

    with pytest.raises(httpx2.TransportError):
        caller.post("/v3/payment_requests", json=qris())

    assert len(server.bank.requests) == 1
    assert caller.post("/v3/payment_requests", json=qris()).status_code == 201


def test_a_slow_answer_comes_when_it_is_released(server: SandboxServer, caller: httpx2.Client) -> None:
    server.fault(slow_create=3600)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(caller.post, "/v3/payment_requests", json=qris())
        until(lambda: server.bank.requests, what="the request")
        waits = not asked.done()
        httpx2.post(f"{server.url}/sandbox/release", json={}, auth=(SECRET, ""))
        answer = asked.result(20)

    assert waits
    assert answer.status_code == 201


def test_what_expires_by_its_clock_is_told(server: SandboxServer, receiver: Upstream) -> None:
    made(server)

    server.clock.forward(hours=48)

    (webhook,) = until(lambda: receiver.requests, what="the webhook")
    assert webhook.json()["event"] == "payment_request.expiry"


def test_a_body_that_is_too_large_is_refused(caller: httpx2.Client) -> None:
    assert caller.post("/v3/payment_requests", content=b" " * (MAX_BYTES + 1)).status_code == 413


def test_the_page_may_load_and_run_nothing(server: SandboxServer) -> None:
    page = httpx2.get(f"{server.url}/pay/{made(server)}")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http" not in page.text.replace("https://shop.example", "")


def test_calls_at_once_are_all_done(server: SandboxServer, receiver: Upstream) -> None:
    with httpx2.Client(base_url=server.url, auth=(SECRET, ""), headers={"api-version": API_VERSION}) as caller:

        def pay(number: int) -> None:
            id = caller.post("/v3/payment_requests", json=qris(reference_id=f"ord_{number}")).json()
            caller.post(f"/v3/payment_requests/{id['payment_request_id']}/simulate", json={})

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(pay, range(40)))

    until(lambda: len(receiver.requests) == 40, what="the webhooks")
    told = {request.json()["data"]["reference_id"] for request in receiver.requests}
    assert told == {f"ord_{number}" for number in range(40)}


def test_what_it_knew_is_there_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "sandbox.json"
    first = Sandbox(clock, state=file)
    id = made(first)
    made(first, reference_id="ord_2")
    payment = first.pay("ord_2")

    again = Sandbox(clock, state=file)

    assert again.call("GET", f"/v3/payment_requests/{id}")["status"] == "REQUIRES_ACTION"
    assert again.paid("ord_2") == [payment]
    again.pay("ord_1")
    assert len(again.call("GET", "/transactions")["data"]) == 2
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_read_is_no_reason_to_start_without_it(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    for text in ("{", "[]", "{}"):
        file.write_text(text)
        with pytest.raises(RefusedInput, match=r"sandbox\.json cannot be read"):
            Bank(state=file)
