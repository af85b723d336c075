"""`/api/billing/daily-reset`: when periods turn, and opening all of them that are due, once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gateway.accounts import admin_keys, resets
from gateway.ledger.queries import entries_of
from gateway.store import calls
from tests.api.user.door import CRON, Door

RESET, USE = "/api/billing/daily-reset", "/api/chat/token/use"
BY_CRON = {"authorization": f"Bearer {CRON}"}


def open_accounts(door: Door, *ids: str, tier: str = "free") -> None:
    for id in ids:
        door.system.runner.run(calls.open_account(door.system.keys.account(id), door.system.tier(tier)))
    door.drain()


def run(door: Door, headers: dict[str, str] = BY_CRON, status: int = 200) -> dict[str, Any]:
    [answer] = door.together(("POST", RESET, {"headers": headers}))
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kinds(door: Door, account: str) -> list[str]:
    door.drain()
    return [entry["kind"] for entry in entries_of(door.ledger, account)]


def test_a_period_that_no_call_opened_is_due(door: Door) -> None:
    open_accounts(door, "ada")

    found = door.get(RESET)

    assert (found["due"], found["last"]) == (True, None)
    assert found["next"].endswith("T17:00:00Z")


def test_a_period_that_a_call_opened_is_not_due(door: Door) -> None:
    door.post(USE, {})
    door.drain()

    found = door.get(RESET)

    assert found["due"] is False
    assert datetime.fromisoformat(found["last"]).tzinfo is not None


def test_all_that_are_due_are_opened_once(door: Door) -> None:
    open_accounts(door, "ada", "bob", "用户", "x/y")
    open_accounts(door, "max", tier="payg")
    open_accounts(door, "pia", tier="pro")
    door.post(USE, {}, "eve")
    door.drain()

    assert run(door) == {"accounts": 6, "due": 5, "opened": 5, "done": True}
    assert run(door) == {"accounts": 6, "due": 0, "opened": 0, "done": True}

    assert kinds(door, "ada") == ["SIGNUP", "DAILY_RESET"]
    assert kinds(door, "用户") == ["SIGNUP", "DAILY_RESET"]
    assert kinds(door, "pia") == ["SIGNUP", "MONTHLY_RESET"]
    assert kinds(door, "max") == []
    assert kinds(door, "eve") == ["SIGNUP", "DAILY_RESET", "USAGE"]
    assert door.get(RESET)["due"] is False


def test_a_call_after_it_opens_nothing_more(door: Door) -> None:
    open_accounts(door, "ada")
    run(door)

    assert door.post(USE, {})["remaining"] == 19
    assert kinds(door, "ada") == ["SIGNUP", "DAILY_RESET", "USAGE"]


def test_a_suspended_account_has_its_day_all_the_same(door: Door) -> None:
    open_accounts(door, "ada")
    door.suspend()

    assert run(door)["opened"] == 1


def test_an_account_in_a_zone_of_its_own_is_opened_there(door: Door) -> None:
    key = door.system.keys.account("ada")
    door.system.runner.run(calls.open_account(key, door.system.tier("free"), zone="Pacific/Kiritimati"))
    door.drain()

    assert run(door)["opened"] == 1
    assert door.get(RESET)["due"] is False


def test_an_account_that_redis_lost_is_passed_over(door: Door) -> None:
    open_accounts(door, "ada", "bob")
    door.system.redis.delete(door.system.keys.account("ada"))

    assert run(door) == {"accounts": 2, "due": 1, "opened": 1, "done": True}


def test_a_run_that_had_to_stop_is_gone_on_with(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    open_accounts(door, *(f"user-{n}" for n in range(5)))
    monkeypatch.setattr(resets, "BATCH", 2)
    real = resets.open_all_due
    monkeypatch.setattr("gateway.api.user.resets.open_all_due", lambda system: real(system, max_s=0))

    assert run(door, status=202) == {"accounts": 2, "due": 2, "opened": 2, "done": False}
    assert run(door, status=202) == {"accounts": 4, "due": 4, "opened": 4, "done": False}
    assert run(door) == {"accounts": 5, "due": 5, "opened": 5, "done": True}
    assert run(door, status=202) == {"accounts": 2, "due": 0, "opened": 0, "done": False}


def test_a_run_that_was_left_for_long_is_begun_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    open_accounts(door, *(f"user-{n}" for n in range(5)))
    monkeypatch.setattr(resets, "BATCH", 2)
    resets.open_all_due(door.system, max_s=0)
    door.system.redis.hset(resets.PROGRESS, "touched_at", 1)

    assert run(door) == {"accounts": 5, "due": 3, "opened": 3, "done": True}


def test_of_two_at_once_one_works_and_the_other_tells_how_far_it_is(door: Door) -> None:
    open_accounts(door, "ada")
    door.system.redis.set("qg:daily-reset-lock", "another's", px=60_000)

    assert run(door, status=202) == {"accounts": 0, "due": 0, "opened": 0, "done": False}
    assert door.system.redis.get("qg:daily-reset-lock") == b"another's"


def test_while_one_begins_another_does_not_say_that_the_run_before_was_it(door: Door) -> None:
    open_accounts(door, "ada")
    assert run(door)["done"] is True
    door.system.redis.set("qg:daily-reset-lock", "another's", px=60_000)

    assert run(door, status=202) == {"accounts": 0, "due": 0, "opened": 0, "done": False}


def test_only_the_cron_and_those_operators_may_who_have_the_scope(door: Door) -> None:
    may = admin_keys.create(door.system, "root", ("system:write",))
    may_not = admin_keys.create(door.system, "reader", ("system:read",))

    assert run(door, {"authorization": f"Bearer {may}"})["done"]
    assert run(door, {"authorization": f"Bearer {may_not}"}, 403)["code"] == "insufficient_scope"
    for headers in ({}, {"authorization": "Bearer no"}, door.publish()):
        assert run(door, headers, 401)["code"] == "invalid_admin_key"
