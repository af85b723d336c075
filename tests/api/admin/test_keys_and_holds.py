"""API keys that operators make, holds that they give back, and the deletion of personal data."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import insert

from gateway.accounts import erasure
from gateway.accounts.noting import new_by
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting
from gateway.ledger.sales import orders
from gateway.store import calls
from tests.api.admin.conftest import Desk
from tests.ledger.sold import order
from tests.lua.caller import Caller


def hold(desk: Desk, id: str = "r1", amount: int = 4, account: str = "ada") -> None:
    """A call under way."""
    tier, now_ms = desk.system.config.tiers["free"], time.time_ns() // 1_000_000
    Caller(desk.system.runner, tier, account, now_ms=now_ms).reserve(id, amount)


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_shown_once_works_and_is_revoked(desk: Desk) -> None:
    desk.open("a/b")
    made = desk.do("POST", "account/keys", {"name": "phone", "limits": ["9 requests/minute"]}, account="a/b")

    mine = {"authorization": f"Bearer {made['key']}"}
    assert desk.ask("GET", "/api/quota", headers=mine).json()["account"] == "a/b"
    (listed,) = desk.get("account/keys", account="a/b")["items"]
    assert (listed["prefix"], listed["name"], listed["limits"]) == (made["prefix"], "phone", ["9 requests/minute"])
    assert made["key"][12:] not in str(desk.get("account", account="a/b")) + str(desk.get("audit"))

    revoked = desk.do("DELETE", f"keys/{made['prefix']}")

    assert revoked["revoked_at"] is not None
    assert desk.do("DELETE", f"keys/{made['prefix']}")["revoked_at"] == revoked["revoked_at"]
    assert desk.ask("GET", "/api/quota", headers=mine).status_code == 401
    assert [action for _, action, _ in desk.acts(target="account:a/b")][:3] == [
        "account.create", "api_key.create", "api_key.revoke",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [{"scopes": ["fly"]}, {"limits": ["fast"]}, {"limits": ["9 requests/minute", "8 requests/minute"]},
     {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "2099-01-01T00:00:00"}, {"name": "x" * 101},
     {"name": "a\nb"}, {"team": "a b"}, {"key": "mine"}, {"scopes": "chat"}, {"scopes": [""]}, [], "x"],
)  # fmt: skip
def test_a_key_that_makes_no_sense_is_refused(desk: Desk, body: Any) -> None:
    desk.open("ada")

    assert desk.refused("POST", "account/keys", body, account="ada")[0] == 422
    assert desk.get("account/keys", account="ada")["items"] == []


def test_a_key_that_there_is_not_cannot_be_revoked(desk: Desk) -> None:
    assert desk.refused("DELETE", "keys/qg_AbCdEfGh")[0] == 404
    for prefix in ("qg_x", "qga_AbCdEfGh", "qg_AbCdEfG%C3%A4", "x" * 300):
        assert desk.refused("DELETE", f"keys/{prefix}")[0] == 422


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_is_listed_given_back_and_explained(desk: Desk) -> None:
    desk.open("ada")
    hold(desk, "r1", 4)
    hold(desk, "r2", 3)

    listed = desk.get("holds", account="ada")["items"]
    assert [(found["reservation"], found["amount"]) for found in listed] == [("r1", 4), ("r2", 3)]
    assert [found["reservation"] for found in desk.get("account", account="ada")["holds"]] == ["r1", "r2"]
    first = desk.get("holds", limit=1)
    second = desk.get("holds", limit=1, cursor=first["next_cursor"])
    assert [first["items"][0]["reservation"], second["items"][0]["reservation"]] == ["r1", "r2"]
    assert desk.get("system")["held_units"] == 7
    assert desk.get("explain/r1")["state"] == "open"

    released = desk.do("POST", "holds/r1/release", {"reason": "stuck"})

    assert released == {"reservation": "r1", "account": "ada", "amount": 4}
    assert desk.do("POST", "holds/r1/release", {"reason": "stuck"}) == released
    assert desk.get("account", account="ada")["held"] == 3
    desk.drain()
    story = desk.get("explain/r1")
    assert (story["state"], story["audit"][0]["actor"]) == ("released", "admin:root")


def test_a_hold_that_is_not_open_cannot_be_given_back(desk: Desk) -> None:
    desk.open("ada")
    hold(desk, "r1", 4)
    desk.system.runner.run(calls.release(desk.system.keys.account("ada"), "r1"))

    assert desk.refused("POST", "holds/r1/release", {"reason": "r"})[:2] == (409, "conflict")
    assert desk.refused("POST", "holds/r9/release", {"reason": "r"})[:2] == (404, "not_found")
    assert desk.refused("POST", "holds/r9/release", {})[0] == 422
    assert desk.refused("POST", "holds/%20/release", {"reason": "r"})[0] == 422


@pytest.mark.parametrize("id", ["r9", "a/b", "x" * 100, "%C3%A4"])
def test_what_never_was_is_not_explained(desk: Desk, id: str) -> None:
    assert desk.refused("GET", f"explain/{id}")[:2] == (404, "not_found")


@pytest.fixture
def worked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """With a worker that comes when it is nudged."""
    monkeypatch.setattr(System, "nudge", lambda system, account: desk.drain())
    return desk


# ── erasure ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_erased_account_leaves_numbers_and_nothing_else(worked: Desk) -> None:
    desk = worked
    desk.open("ada", email="ada@example.com")
    desk.open("ada:2026-11-20")
    desk.open("adam")
    desk.do("POST", "account/keys", {"name": "ada's phone"}, account="ada")
    desk.do("POST", "account/grants", {"amount": 85, "reason": "a gift"}, account="ada")
    others = {id: desk.get("account", account=id) | {"recorded": None} for id in ("ada:2026-11-20", "adam")}
    desk.drain()

    anonymous = desk.do("POST", "account/erase", {"reason": "she asked"}, account="ada", again="once")["anonymous_id"]

    assert anonymous.startswith("erased:")
    assert desk.refused("GET", "account", account="ada")[0] == 404
    assert [k for k in desk.system.redis.scan_iter("qg:{p00}:*") if k.endswith(b":ada")] == []
    assert sum(entry["amount"] for entry in desk.get("ledger", account=anonymous)["items"]) == 100
    assert desk.get("ledger", account="ada")["items"] == []
    listed = {found["id"]: found for found in desk.get("accounts")["items"]}
    assert (listed[anonymous]["email"], listed[anonymous]["granted"]) == ("", 100)
    assert "ada" not in listed
    assert "ada@example.com" not in str(desk.get("audit"))
    assert desk.acts(target="account:ada") == []
    assert desk.acts(target=f"account:{anonymous}")[-1] == ("admin:root", "account.erase", f"account:{anonymous}")
    assert {id: desk.get("account", account=id) | {"recorded": None} for id in others} == others

    again = desk.do("POST", "account/erase", {"reason": "she asked"}, account="ada", again="once")
    assert again["anonymous_id"] == anonymous
    assert desk.refused("POST", "account/erase", {"reason": "r"}, account="ada")[0] == 404


def test_the_act_itself_answers_a_repeat_when_its_answer_is_no_longer_kept(worked: Desk) -> None:
    desk = worked
    desk.open("ada")
    desk.drain()
    by = new_by("admin:root", "she asked")

    first = erasure.erase_account(desk.system, by, "ada", drain_s=0)

    assert erasure.erase_account(desk.system, by, "ada", drain_s=0) == first


def test_an_account_with_calls_under_way_is_not_erased(desk: Desk) -> None:
    desk.open("ada")
    hold(desk)

    refused = desk.refused("POST", "account/erase", {"reason": "she asked"}, account="ada")

    assert (refused[0], refused[1]) == (409, "conflict")
    assert desk.get("account", account="ada")["status"] == "active"


def test_an_account_that_may_still_pay_is_not_erased_and_calls_on(desk: Desk) -> None:
    desk.open("ada")
    with desk.system.ledger.begin() as connection:
        connection.execute(insert(orders).values(order("ada")))

    refused = desk.refused("POST", "account/erase", {"reason": "she asked"}, account="ada")

    assert refused[:2] == (409, "conflict")
    assert "has an order that is pending, o3" in refused[2]
    assert desk.get("account", account="ada")["status"] == "active"


def test_nothing_is_erased_before_the_ledger_has_heard_of_all_of_it(desk: Desk) -> None:
    desk.open("ada")

    with pytest.raises(Conflicting, match="the ledger has not heard yet"):
        erasure.erase_account(desk.system, new_by("admin:root", "r"), "ada", drain_s=0)

    assert desk.get("account", account="ada")["status"] == "suspended"
    desk.drain()
    assert erasure.erase_account(desk.system, new_by("admin:root", "r"), "ada", drain_s=0).startswith("erased:")
