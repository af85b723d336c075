"""Licenses over HTTP: used by their owners, made and changed by operators, and refused in so many words."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.accounts import api_keys, balances, licenses, lifecycle
from gateway.accounts.key_terms import KeyTerms
from gateway.accounts.new_licenses import NewLicense
from gateway.accounts.noting import By
from gateway.accounts.system import System
from gateway.config import parse
from tests.accounts.calls_made import drain
from tests.accounts.licensed import ACTOR, LICENSES, TOMORROW, audited, expire, made
from tests.api.test_frame import Door, problem
from tests.proxy.identity.signing import AUDIENCE, ISSUER, SECRET, secret_token
from tests.support.config import config_text
from tests.support.servers import RedisServer

JWT = f"""
[[identity.jwt]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["HS256"]
secret = "{SECRET}"
"""
LIMITED = LICENSES.replace(
    "operations = { chat = 2 }", 'limits = [{ limit = "1 requests/hour", operations = ["license_use"] }]'
)
ADA = {"x-gateway-secret": "a secret of the backend", "x-user-id": "ada"}
BOB = ADA | {"x-user-id": "bob"}
ADMIN = "/api/admin/licenses"


class LicenseDoor(Door):
    """A control plane that makes licenses."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        super().__init__(server, folder)
        self.config = parse(config_text(more=LICENSES + JWT), "config.toml", {})
        self.control.gate.config = self.config

    @property
    def system(self) -> System:
        return self.control.system

    def use(self, license: NewLicense, headers: dict[str, str] = ADA, **options: Any) -> httpx2.Response:
        return self("POST", f"/api/user/license-keys/{license.key}/use-token", headers=headers, **options)

    def left(self, license: NewLicense) -> int:
        return licenses.find(self.system, license.key).left


@pytest.fixture
def door(real_redis: RedisServer, tmp_path: Path) -> Iterator[LicenseDoor]:
    door = LicenseDoor(real_redis, tmp_path)
    yield door
    door.close()


# ── used ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_use_answers_with_the_balance_before_and_after(door: LicenseDoor) -> None:
    license = made(door.system, 3)

    answer = door.use(license)

    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "message": "Token used successfully",
        "data": {"license_key": license.key, "previous_balance": 3, "new_balance": 2, "tokens_used": 1},
    }


def test_its_owner_may_come_with_a_key_a_token_or_a_trusted_header(door: LicenseDoor) -> None:
    license = made(door.system, 4)
    (key,) = api_keys.create(door.system, ["ada"])
    token = secret_token(SECRET, sub="ada", exp=4_000_000_000).decode()
    shown = ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"authorization": f"Bearer {token}"}, ADA)

    found = [door.use(license, headers).json()["data"]["new_balance"] for headers in shown]

    assert found == [3, 2, 1, 0]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer qg_AbCdEfGh" + "s" * 32}, {"x-user-id": "ada"}])
def test_whoever_is_not_known_uses_nothing(door: LicenseDoor, headers: dict[str, str]) -> None:
    license = made(door.system, 3)

    assert problem(door.use(license, headers)) == (401, "invalid_api_key")
    assert door.left(license) == 3


