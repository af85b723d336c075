"""Who is let in, and how many: concurrency on one balance, keys and their end, the trusted header."""

from __future__ import annotations

import asyncio
import json

import httpx2

from tests.support.config import route
from tests.support.processes import GatewaySystem
from tests.support.upstream import Upstream, Wait, json_answer, openai_json
from tests.support.waiting import until

CONFIG = {"more": route("/one", "openai-chat", "one") + "[operations.one]\nprice = 1\n"}
ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}]}


def test_two_hundred_calls_at_once_on_room_for_37_admit_exactly_37(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("crowd", "payg")
    system.cli("grant", "crowd", "37", "--id", "g1", "--reason", "room for 37")
    shared_upstream.script = lambda request: json_answer(openai_json())
    arrived = len(shared_upstream.requests)

    async def all_at_once() -> list[int]:
        limits = httpx2.Limits(max_connections=200)
        async with httpx2.AsyncClient(base_url=system.url, limits=limits, timeout=60) as client:
            calls = [client.post("/one", json=ASK, headers={"x-api-key": key}) for _ in range(200)]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    statuses = asyncio.run(all_at_once())

    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 37
    assert len(shared_upstream.requests) - arrived == 37
    balance = system.balance("crowd")
    assert (balance["left"], balance["held"], balance["spent"]) == (0, 0, 37)
    system.drained()
    assert len([event for event in system.usage("crowd") if event["outcome"] == "settled"]) == 37


def test_what_is_held_by_an_open_call_is_not_there_for_another(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    key = system.key("held", "payg")
    system.cli("grant", "held", "1", "--id", "g1", "--reason", "room for one")
    gate = Wait()
    shared_upstream.script = lambda request: [gate, *json_answer(openai_json())]

    async def two() -> tuple[int, int]:
        async with httpx2.AsyncClient(base_url=system.url, headers={"x-api-key": key}, timeout=60) as client:
            first = asyncio.create_task(client.post("/one", json=ASK))
            await asyncio.to_thread(until, lambda: system.balance("held")["held"] == 1)
            second = await client.post("/one", json=ASK)
            gate.until.set()
            return (await first).status_code, second.status_code

    assert asyncio.run(two()) == (200, 429)


def test_a_revoked_key_is_refused_within_five_seconds(system: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())
    key = system.key("revoked", "pro")
    with httpx2.Client(base_url=system.url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.post("/one", json=ASK).status_code == 200
        system.cli("keys", "revoke", key)
        until(lambda: client.post("/one", json=ASK).status_code == 401, 5, "the refusal")


def test_a_backend_that_knows_its_users_names_them_by_the_trusted_header(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())
    secret = {"X-Gateway-Secret": "a secret of the backend"}
    named = httpx2.post(
        f"{system.url}/v1/chat/completions", json=ASK, headers=secret | {"X-User-Id": "ana@example.org"}
    )
    wrong = httpx2.post(
        f"{system.url}/v1/chat/completions",
        json=ASK,
        headers={"X-Gateway-Secret": "wrong", "X-User-Id": "ana@example.org"},
    )
    alone = httpx2.post(f"{system.url}/v1/chat/completions", json=ASK, headers={"X-User-Id": "ana@example.org"})

    assert (named.status_code, wrong.status_code, alone.status_code) == (200, 401, 401)
    balance = system.balance("ana@example.org")
    assert (balance["tier"], balance["left"], balance["spent"]) == ("free", 19, 1)
    sent = [name for name, _ in shared_upstream.requests[-1].headers]
    assert "x-gateway-secret" not in sent
    assert "x-user-id" not in sent


def test_what_is_no_route_never_goes_upstream(system: GatewaySystem, shared_upstream: Upstream) -> None:
    key = system.key("paths", "pro")
    arrived = len(shared_upstream.requests)
    with httpx2.Client(base_url=system.url, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/files").status_code == 404
        assert client.get("/v1/files").json()["code"] == "not_found"
        assert client.get("/one").status_code == 405
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "x",
            "Sec-WebSocket-Version": "13",
        }
        refused = client.get("/one", headers=upgrade)
        assert (refused.status_code, refused.json()["error"]["code"]) == (501, "websocket_not_supported")
        assert client.post("/one", content=b"{not json").json()["error"]["code"] == "invalid_request_body"
        assert client.post("/v1beta/models/..%2f..%2fadmin", json=ASK).status_code == 400
    assert len(shared_upstream.requests) == arrived


def test_a_request_that_is_too_large_is_refused_before_it_is_held(system: GatewaySystem) -> None:
    key = system.key("large", "pro")
    body = json.dumps(ASK | {"pad": "x" * 21_000_000}).encode()
    answer = httpx2.post(f"{system.url}/one", content=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert system.balance("large")["requests"] == 0
