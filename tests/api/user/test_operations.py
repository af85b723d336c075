"""`/api/operations`: held, then charged or given back, once, by whoever reserved it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.domain.reservation import Reserved
from gateway.domain.schedule import schedule
from gateway.ledger.queries import entries_of, usage_of
from gateway.store import calls
from gateway.store.keys import Keys
from tests.api.user.door import Door, named

SITE = "/api/operations/create_website"
KEYED = {"idempotency-key": "k1"}
HOLDS = Keys.of_partition("p00", "holds")


def reserve(door: Door, path: str = SITE, account: str = "ada", **more: Any) -> str:
    id: str = door.post(f"{path}/reserve", {}, account, **more)["reservation"]
    return id


def end(door: Door, id: str, how: str = "commit", path: str = SITE, **more: Any) -> dict[str, Any]:
    return door.post(f"{path}/{id}/{how}", **more)


def stand(door: Door, account: str = "ada") -> tuple[int, int, int]:
    found = door.get("/api/billing/balance", account)
    return found["left"], found["held"], found["lifetime"]["spent"]


def expire(door: Door) -> None:
    """As the sweeper does when every lease is over."""
    open_ones: Any = door.system.redis.zrange(HOLDS, 0, -1)
    door.system.redis.zadd(HOLDS, dict.fromkeys(open_ones, 1))
    door.system.runner.run(calls.expire(HOLDS))


# ── reserve, commit, cancel ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_an_operation_costs_is_held(door: Door) -> None:
    before = datetime.now(UTC)

    found = door.post(f"{SITE}/reserve", {"purpose": "a site", "metadata": {"a": 1}})

    ends = datetime.fromisoformat(found.pop("expires_at")) - before
    assert timedelta(seconds=898) <= ends <= timedelta(seconds=920)
    assert found.pop("reservation").startswith("api-")
    assert found == {"operation": "create_website", "amount": 4, "remaining": 16}
    assert stand(door) == (16, 4, 0)


def test_a_commit_charges_it_and_a_repeat_is_answered_alike(door: Door) -> None:
    id = reserve(door, headers={"x-session-id": "s1"})

    first = end(door, id)

    assert first == {
        "reservation": id, "operation": "create_website", "charged": 4, "written_off": 0, "remaining": 16,
    }  # fmt: skip
    door.post("/api/chat/token/use", {})
    assert end(door, id) == first
    assert stand(door) == (15, 0, 5)
    door.drain()
    row = next(iter(usage_of(door.ledger, "ada")))
    assert (row["operation"], row["cost"], row["outcome"], row["session"]) == ("create_website", 4, "settled", "s1")


@pytest.mark.parametrize("how", ["commit", "cancel"])
def test_the_ledger_hears_what_it_was_for_however_it_ended(door: Door, how: str) -> None:
    told = {"purpose": "größer ✓", "metadata": {"page": 7}}
    first = door.post(f"{SITE}/reserve", told, headers=KEYED)
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)
    door.post(f"{SITE}/reserve", told, headers=KEYED)
    end(door, first["reservation"], how)
    door.drain()

    (row,) = usage_of(door.ledger, "ada")
    assert (row["purpose"], row["details"]) == ("größer ✓", '{"page":7}')


def test_a_cancel_gives_it_back_and_a_repeat_is_answered_alike(door: Door) -> None:
    id = reserve(door)

    first = end(door, id, "cancel")

    assert first == {"reservation": id, "operation": "create_website", "remaining": 20}
    assert end(door, id, "cancel") == first
    assert stand(door) == (20, 0, 0)


def test_whichever_end_comes_first_is_the_end(door: Door) -> None:
    committed, cancelled = reserve(door), reserve(door)
    end(door, committed)
    end(door, cancelled, "cancel")

    assert end(door, committed, "cancel", status=409)["code"] == "conflict"
    assert end(door, cancelled, status=409)["code"] == "conflict"
    assert stand(door) == (16, 0, 4)


def test_an_operation_that_is_free_needs_no_balance(door: Door) -> None:
    door.post("/api/chat/token/use", {"amount": 20})

    found = door.post("/api/operations/free/reserve", {})

    assert (found["amount"], found["remaining"]) == (0, 0)
    assert end(door, found["reservation"], path="/api/operations/free")["charged"] == 0


def test_a_tier_may_price_an_operation_for_itself(door: Door) -> None:
    door.system.runner.run(calls.open_account(door.system.keys.account("ada"), door.system.tier("told")))

    assert door.post(f"{SITE}/reserve", {})["amount"] == 7


def test_a_body_is_not_needed(door: Door) -> None:
    assert door.request("POST", f"{SITE}/reserve").status_code == 200


# ── ended by itself ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_that_nobody_ends_is_given_back_and_charged_once_when_it_is_committed_late(door: Door) -> None:
    id = reserve(door)
    expire(door)
    assert stand(door) == (20, 0, 0)

    assert end(door, id)["charged"] == 4
    assert end(door, id)["charged"] == 4

    assert stand(door) == (16, 0, 4)
    door.drain()
    assert sum(entry["amount"] for entry in entries_of(door.ledger, "ada")) == 16


def test_a_hold_that_nobody_ends_is_charged_where_the_config_says_so(door: Door) -> None:
    committed, cancelled = (reserve(door, "/api/operations/kept") for _ in range(2))
    expire(door)
    assert stand(door) == (14, 0, 6)

    assert end(door, committed, path="/api/operations/kept")["charged"] == 3
    end(door, cancelled, "cancel", "/api/operations/kept")
    assert stand(door) == (17, 0, 3)


def test_a_late_commit_that_nothing_covers_any_more_is_written_off(door: Door) -> None:
    id = reserve(door)
    expire(door)
    door.post("/api/chat/token/use", {"amount": 19})

    found = end(door, id)

    assert (found["charged"], found["written_off"], found["remaining"]) == (1, 3, 0)


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_operation_by_tokens_is_to_be_called_by_its_route(door: Door) -> None:
    door.system.runner.run(calls.open_account(door.system.keys.account("ada"), door.system.tier("pro")))

    refused = door.post("/api/operations/chat/reserve", {}, status=422)

    assert "its route" in refused["detail"]
    assert stand(door)[1] == 0


def test_an_operation_that_a_tier_prices_in_units_may_be_reserved_there(door: Door) -> None:
    """Here `chat` costs 1, and tokens anywhere else."""
    assert door.post("/api/operations/chat/reserve", {})["amount"] == 1


@pytest.mark.parametrize("name", ["nothing", "token_use", "x" * 65, "%E2%9C%93", "Create_Website"])
def test_an_operation_that_there_is_not_is_not_found(door: Door, name: str) -> None:
    answer = door.request("POST", f"/api/operations/{name}/reserve", json={})

    assert answer.status_code in (404, 422), answer.text
    assert stand(door) == (20, 0, 0)


def test_too_little_is_told_as_insufficient_tokens_and_nothing_is_held(door: Door) -> None:
    door.post("/api/chat/token/use", {"amount": 17})

    refused = door.post(f"{SITE}/reserve", {}, status=429)

    assert (refused["code"], refused["detail"][:19]) == ("insufficient_quota", "Insufficient tokens")
    assert stand(door) == (3, 0, 17)


def test_a_suspended_account_reserves_nothing_and_ends_what_it_has(door: Door) -> None:
    id = reserve(door)
    door.suspend()

    assert door.post(f"{SITE}/reserve", {}, status=403)["code"] == "account_suspended"
    assert end(door, id)["charged"] == 4


def test_a_credential_for_other_things_is_refused(door: Door) -> None:
    id = reserve(door)
    headers = door.publish(scopes=("chat",))

    for path in ("reserve", f"{id}/commit", f"{id}/cancel"):
        [answer] = door.together(("POST", f"{SITE}/{path}", {"headers": headers}))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert stand(door) == (16, 4, 0)


@pytest.mark.parametrize("how", ["commit", "cancel"])
def test_nobody_ends_what_another_reserved(door: Door, how: str) -> None:
    id = reserve(door)
    reserve(door, account="bob")

    assert end(door, id, how, account="bob", status=404)["code"] == "not_found"
    assert end(door, id, how, path="/api/operations/kept", status=404)["code"] == "not_found"
    assert stand(door) == (16, 4, 0)


@pytest.mark.parametrize("how", ["commit", "cancel"])
@pytest.mark.parametrize("id", ["api-1", "api-", "x", "api-*", "api-%E2%9C%93", "api-" + "1" * 97])
def test_a_reservation_that_there_is_not_is_not_found(door: Door, id: str, how: str) -> None:
    reserve(door)

    answer = door.request("POST", f"{SITE}/{id}/{how}")

    assert answer.status_code in (404, 422), answer.text
    assert stand(door) == (16, 4, 0)


@pytest.mark.parametrize("how", ["commit", "cancel"])
def test_the_hold_of_a_proxied_call_is_not_ended_by_its_caller(door: Door, how: str) -> None:
    """Or every call could be had for nothing: its id stands in its answer's headers."""
    reserve(door)
    account, tier = door.system.keys.account("ada"), door.system.tier("free")
    version = int(door.field("version"))
    terms = calls.terms(
        "create_website", "/v1/site", "p1", tier, schedule(tier, int(datetime.now(UTC).timestamp() * 1000))
    )
    held = door.system.runner.run(calls.reserve(account, "19a-b-1", 5, terms, version=version))
    assert isinstance(held, Reserved)

    assert end(door, "19a-b-1", how, status=404)["code"] == "not_found"
    assert stand(door)[1] == 9


