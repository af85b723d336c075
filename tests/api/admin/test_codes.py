"""`/api/admin/codes` and rewards that operators give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.ledger import database
from gateway.rewards.redemptions import redeem
from tests.api.admin.conftest import Desk
from tests.rewards.giving import REWARDS
from tests.support.config import config_text

NEW = {"name": "spring", "amount": 50, "count": 3}


@pytest.fixture
def desk(redis_client: redis.Redis, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(redis_client, database.sqlite_url(tmp_path), config_text(more=REWARDS))
    yield made
    made.system.ledger.dispose()


def test_a_batch_is_made_once_and_read(desk: Desk) -> None:
    made = desk.do("POST", "codes/batches", NEW | {"reason": "a fair"}, again="k1")

    assert desk.do("POST", "codes/batches", NEW | {"reason": "a fair"}, again="k1") == made
    assert desk.get(f"codes/batches/{made['id']}") == made
    assert desk.get("codes/batches") == {"items": [made], "next_cursor": None}
    assert (made["codes"], made["uses"], made["max_uses"], made["actor"]) == (3, 0, 1, "admin:root")
    assert desk.acts() == [("admin:root", "codes.create", f"codes:{made['id']}")]


def test_codes_are_listed_and_exported_with_their_uses(desk: Desk) -> None:
    id = desk.do("POST", "codes/batches", NEW)["id"]
    [first, *_] = desk.get(f"codes/batches/{id}/codes", limit=2)["items"]
    redeem(desk.system, "ada", first["code"], "w1")

    answer = desk.ask("GET", f"/api/admin/codes/batches/{id}/export")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == f'attachment; filename="{id}.csv"'
    header, *lines = answer.text.splitlines()
    assert header.startswith("code,batch,name,amount,uses")
    assert lines[0] == f"{first['code']},{id},spring,50,1,1,,"
    assert len(lines) == 3


def test_a_code_tells_who_has_redeemed_it(desk: Desk) -> None:
    desk.do("POST", "codes/batches", {"name": "all", "amount": 5, "code": "WELCOME2026", "max_uses": 9})
    redeem(desk.system, "ada", "welcome2026", "w1")

    found = desk.get("codes/welcome-2026")

    assert (found["code"], found["uses"], found["batch"]["name"]) == ("WELCOME2026", 1, "all")
    [redemption] = found["redemptions"]["items"]
    assert (redemption["account"], redemption["grant_id"]) == ("ada", "code:WELCOME2026:1")


def test_a_batch_is_voided(desk: Desk) -> None:
    id = desk.do("POST", "codes/batches", NEW)["id"]

    voided = desk.do("POST", f"codes/batches/{id}/void", {"reason": "leaked"})

    assert voided["voided_at"] is not None
    assert desk.do("POST", f"codes/batches/{id}/void") == voided
    assert ("admin:root", "codes.void", f"codes:{id}") in desk.acts()


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"count": 0}, 422, "invalid_request"),
        ({"count": 100_001}, 422, "invalid_request"),
        ({"amount": 0}, 422, "invalid_request"),
        ({"code": "no"}, 422, "invalid_request"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 422, "invalid_request"),
        ({"name": ""}, 422, "invalid_request"),
        ({"code": "TAKEN", "count": 1}, 409, "conflict"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(desk: Desk, change: dict[str, Any], status: int, code: str) -> None:
    desk.do("POST", "codes/batches", {"name": "first", "amount": 1, "code": "taken"})

    assert desk.refused("POST", "codes/batches", NEW | change)[:2] == (status, code)


@pytest.mark.parametrize("path", ["codes/NONE", "codes/batches/none", "codes/batches/none/codes"])
def test_what_there_is_not_is_not_found(desk: Desk, path: str) -> None:
    assert desk.refused("GET", path)[:2] == (404, "not_found")
    assert desk.refused("GET", "codes/batches/none/export")[:2] == (404, "not_found")
    assert desk.refused("POST", "codes/batches/none/void")[:2] == (404, "not_found")


def test_a_reward_is_given_once(desk: Desk) -> None:
    for _ in range(2):
        given = desk.do("POST", "account/rewards", {"reason": "found it"}, account="ada", reward="bug")
        assert given == {"account": "ada", "reward": "bug", "amount": 100}

    assert desk.get("account", account="ada")["left"] == 115
    assert desk.acts(target="account:ada") == [("admin:root", "account.reward", "account:ada")]
    assert desk.refused("POST", "account/rewards", account="ada", reward="medal")[0] == 404
    assert desk.refused("POST", "account/rewards", account="license:lic_AbCdEfGh", reward="bug")[:2] == (
        403, "account_not_eligible",
    )  # fmt: skip


def test_each_act_needs_its_scope(desk: Desk) -> None:
    id = desk.do("POST", "codes/batches", NEW)["id"]
    reads = [f"codes/batches/{id}", "codes/batches", f"codes/batches/{id}/codes", f"codes/batches/{id}/export"]
    writes = [
        ("codes/batches", NEW),
        (f"codes/batches/{id}/void", None),
        ("account/rewards?account=a&reward=bug", None),
    ]
    reader, writer = desk.key_for("rewards:read", name="reader"), desk.key_for("rewards:write", name="writer")

    for path in reads:
        assert desk.ask("GET", f"/api/admin/{path}", key=reader).status_code == 200
        assert desk.ask("GET", f"/api/admin/{path}", key=writer).status_code == 403
    for path, body in writes:
        assert desk.ask("POST", f"/api/admin/{path}", key=reader, json=body).status_code == 403
        assert desk.ask("POST", f"/api/admin/{path}", key=writer, json=body).status_code in (200, 201)