def test_another_s_license_and_none_cannot_be_told_apart(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    said = set()
    for key, headers in (
        (license.key, BOB),
        (license.license.prefix, BOB),
        (license.key, {"authorization": f"Bearer {license.key}"}),
        ("lic_AbCdEfGh" + "s" * 32, ADA),
        (license.key[:-1] + "!", ADA),
        ("lic_é", ADA),
        ("x" * 100, ADA),
    ):
        for method, path in (("POST", "use-token"), ("GET", "usage")):
            answer = door(method, f"/api/user/license-keys/{key}/{path}", headers=headers)
            assert problem(answer) == (404, "not_found")
            said.add(answer.json()["detail"])

    assert said == {"You have no such license."}
    assert door.left(license) == 3


def test_a_key_that_is_too_long_is_refused_and_not_repeated(door: LicenseDoor) -> None:
    answer = door("POST", f"/api/user/license-keys/{'k' * 200}/use-token", headers=ADA)

    assert problem(answer) == (422, "invalid_request")
    assert "kkk" not in answer.text


@pytest.mark.parametrize("why", ["suspended", "revoked", "expired"])
def test_one_that_cannot_be_used_says_why(door: LicenseDoor, why: str) -> None:
    license = made(door.system, 3)
    if why == "expired":
        expire(door.system, license.license.prefix)
    else:
        act = {"suspended": licenses.suspend, "revoked": licenses.revoke}[why]
        act(door.system, license.key, id="act", actor=ACTOR)

    answer = door.use(license)

    assert problem(answer) == (403, f"license_{why}")
    assert why in answer.json()["detail"]
    assert door.left(license) == 3


def test_an_owner_who_is_suspended_uses_none(door: LicenseDoor) -> None:
    license = made(door.system)
    balances.grant(door.system, "ada", 5, "g", "paid")
    lifecycle.suspend(door.system, By("s", ACTOR, "abuse"), "ada")

    assert problem(door.use(license)) == (403, "account_suspended")
    assert door.left(license) == 10

    lifecycle.resume(door.system, By("r", ACTOR), "ada")
    assert door.use(license).status_code == 200


@pytest.mark.parametrize("status", [402, 429])
def test_at_nothing_it_is_inactive_with_the_status_of_an_exhausted_balance(door: LicenseDoor, status: int) -> None:
    license = made(door.system, 0)
    door.config = dataclasses.replace(door.config, exhausted_status=status)

    answer = door.use(license)

    assert problem(answer) == (status, "license_inactive")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


def test_a_repeat_with_its_idempotency_key_uses_one_and_says_the_same(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    headers = ADA | {"idempotency-key": "k1"}

    answers = [door.use(license, headers, json={"purpose": "chat"}) for _ in range(3)]

    assert {answer.text for answer in answers} == {answers[0].text}
    assert license.key in answers[-1].text
    kept: list[Any] = [door.server.client.hgetall(name) for name in door.server.client.scan_iter("*:idempotent:*")]
    assert license.key not in str(kept)
    assert door.left(license) == 2
    assert problem(door.use(license, headers, json={"purpose": "other"})) == (422, "idempotency_key_reused")
    door.use(license, ADA | {"idempotency-key": "k2"})
    assert door.left(license) == 1


def test_a_repeat_whose_answer_is_not_kept_uses_one_all_the_same(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    headers = ADA | {"idempotency-key": "k1"}
    first = door.use(license, headers)
    for name in door.server.client.scan_iter("*:idempotent:*"):
        door.server.client.delete(name)

    assert door.use(license, headers).json() == first.json()
    assert door.left(license) == 2


def test_without_an_idempotency_key_each_request_uses_one(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    for _ in range(3):
        door.use(license)

    assert door.left(license) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"[]",
        b'{"amount": 5}',
        b'{"purpose": 1}',
        b'{"purpose": "a\\nb"}',
        b'{"purpose": "\\ud800"}',
        b'{"purpose": "' + b"x" * 201 + b'"}',
        b'{"metadata": []}',
        b'{"metadata": "text"}',
        b'{"metadata": {"n": NaN}}',
        b'{"metadata": {"n": Infinity}}',
        b'{"metadata": {"n": "\\ud800"}}',
        b'{"metadata": {"n": 1' + b"0" * 5000 + b"}}",
        b'{"metadata": {"text": "' + b"x" * 1000 + b'"}}',
        b'{"metadata": {"deep": ' + b"[" * 17 + b"]" * 17 + b"}}",
        b'{"metadata": {"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    ],
)
def test_a_body_that_cannot_be_taken_uses_nothing(door: LicenseDoor, body: bytes) -> None:
    license = made(door.system, 3)

    answer = door.use(license, ADA | {"content-type": "application/json"}, content=body)

    assert problem(answer)[0] in (400, 422), answer.text
    assert door.left(license) == 3


def test_a_limit_of_its_tier_refuses_with_when_to_come_back(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    door.config = parse(config_text(more=LIMITED), "config.toml", {})
    door.use(license)

    answer = door.use(license)

    assert problem(answer) == (429, "rate_limit_exceeded")
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert door.left(license) == 2


def test_a_credential_of_other_operations_uses_no_license(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    scopes = (("chat",), ("license_use",))
    other, right = (api_keys.create(door.system, ["ada"], None, KeyTerms(scopes=scope))[0] for scope in scopes)

    assert problem(door.use(license, {"x-api-key": other})) == (403, "insufficient_scope")
    assert door.left(license) == 3
    assert door.use(license, {"x-api-key": right}).status_code == 200


def test_a_token_or_a_header_that_names_a_license_is_not_believed(door: LicenseDoor) -> None:
    """Else a backend that lets people choose their names would let them choose a license."""
    license = made(door.system, 3)
    account = license.license.account
    token = secret_token(SECRET, sub=account, exp=4_000_000_000).decode()

    for headers in (ADA | {"x-user-id": account}, {"authorization": f"Bearer {token}"}):
        assert problem(door("GET", "/api/quota", headers=headers)) == (401, "invalid_api_key")


def test_the_key_itself_reads_the_license_s_own_quota(door: LicenseDoor) -> None:
    license = made(door.system, 3)

    found = door("GET", "/api/quota", headers={"authorization": f"Bearer {license.key}"}).json()

    assert (found["account"], found["tier"], found["balance"]["left"]) == (license.license.account, "license", 3)


# ── read by its owner ────────────────────────────────────────────────────────────────────────────────────────────────


def test_owners_list_their_own_licenses_with_balances_and_without_secrets(door: LicenseDoor) -> None:
    first = made(door.system, 3, id="1", name="desk")
    second = made(door.system, 0, id="2", expires_at=TOMORROW, trial=True)
    made(door.system, id="3", owner="bob")
    door.use(first)

    page = door("GET", "/api/user/license-keys?limit=1", headers=ADA)
    more = door("GET", "/api/user/license-keys", headers=ADA, params={"cursor": page.json()["next_cursor"]})

    (newest,), (oldest,) = page.json()["items"], more.json()["items"]
    assert (newest["prefix"], newest["status"], newest["trial"], newest["left"]) == (
        second.license.prefix, "inactive", True, 0,
    )  # fmt: skip
    assert (oldest["name"], oldest["left"], oldest["used"], oldest["expires_at"]) == ("desk", 2, 1, None)
    assert more.json()["next_cursor"] is None
    assert first.key[12:] not in more.text
    assert door("GET", "/api/user/license-keys", headers=ADA | {"x-user-id": "eve"}).json()["items"] == []


def test_the_usage_of_a_license_says_what_for(door: LicenseDoor) -> None:
    license = made(door.system, 3)
    about = {"purpose": "écrire ✓", "metadata": {"page": 4, "tags": ["a"]}}
    used = door.use(license, ADA | {"x-session-id": "tab 7"}, json=about)
    drain(door.system)

    (item,) = door("GET", f"/api/user/license-keys/{license.key}/usage", headers=ADA).json()["items"]

    assert item["id"] == f"api-{used.headers['x-request-id']}"
    assert (item["purpose"], item["metadata"]) == (about["purpose"], about["metadata"])
    assert (item["session"], item["tokens_used"], item["operation"]) == ("tab 7", 1, "license_use")


@pytest.mark.parametrize("query", ["cursor=x", "cursor=%00", "limit=0", "limit=1001", "limit=1.5", "limit=x"])
def test_pages_that_cannot_be_asked_for_are_refused(door: LicenseDoor, query: str) -> None:
    license = made(door.system)
    for path in ("/api/user/license-keys", f"/api/user/license-keys/{license.key}/usage"):
        assert problem(door("GET", f"{path}?{query}", headers=ADA)) == (422, "invalid_request")


# ── done by operators ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_operator_makes_a_license_and_its_key_is_shown_once(door: LicenseDoor) -> None:
    writer = door.admin("licenses:write", "accounts:read", name="eve")
    body = {
        "owner": "ada", "amount": 37, "name": "desk", "trial": True, "expires_at": "2030-01-01T00:00:00+07:00",
        "reason": "sold",
    }  # fmt: skip

    created = door("POST", ADMIN, json=body, headers=writer)

    made = created.json()
    assert created.status_code == 201
    assert (made["owner"], made["left"], made["status"]) == ("ada", 37, "trial")
    assert made["expires_at"] == "2029-12-31T17:00:00Z"
    for named in (made["key"], made["prefix"]):
        read = door("GET", f"{ADMIN}/{named}", headers=writer).json()
        assert read == {name: value for name, value in made.items() if name != "key"}
    assert door("POST", f"/api/user/license-keys/{made['key']}/use-token", headers=ADA).status_code == 200
    assert audited(door.system) == [("license.create", "admin:eve", f"license:{made['prefix']}")]


def test_a_repeat_shows_no_key_and_makes_no_second_license(door: LicenseDoor) -> None:
    headers = door.admin() | {"idempotency-key": "k1"}
    body = {"owner": "ada", "amount": 5}

    first, again = (door("POST", ADMIN, json=body, headers=headers) for _ in range(2))
    kept: list[Any] = [door.server.client.hgetall(name) for name in door.server.client.scan_iter("*:idempotent:*")]
    for name in door.server.client.scan_iter("*:idempotent:*"):
        door.server.client.delete(name)
    late = door("POST", ADMIN, json=body, headers=headers)

    made = first.json()
    assert again.json() == made | {"key": f"{made['prefix']}…"}
    assert kept
    assert made["key"][-32:] not in str(kept)
    assert problem(late) == (409, "conflict")
    assert "its key was shown then" in late.json()["detail"]
    assert len(licenses.listed(door.system).items) == 1


def test_each_change_is_answered_with_the_license_as_it_is_then_and_is_audited(door: LicenseDoor) -> None:
    admin = door.admin(name="eve")
    license = made(door.system, 0)
    at = f"{ADMIN}/{license.license.prefix}"

    def act(name: str, body: Any = None, method: str = "POST") -> dict[str, Any]:
        answer = door(method, f"{at}/{name}", json=body, headers=admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    assert act("top-up", {"amount": 5, "reason": "paid", "grant_id": "g"})["left"] == 5
    assert act("top-up", {"amount": 5, "reason": "paid", "grant_id": "g"})["left"] == 5
    assert act("transfer", {"owner": "bob"})["owner"] == "bob"
    assert act("suspend", {"reason": "unpaid"})["status"] == "suspended"
    assert act("resume")["status"] == "active"
    assert act("expiry", {"expires_at": "2030-01-01T00:00:00Z"}, "PUT")["expires_at"] == "2030-01-01T00:00:00Z"
    assert act("expiry", {"expires_at": None}, "PUT")["expires_at"] is None
    assert act("revoke", {"reason": "fraud"})["status"] == "revoked"
    assert problem(door("POST", f"{at}/resume", headers=admin)) == (409, "conflict")
    assert {actor for _, actor, _ in audited(door.system)[1:]} == {"admin:eve"}
    assert [done for done, _, _ in audited(door.system)] == [
        "license.create", "license.top_up", "license.transfer", "license.suspend", "license.resume", "license.expiry",
        "license.expiry", "license.revoke",
    ]  # fmt: skip


def test_a_top_up_without_a_grant_id_credits_once_by_its_idempotency_key(door: LicenseDoor) -> None:
    license = made(door.system, 0)
    headers = door.admin() | {"idempotency-key": "pay-7"}
    for _ in range(2):
        door("POST", f"{ADMIN}/{license.key}/top-up", json={"amount": 5, "reason": "paid"}, headers=headers)
        for name in door.server.client.scan_iter("*:idempotent:*"):
            door.server.client.delete(name)

    assert door.left(license) == 5


def test_lists_are_filtered_by_owner_and_status(door: LicenseDoor) -> None:
    reader = door.admin("accounts:read")
    mine = made(door.system, id="1").license.prefix
    other = made(door.system, 0, id="2", owner="bob").license.prefix

    def found(query: str) -> list[str]:
        return [item["prefix"] for item in door("GET", f"{ADMIN}?{query}", headers=reader).json()["items"]]

    assert found("") == [other, mine]
    assert found("owner=ada") == [mine]
    assert found("status=inactive") == [other]
    assert found("owner=bob&status=active") == []
    for bad in ("status=gone", "owner=a%20b", "owner=", "cursor=x", "limit=0"):
        assert problem(door("GET", f"{ADMIN}?{bad}", headers=reader)) == (422, "invalid_request"), bad


WRITES = [
    ("POST", "", {"owner": "ada", "amount": 1}),
    ("POST", "/{}/top-up", {"amount": 1, "reason": "paid"}),
    ("POST", "/{}/transfer", {"owner": "bob"}),
    ("POST", "/{}/suspend", None),
    ("POST", "/{}/resume", None),
    ("POST", "/{}/revoke", None),
    ("PUT", "/{}/expiry", {"expires_at": None}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_writing_needs_its_scope_and_reading_is_not_it(door: LicenseDoor, method: str, path: str, body: Any) -> None:
    license = made(door.system, 3)
    url = ADMIN + path.format(license.key)

    reader = door.admin("accounts:read", "credits:write", "keys:write")
    assert problem(door(method, url, json=body, headers=reader)) == (403, "insufficient_scope")
    assert problem(door(method, url, json=body, headers=ADA)) == (401, "invalid_admin_key")
    shown = {"authorization": f"Bearer {license.key}"}
    assert problem(door(method, url, json=body, headers=shown)) == (401, "invalid_admin_key")
    assert licenses.find(door.system, license.key) == license.license


@pytest.mark.parametrize(("method", "path", "body"), WRITES[1:])
def test_a_license_that_there_is_not_is_not_found(door: LicenseDoor, method: str, path: str, body: Any) -> None:
    url = ADMIN + path.format("lic_AbCdEfGh")

    assert problem(door(method, url, json=body, headers=door.admin())) == (404, "not_found")


def test_reading_needs_its_scope(door: LicenseDoor) -> None:
    license = made(door.system)
    writer = door.admin("licenses:write")
    for path in ("", f"/{license.key}", f"/{license.key}/usage"):
        assert problem(door("GET", ADMIN + path, headers=writer)) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    "change",
    [
        {"owner": ""}, {"owner": "a b"}, {"owner": "\ud800"}, {"owner": None}, {"owner": "license:lic_AbCdEfGh"},
        {"owner": "ip:203.0.113.7"}, {"amount": -1}, {"amount": 1.0}, {"amount": True}, {"amount": "1"},
        {"amount": 2**53}, {"amount": None}, {"name": "a\nb"}, {"name": "x" * 101}, {"trial": "yes"}, {"trial": 1},
        {"expires_at": "tomorrow"}, {"expires_at": "2030-01-01T00:00:00"}, {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "0001-01-01T00:00:00+14:00"}, {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": True}, {"expires_at": 1893456000}, {"expires_at": "1893456000"}, {"reason": ""},
        {"reason": "\x00"},
        {"more": 1},
        {"prefix": "lic_AbCdEfGh"},
    ],
)  # fmt: skip
def test_a_license_that_cannot_be_is_not_made(door: LicenseDoor, change: dict[str, Any]) -> None:
    body = json.dumps({"owner": "ada", "amount": 1} | change)
    headers = door.admin() | {"content-type": "application/json"}

    answer = door("POST", ADMIN, content=body, headers=headers)

    assert problem(answer) == (422, "invalid_request"), answer.text
    assert licenses.listed(door.system).items == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("top-up", {"amount": 0, "reason": "x"}), ("top-up", {"amount": 1}), ("top-up", {"amount": 1, "reason": ""}),
        ("top-up", {"amount": 1, "reason": "x", "grant_id": "a=b"}), ("top-up", {"amount": 2**53, "reason": "x"}),
        ("transfer", {}), ("transfer", {"owner": "ip:1.2.3.4"}), ("transfer", {"owner": "x" * 201}),
        ("suspend", {"because": "x"}), ("suspend", []), ("revoke", {"reason": "a\nb"}),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_changes_nothing(door: LicenseDoor, path: str, body: Any) -> None:
    license = made(door.system, 3)

    answer = door("POST", f"{ADMIN}/{license.key}/{path}", json=body, headers=door.admin())

    assert problem(answer) == (422, "invalid_request"), answer.text
    assert licenses.find(door.system, license.key) == license.license
    assert len(audited(door.system)) == 1


def test_where_licenses_are_off_none_is_made_and_the_answer_says_so(door: LicenseDoor) -> None:
    door.config = parse(config_text(), "config.toml", {})

    answer = door("POST", ADMIN, json={"owner": "ada", "amount": 1}, headers=door.admin())

    assert problem(answer) == (409, "conflict")
    assert "licenses are off" in answer.json()["detail"].lower()


# ── what is kept to oneself ──────────────────────────────────────────────────────────────────────────────────────────


def test_no_refusal_and_no_log_repeats_the_secret_of_a_key_in_the_path(
    door: LicenseDoor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    license = made(door.system)
    secret = license.key[12:]
    (own,) = api_keys.create(door.system, ["ada"])
    admin = door.admin()
    said = []
    for method, path, headers in (
        ("GET", f"/api/user/license-keys/{license.key}/use-token", ADA),
        ("POST", f"/api/user/license-keys/{license.key}/nothing", ADA),
        ("POST", f"/api/user/license-keys/{license.key}", ADA),
        ("POST", f"/api/user/license-keys/{license.key}/use-token", BOB),
        ("POST", f"/api/user/license-keys/{license.key}x/use-token", ADA),
        ("DELETE", f"{ADMIN}/{license.key}", admin),
        ("GET", f"{ADMIN}/{license.key}x", admin),
        ("POST", f"{ADMIN}/{license.key}/resume?x={license.key}", admin),
        ("GET", f"/nowhere/{own}", ADA),
    ):
        said.append(door(method, path, headers=headers).text)
    licenses.revoke(door.system, license.key, id="r", actor=ACTOR)
    said.append(door.use(license).text)

    assert len(said) == 10
    # The client of these tests logs what it asks for.
    told = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]
    everything = "".join([*said, *told])
    assert license.license.prefix in everything
    assert secret not in everything
    assert own[11:] not in everything


def test_a_fault_inside_does_not_repeat_it_either(
    door: LicenseDoor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    license = made(door.system)
    monkeypatch.setattr("gateway.accounts.license_uses.spend", lambda *_, **__: 1 / 0)

    answer = door.use(license)

    assert problem(answer) == (500, "internal_error")
    told = [caplog.handler.format(record) for record in caplog.records if not record.name.startswith("httpx2")]
    assert any("ZeroDivisionError" in line for line in told)
    assert license.key[12:] not in "".join([answer.text, *told])
