"""`/api/rewards`: codes, check-ins, what is had once, referrals, as a user meets them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.accounts import payouts
from gateway.accounts.noting import new_by
from gateway.domain.errors import StoreUnavailable
from gateway.rewards import batches
from gateway.rewards.batches import BatchTerms
from tests.api.user.door import Door
from tests.rewards.giving import REWARDS

REDEEM, CHECK_IN, REFERRAL = "/api/rewards/redeem", "/api/rewards/check-in", "/api/rewards/referral"


@pytest.fixture
def door(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> Iterator[Door]:
    shutil.copy(migrated, tmp_path / "ledger.sqlite3")
    opened = Door(redis_client, tmp_path, REWARDS)
    yield opened
    opened.close()


def make(door: Door, **terms: Any) -> str:
    made: dict[str, Any] = {"name": "welcome", "amount": 50, "code": "WELCOME"} | terms
    return batches.create(door.system, new_by("admin:eve"), BatchTerms(**made)).id


def test_a_code_is_redeemed_and_the_balance_told(door: Door) -> None:
    make(door)

    found = door.post(REDEEM, {"code": " wel-come "})

    assert found == {"amount": 50, "expires_at": None, "left": 50 + 20}
    assert door.get("/api/billing/balance")["left"] == 70


def test_a_repeat_reads_the_same_answer_and_redeems_once_even_when_answers_are_forgotten(door: Door) -> None:
    make(door, max_uses=9, per_account=9, valid_days=3)
    again = {"idempotency-key": "k1"}

    first = door.post(REDEEM, {"code": "WELCOME"}, headers=again)
    assert door.post(REDEEM, {"code": "WELCOME"}, headers=again) == first
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)
    assert door.post(REDEEM, {"code": "WELCOME"}, headers=again) == first

    assert door.get("/api/billing/balance")["left"] == 70
    assert door.post(REDEEM, {"code": "WELCOME"})["left"] == 120


@pytest.mark.parametrize(
    ("terms", "before", "status", "code"),
    [
        ({}, "ada", 409, "code_already_redeemed"),
        ({}, "bob", 409, "code_used_up"),
        ({"code": "OTHER"}, "", 404, "not_found"),
    ],
)
def test_why_a_code_is_not_taken_is_told(
    door: Door, terms: dict[str, Any], before: str, status: int, code: str
) -> None:
    make(door, **terms)
    if before:
        door.post(REDEEM, {"code": "WELCOME"}, before)

    assert door.post(REDEEM, {"code": "WELCOME"}, status=status)["code"] == code


def test_a_code_that_is_void_is_gone(door: Door) -> None:
    batches.void(door.system, new_by("admin:eve"), make(door))

    refused = door.post(REDEEM, {"code": "WELCOME"}, status=410)

    assert (refused["code"], refused["detail"]) == ("code_expired", "This code is not taken any more.")


def test_who_guesses_has_to_wait(door: Door) -> None:
    for number in range(10):
        door.post(REDEEM, {"code": f"GUESS{number}"}, status=404)

    answer = door.request("POST", REDEEM, json={"code": "GUESS"})

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")
    assert 3500 < int(answer.headers["retry-after"]) <= 3600


@pytest.mark.parametrize("body", [None, {}, {"code": ""}, {"code": "x" * 101}, {"code": 5}, {"code": "A", "more": 1}])
def test_what_is_no_request_is_refused(door: Door, body: Any) -> None:
    assert door.post(REDEEM, body, status=422)["code"] == "invalid_request"


def test_what_redis_cannot_be_told_now_is_given_later(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    make(door)

    def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.accounts.balances.grant", away)
        patch.setattr("gateway.api.user.rewards.overview", away)
        assert door.post(REDEEM, {"code": "WELCOME"}) == {"amount": 50, "expires_at": None, "left": None}

    assert payouts.pay_due(door.system) == 1
    assert door.get("/api/billing/balance")["left"] == 70


def test_a_day_is_checked_in_on_once(door: Door) -> None:
    done = door.post(CHECK_IN)

    assert (done["amount"], done["streak"], done["left"]) == (3, 1, 23)
    answer = door.request("POST", CHECK_IN)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_checked_in")
    assert 0 < int(answer.headers["retry-after"]) <= 86_400


def test_a_check_in_that_is_repeated_reads_the_same(door: Door) -> None:
    again = {"idempotency-key": "k1"}

    assert door.post(CHECK_IN, headers=again) == door.post(CHECK_IN, headers=again)


def test_what_is_had_once_is_claimed_once(door: Door) -> None:
    assert door.post("/api/rewards/survey/claim") == {"amount": 25, "left": 45}
    assert door.post("/api/rewards/survey/claim", status=409)["code"] == "already_claimed"
    assert door.post("/api/rewards/bug/claim", status=404)["code"] == "not_found"


def test_whoever_is_brought_names_the_code(door: Door) -> None:
    its = door.get(REFERRAL, "ada")
    assert its == {
        "code": its["code"], "referrer_amount": 20, "referred_amount": 10, "when": "first_order", "within_days": 30,
        "most": 2, "rewarded": 0, "waiting": 0, "referred": False,
    }  # fmt: skip

    found = door.post(REFERRAL, {"code": its["code"].lower()}, "bob")

    assert found["referred"]
    assert door.get(REFERRAL, "ada")["waiting"] == 1
    assert door.post(REFERRAL, {"code": its["code"]}, "ada", status=409)["code"] == "referral_not_possible"
    assert door.post(REFERRAL, {"code": found["code"]}, "ada", status=409)["code"] == "referral_not_possible"


def test_all_that_can_be_had_is_listed(door: Door) -> None:
    before = door.get("/api/rewards")
    door.post(CHECK_IN)
    door.post("/api/rewards/survey/claim")
    after = door.get("/api/rewards")

    assert before["codes"]
    assert (before["check_in"]["due"], before["check_in"]["streak"]) == (True, 0)
    assert before["check_in"]["streaks"] == [{"days": 3, "amount": 10}]
    assert before["once"] == [
        {"name": "survey", "title": "Thank you", "amount": 25, "claimable": True, "claimed_at": None}
    ]
    assert before["referral"]["code"] == after["referral"]["code"]
    assert (after["check_in"]["due"], after["check_in"]["streak"], after["once"][0]["claimable"]) == (False, 1, False)


def test_where_nothing_is_given_the_list_says_so(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> None:
    shutil.copy(migrated, tmp_path / "ledger.sqlite3")
    plain = Door(redis_client, tmp_path)
    try:
        assert plain.get("/api/rewards") == {"codes": True, "check_in": None, "once": [], "referral": None}
        for path, body in ((CHECK_IN, None), (REFERRAL, {"code": "AAAA0000"}), ("/api/rewards/survey/claim", None)):
            assert plain.post(path, body, status=404)["code"] == "not_found"
    finally:
        plain.close()


@pytest.mark.parametrize("path", [REDEEM, CHECK_IN, "/api/rewards/survey/claim", REFERRAL])
def test_who_may_not_is_given_nothing(door: Door, path: str) -> None:
    make(door)
    body = {"code": "WELCOME"} if path in (REDEEM, REFERRAL) else None
    scoped = door.publish("eve", scopes=("chat",))
    allowed = door.publish("eve", "qg_BbCdEfGh" + "s" * 32, scopes=("rewards",))
    door.get("/api/rewards", "ada")
    door.post(CHECK_IN, account="ada")
    door.suspend("ada")

    [by_scope, anonymous, in_scope] = door.together(
        ("POST", path, {"json": body, "headers": scoped}),
        ("POST", path, {"json": body}),
        ("POST", path, {"json": body, "headers": allowed}),
    )

    assert (by_scope.status_code, by_scope.json()["code"]) == (403, "insufficient_scope")
    assert (anonymous.status_code, anonymous.json()["code"]) == (401, "invalid_api_key")
    assert in_scope.status_code == (404 if path == REFERRAL else 200)
    assert door.post(path, body, status=403)["code"] == "account_suspended"