@pytest.mark.parametrize("how", ["commit", "cancel"])
def test_a_use_is_no_reservation(door: Door, how: str) -> None:
    for account in ("ada", "use"):
        id = door.post("/api/chat/token/use", {}, account)["id"]

        assert end(door, id, how, "/api/operations/token_use", account=account, status=404)["code"] == "not_found"
        assert stand(door, account) == (19, 0, 1)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"1", b'{"more": 1}', b'{"purpose": 1}', b'{"metadata": {"a": NaN}}', b'{"amount": 1}']
)
def test_garbage_is_refused_and_nothing_is_held(door: Door, body: bytes) -> None:
    answer = door.request("POST", f"{SITE}/reserve", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422), answer.text
    assert stand(door) == (20, 0, 0)


# ── repeated, and at once ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reserve_that_is_repeated_with_its_key_holds_once(door: Door) -> None:
    first = door.post(f"{SITE}/reserve", {}, headers=KEYED)
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)

    assert door.post(f"{SITE}/reserve", {}, headers=KEYED) == first
    assert stand(door) == (16, 4, 0)
    assert door.post("/api/operations/kept/reserve", {}, headers=KEYED)["reservation"] != first["reservation"]


def test_of_ten_at_once_as_many_are_held_as_there_are_units(door: Door) -> None:
    answers = door.together(*[("POST", f"{SITE}/reserve", {"headers": named("ada")}) for _ in range(10)])

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 5
    assert stand(door) == (0, 20, 0)


def test_of_commits_and_cancels_at_once_one_kind_wins(door: Door) -> None:
    id = reserve(door)

    answers = door.together(
        *[("POST", f"{SITE}/{id}/{how}", {"headers": named("ada")}) for how in ("commit", "cancel") * 5]
    )

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 5
    assert stand(door) in ((16, 0, 4), (20, 0, 0))
