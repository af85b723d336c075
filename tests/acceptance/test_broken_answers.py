"""Answers that do not come to a good end, and clients that leave: what the account pays then (DESIGN section 3)."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.support.config import route
from tests.support.processes import GatewaySystem
from tests.support.servers import free_port
from tests.support.upstream import (
    CLOSE,
    DONE,
    END,
    RESET,
    Upstream,
    Wait,
    chunk,
    json_answer,
    openai_chunk,
    openai_json,
    openai_usage_chunk,
    sse,
    stream_answer,
    stream_head,
)
from tests.support.waiting import until

CONFIG = {
    "first_byte_s": 1,
    "idle_s": 1,
    "more": "\n".join(
        [
            route("/stop", "openai-chat", extra='on_disconnect = "stop"\ntimeouts = { idle_s = 30 }'),
            route("/drain", "openai-chat", extra="drain_s = 1\ntimeouts = { idle_s = 30 }"),
            route("/drain-long", "openai-chat", extra="drain_s = 30\ntimeouts = { idle_s = 30 }"),
            route("/dify", "dify"),
            route("/dify-fixed", "dify", "fixed"),
            f'[upstreams.nowhere]\nbase_url = "http://127.0.0.1:{free_port()}"',
            route("/nowhere", "openai-chat").replace('"main"', '"nowhere"'),
        ]
    ),
}
ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000}
ASK_STREAM = ASK | {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
def account(system: GatewaySystem, request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name.replace("[", "-").replace("]", "")[:190]


@pytest.fixture
def client(system: GatewaySystem, account: str) -> Iterator[httpx2.Client]:
    key = system.key(account, "pro")
    with httpx2.Client(base_url=system.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as made:
        yield made


def settled(system: GatewaySystem, account: str) -> dict[str, Any]:
    """The account once nothing is held."""
    return until(lambda: (b := system.balance(account))["held"] == 0 and b, 30, "the end of the hold") or {}


def last_usage(system: GatewaySystem, account: str) -> dict[str, Any]:
    system.drained()
    return until(lambda: system.usage(account), 20, "the usage event")[-1]


def test_an_upstream_that_answers_500_costs_nothing_and_its_answer_passes_as_it_is(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    problem = {"error": {"message": "the model is on fire", "type": "server_error"}}
    shared_upstream.script = lambda request: json_answer(problem, 500, "Retry-After: 7\r\n")
    answer = client.post("/v1/chat/completions", json=ASK)

    assert (answer.status_code, answer.json()) == (500, problem)
    assert answer.headers["retry-after"] == "7"
    assert settled(system, account)["spent"] == 0
    event = last_usage(system, account)
    assert (event["outcome"], event["cost"], event["status"]) == ("released", 0, 500)


def test_an_upstream_that_cannot_be_reached_costs_nothing(
    system: GatewaySystem, client: httpx2.Client, account: str
) -> None:
    answer = client.post("/nowhere", json=ASK)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert settled(system, account)["spent"] == 0


def test_an_upstream_that_hangs_before_its_answer_is_given_up_and_costs_nothing(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    shared_upstream.script = lambda request: [Wait()]
    answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert settled(system, account)["spent"] == 0


def test_an_upstream_that_hangs_in_its_stream_is_cut_off_and_what_came_is_charged(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    words = [openai_chunk("word ") for _ in range(40)]
    shared_upstream.script = lambda request: [stream_head(), *(chunk(word) for word in words), Wait()]
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.stream("POST", "/v1/chat/completions", json=ASK_STREAM) as got,
    ):
        list(got.iter_bytes())

    spent = settled(system, account)["spent"]
    event = last_usage(system, account)
    assert event["estimated"] is True
    assert 20 <= event["output_tokens"] <= 80
    assert spent == event["cost"] == event["total_tokens"]


@pytest.mark.parametrize("end", [RESET, CLOSE], ids=["reset", "close"])
def test_an_upstream_that_breaks_off_its_stream_is_charged_for_what_came_and_the_client_sees_the_break(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str, end: object
) -> None:
    gate = Wait()
    words = [chunk(openai_chunk("word ")) for _ in range(40)]
    shared_upstream.script = lambda request: [stream_head(), *words, gate, end]
    with client.stream("POST", "/v1/chat/completions", json=ASK_STREAM) as got:
        pieces = got.iter_bytes()
        next(pieces)
        gate.until.set()
        with pytest.raises(httpx2.RemoteProtocolError):
            list(pieces)

    spent = settled(system, account)["spent"]
    event = last_usage(system, account)
    assert event["estimated"] is True
    assert 20 <= event["output_tokens"] <= 80
    assert spent == event["cost"]


def test_a_json_answer_that_breaks_off_costs_nothing_because_the_client_got_nothing(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    shared_upstream.script = lambda request: [head + json.dumps(openai_json()).encode(), CLOSE]
    answer = client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_broken"
    assert settled(system, account)["spent"] == 0


def test_an_answer_without_usage_is_charged_by_an_estimate_that_is_marked(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    body = openai_json()
    del body["usage"]
    body["choices"][0]["message"]["content"] = "word " * 100
    shared_upstream.script = lambda request: json_answer(body)
    assert client.post("/v1/chat/completions", json=ASK).status_code == 200

    spent = settled(system, account)["spent"]
    event = last_usage(system, account)
    assert event["estimated"] is True
    assert 80 <= event["output_tokens"] <= 200
    assert event["input_tokens"] > 0
    assert spent == event["cost"]


def test_a_stream_without_usage_is_charged_by_an_estimate_that_is_marked(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    pieces = [openai_chunk("word ") for _ in range(100)]
    shared_upstream.script = lambda request: stream_answer([*pieces, DONE])
    assert client.post("/v1/chat/completions", json=ASK_STREAM).content == b"".join(pieces) + DONE

    event = last_usage(system, account)
    assert event["estimated"] is True
    assert 50 <= event["output_tokens"] <= 200
    assert settled(system, account)["spent"] == event["cost"]


def test_an_error_inside_a_dify_stream_gives_a_fixed_price_back(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    error = sse({"event": "error", "status": 400, "code": "provider_quota_exceeded", "message": "no quota"})
    shared_upstream.script = lambda request: stream_answer([error])
    ask = {"query": "Hello", "user": "u", "response_mode": "streaming", "inputs": {}}
    assert client.post("/dify-fixed", json=ask).content == error
    assert settled(system, account)["spent"] == 0


@contextlib.contextmanager
def leaving_client(system: GatewaySystem, key: str, path: str) -> Iterator[socket.socket]:
    """A client that reads the first bytes of a stream and may then leave."""
    body = json.dumps(ASK_STREAM).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", system.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        got = b""
        while b"word" not in got:
            got += connection.recv(65536)
        yield connection


def test_a_client_that_leaves_pays_exactly_what_the_whole_answer_used(
    system: GatewaySystem, shared_upstream: Upstream, account: str
) -> None:
    gate = Wait()
    shared_upstream.script = lambda request: [
        stream_head(),
        chunk(openai_chunk("word ")),
        gate,
        chunk(openai_usage_chunk(10, 77)),
        chunk(DONE),
        END,
    ]
    key = system.key(account, "pro")
    with leaving_client(system, key, "/drain-long"):
        pass
    gate.until.set()

    event = last_usage(system, account)
    assert (event["outcome"], event["output_tokens"], event["estimated"]) == ("settled", 77, False)
    assert settled(system, account)["spent"] == 87


@pytest.mark.parametrize("path", ["/drain", "/stop"])
def test_a_call_whose_client_left_is_stopped_upstream_and_what_was_counted_is_charged(
    system: GatewaySystem, shared_upstream: Upstream, account: str, path: str
) -> None:
    words = [chunk(openai_chunk("word ")) for _ in range(30)]
    shared_upstream.script = lambda request: [stream_head(), *words, Wait()]
    stopped = shared_upstream.stopped
    key = system.key(account, "pro")
    with leaving_client(system, key, path):
        pass

    until(lambda: shared_upstream.stopped > stopped, 20, "the end of the upstream call")
    event = last_usage(system, account)
    assert event["estimated"] is True
    assert 15 <= event["output_tokens"] <= 60
    assert settled(system, account)["spent"] == event["cost"]


def test_a_fixed_price_is_charged_for_a_success_and_given_back_for_a_failure(
    system: GatewaySystem, shared_upstream: Upstream, client: httpx2.Client, account: str
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())
    assert client.post("/fixed", json=ASK).status_code == 200
    shared_upstream.script = lambda request: json_answer({"error": {"message": "no"}}, 400)
    assert client.post("/fixed", json=ASK).status_code == 400
    assert settled(system, account)["spent"] == 3


def test_a_free_operation_is_served_with_an_empty_balance_and_metered(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("free-operation", "payg")
    shared_upstream.script = lambda request: json_answer(openai_json())
    answer = httpx2.post(f"{system.url}/free", json=ASK, headers={"api-key": key})
    assert answer.status_code == 200
    event = last_usage(system, "free-operation")
    assert (event["cost"], event["total_tokens"], event["operation"]) == (0, 46, "free")
