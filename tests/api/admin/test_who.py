"""Who may do what, and what a repeat does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.accounts import admin_keys
from gateway.accounts.admin_keys import SCOPES
from tests.api.admin.conftest import Desk

SUBSCRIPTION = "sub_00000000000000000000"
LATER = "2099-01-01T00:00:00Z"

#: Every operation of the admin API but those of ELSEWHERE: method, path, body, the scope it needs.
OPERATIONS: list[tuple[str, str, Any, str]] = [
    ("GET", "accounts", None, "accounts:read"),
    ("POST", "accounts", {"id": "bob"}, "accounts:write"),
    ("GET", "account?account=ada", None, "accounts:read"),
    ("PATCH", "account?account=ada", {"tier": "pro"}, "accounts:write"),
    ("POST", "account/suspend?account=ada", {"reason": "r"}, "accounts:write"),
    ("POST", "account/resume?account=ada", {"reason": "r"}, "accounts:write"),
    ("POST", "account/erase?account=ada", {"reason": "r"}, "accounts:write"),
    ("POST", "account/adjust?account=ada", {"amount": 5, "reason": "r"}, "credits:write"),
    ("POST", "account/grants?account=ada", {"amount": 5, "reason": "r"}, "credits:write"),
    ("GET", "account/grants?account=ada", None, "accounts:read"),
    ("POST", "account/grants/void?account=ada&grant=signup", {"reason": "r"}, "credits:write"),
    ("PUT", "account/override?account=ada", {"factor": "2x", "until": LATER}, "accounts:write"),
    ("DELETE", "account/override?account=ada", None, "accounts:write"),
    ("GET", "account/keys?account=ada", None, "accounts:read"),
    ("POST", "account/keys?account=ada", {}, "keys:write"),
    ("DELETE", "keys/qg_AbCdEfGh", None, "keys:write"),
    ("GET", "account/transactions?account=ada", None, "ledger:read"),
    ("GET", "account/usage?account=ada&first_day=2026-11-01&last_day=2026-11-30", None, "ledger:read"),
    ("GET", "holds", None, "accounts:read"),
    ("POST", "holds/r1/release", {"reason": "r"}, "credits:write"),
    ("GET", "ledger?account=ada", None, "ledger:read"),
    ("GET", "usage", None, "ledger:read"),
    ("GET", "audit", None, "ledger:read"),
    ("GET", "explain/r1", None, "ledger:read"),
    ("GET", "system", None, "system:read"),
    ("GET", "drift", None, "system:read"),
    ("GET", "notices", None, "system:read"),
    ("GET", "subscriptions", None, "payments:read"),
    ("GET", f"subscriptions/{SUBSCRIPTION}", None, "payments:read"),
    ("POST", f"subscriptions/{SUBSCRIPTION}/cancel", {"at": "now", "reason": "r"}, "payments:write"),
]
#: Those whose scopes are tested with what they do.
ELSEWHERE = ("/api/admin/licenses", "/api/admin/payments", "/api/admin/codes", "/api/admin/account/rewards")
#: Those that do something to what is there: there is no such subscription.
WRITES = [each[:3] for each in OPERATIONS if each[0] != "GET" and SUBSCRIPTION not in each[1]]


def test_the_list_above_has_every_operation(desk: Desk) -> None:
    document = desk.ask("GET", "/openapi.json").json()
    described = {
        (method.upper(), path.removeprefix("/api/admin/"))
        for path, operations in document["paths"].items()
        if path.startswith("/api/admin/") and not path.startswith(ELSEWHERE)
        for method in operations
    }
    names = {"qg_AbCdEfGh": "{prefix}", "r1": "{reservation}", SUBSCRIPTION: "{id}"}
    listed = {
        (method, "/".join(names.get(part, part) for part in path.partition("?")[0].split("/")))
        for method, path, _, _ in OPERATIONS
    }
    assert listed == described


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
def test_each_operation_needs_its_scope_and_no_other(desk: Desk, method: str, path: str, body: Any, scope: str) -> None:
    desk.open("ada")
    all_others = desk.key_for(*(other for other in SCOPES if other != scope), name="others")
    just_it = desk.key_for(scope, name="just-it")

    refused = desk.ask(method, f"/api/admin/{path}", key=all_others, json=body)
    allowed = desk.ask(method, f"/api/admin/{path}", key=just_it, json=body)

    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert scope in refused.json()["detail"]
    assert allowed.status_code in (200, 201, 404, 409), allowed.text
    assert [actor for actor, _, _ in desk.acts() if actor == "admin:others"] == []


@pytest.mark.parametrize(("method", "path", "body", "scope"), OPERATIONS)
def test_nobody_gets_in_without_a_valid_admin_key(desk: Desk, method: str, path: str, body: Any, scope: str) -> None:
    desk.open("ada")
    ended = desk.key_for("*", name="ended")
    admin_keys.revoke(desk.system, ended[:12])
    late = desk.key_for("*", name="late", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    users = desk.do("POST", "account/keys", {}, account="ada")["key"]
    before = len(desk.acts())

    for key in ("", "qga_", "qga_AbCdEfGh" + "x" * 32, desk.key[:-1], desk.key + "x", ended, late, users, "ä"):
        answer = desk.ask(method, f"/api/admin/{path}", json=body, headers={"authorization": f"Bearer {key}".encode()})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_admin_key"), key
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert len(desk.acts()) == before


#: tests/api/admin/test_keys_and_holds.py repeats the others: a hold is given back once, erasing waits for the worker.
REPEATED = [write for write in WRITES if not write[1].startswith("holds/") and "/erase" not in write[1]]


@pytest.mark.parametrize(("method", "path", "body"), REPEATED)
def test_a_write_that_is_repeated_acts_once_and_answers_the_same(desk: Desk, method: str, path: str, body: Any) -> None:
    desk.open("ada")
    desk.drain()
    if path.startswith("keys/"):
        path = "keys/" + desk.do("POST", "account/keys", {}, account="ada")["prefix"]
    before = len(desk.acts())

    first = desk.ask(method, f"/api/admin/{path}", json=body, again="k1")
    again = desk.ask(method, f"/api/admin/{path}", json=body, again="k1")
    # The answer is no longer kept: the act's own id answers.
    desk.system.redis.delete(*desk.system.redis.scan_iter("qg:*:idempotent:*"))
    forgotten = desk.ask(method, f"/api/admin/{path}", json=body, again="k1")

    assert first.status_code in (200, 201), first.text
    shown = first.json() | ({"key": f"{first.json()['prefix']}…"} if "key" in first.json() else {})
    assert (again.status_code, again.json()) == (first.status_code, shown)
    assert (again.headers["idempotent-replayed"], len(desk.acts())) == ("true", before + 1)
    if forgotten.status_code != 409:  # A key cannot be shown again.
        assert forgotten.json() == first.json()


def test_a_repeat_of_an_old_act_undoes_nothing(desk: Desk) -> None:
    desk.open("ada")
    desk.do("POST", "account/suspend", {"reason": "abuse"}, account="ada", again="k1")
    desk.do("POST", "account/resume", account="ada")
    desk.system.redis.delete(*desk.system.redis.scan_iter("qg:*:idempotent:*"))

    assert desk.do("POST", "account/suspend", {"reason": "abuse"}, account="ada", again="k1")["status"] == "active"
    assert len(desk.acts()) == 3


def test_a_key_of_another_request_is_refused(desk: Desk) -> None:
    desk.open("ada")
    desk.do("POST", "account/adjust", {"amount": 5, "reason": "r"}, account="ada", again="k1")

    other_body = desk.ask(
        "POST", "/api/admin/account/adjust", params={"account": "ada"}, json={"amount": 6, "reason": "r"}, again="k1"
    )
    other_account = desk.ask(
        "POST", "/api/admin/account/adjust", params={"account": "bob"}, json={"amount": 5, "reason": "r"}, again="k1"
    )

    for answer in (other_body, other_account):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert desk.get("account", account="ada")["left"] == 20


@pytest.mark.parametrize("key", ["ä", "x" * 256, "a\tb"])
def test_what_is_no_idempotency_key_is_refused(desk: Desk, key: str) -> None:
    answer = desk.ask(
        "POST", "/api/admin/accounts", json={"id": "ada"}, headers={"idempotency-key": key.encode("latin-1")}
    )

    assert answer.status_code in (400, 422)
    assert desk.acts() == []


def test_two_operators_may_choose_the_same_key(desk: Desk) -> None:
    desk.open("ada")
    for name in ("eve", "bob"):
        key = desk.key_for("credits:write", name=name)
        body = {"amount": 5, "reason": "r"}
        answer = desk.ask("POST", "/api/admin/account/adjust?account=ada", key=key, json=body, again="same")
        assert answer.status_code == 200
    assert desk.get("account", account="ada")["left"] == 25


def test_the_log_is_read_by_who_acted_and_on_whom(desk: Desk) -> None:
    desk.open("ada")
    desk.ask("POST", "/api/admin/accounts", key=desk.key_for("accounts:write", name="eve"), json={"id": "bob"})

    assert desk.acts(actor="admin:eve") == [("admin:eve", "account.create", "account:bob")]
    assert desk.acts(target="account:ada") == [("admin:root", "account.create", "account:ada")]
    assert desk.acts(target="account:nobody") == []


def test_without_the_ledger_nothing_is_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.open("ada")
    answers = []
    with desk.system.ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO gone")
    body = {"amount": 5, "reason": "r"}
    answers.append(desk.ask("POST", "/api/admin/account/adjust", params={"account": "ada"}, json=body))
    with desk.system.ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO audit_log")

    assert (answers[0].status_code, answers[0].json()["code"]) == (503, "ledger_unavailable")
    assert "gone" not in json.dumps(answers[0].json())
    assert desk.get("account", account="ada")["left"] == 15
