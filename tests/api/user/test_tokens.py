"""`/api/chat/token`: what is left, and the use of some at once: exactly, once, all or nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.accounts import balances
from gateway.domain.tier import MAX_UNITS
from gateway.ledger.queries import usage_of
from gateway.store import calls
from tests.api.user.door import Door, named

USE, BULK = "/api/chat/token/use", "/api/chat/token/use/bulk"
KEYED = {"idempotency-key": "k1"}


def left(door: Door, account: str = "ada") -> int:
    found: int = door.get("/api/chat/token", account)["remaining"]
    return found


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


# ── what is left ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_nobody_called_from_has_what_its_first_call_opens_it_with(door: Door) -> None:
    found = door.get("/api/chat/token")

    assert found.pop("resets_at").endswith("T17:00:00Z")
    assert found.pop("topup_url") is None
    assert found == {"remaining": 20, "limit": 20, "held": 0, "low": False, "unit": "token", "decimals": 0}
    assert list(door.system.redis.scan_iter("*account:ada")) == []
    assert door.post(USE, {})["remaining"] == 19


def test_what_is_left_and_what_it_is_a_part_of(door: Door) -> None:
    door.post(USE, {"amount": 7})

    found = door.get("/api/chat/token")

    assert (found["remaining"], found["limit"], found["low"]) == (13, 20, False)


def test_a_grant_that_is_used_up_is_no_part_of_the_limit_any_more(door: Door) -> None:
    door.post(USE, {"amount": 20})

    found = door.get("/api/chat/token")

    assert (found["remaining"], found["limit"], found["low"]) == (0, 5, True)


def test_without_an_allowance_nothing_resets(door: Door) -> None:
    door.system.runner.run(calls.open_account(door.system.keys.account("zoe"), door.system.tier("empty")))

    assert door.get("/api/chat/token", "zoe") == {
        "remaining": 0, "limit": 0, "held": 0, "resets_at": None, "low": False, "unit": "token", "decimals": 0,
        "topup_url": None,
    }  # fmt: skip


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer qg_wrong"}, {"x-gateway-secret": "no"}])
def test_whoever_is_not_known_is_refused(door: Door, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/chat/token"), ("POST", USE), ("POST", BULK)):
        [answer] = door.together((method, path, {"headers": headers, "json": {}}))

        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


# ── use ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_use_is_paid_and_told(door: Door) -> None:
    found = door.post(USE, {"amount": 16})

    assert found.pop("resets_at").endswith("T17:00:00Z")
    assert found.pop("id").startswith("api-")
    assert found == {"used": 16, "remaining": 4, "low": True}


def test_a_use_without_an_amount_is_of_one(door: Door) -> None:
    assert door.post(USE, {})["used"] == 1


def test_the_ledger_hears_what_it_was_for(door: Door) -> None:
    told = {"amount": 2, "purpose": "größer ✓", "metadata": {"a": [1, 2.5, None, "ü"], "b": {}}}
    id = door.post(USE, told, headers={"x-session-id": "chat 7 ✓".encode()})["id"]
    door.drain()

    (row,) = usage_of(door.ledger, "ada")
    assert (row["id"], row["operation"], row["purpose"], row["session"], row["cost"]) == (
        id, "token_use", "größer ✓", "chat 7 ✓", 2,
    )  # fmt: skip
    assert row["details"] == '{"a":[1,2.5,null,"ü"],"b":{}}'


@pytest.mark.parametrize(
    "amount",
    [0, -1, MAX_UNITS + 1, 2**63, 10**40, 1.0, 1.5, 1e300, True, "1", None, [], {}, float("nan"), float("inf")],
)
@pytest.mark.parametrize("path", [USE, BULK])
def test_what_is_no_amount_is_refused_and_nothing_is_used(door: Door, path: str, amount: Any) -> None:
    body = {"amount": amount} if path == USE else {"lines": [{"amount": 1}, {"amount": amount}]}

    answer = door.request("POST", path, content=json.dumps(body), headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(door.system.redis.scan_iter("*account:ada")) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"[]", b"null", b"1", b"\xff\xfe", b"{", b'{"amount": 1', b'{"amount": 1, "more": 2}', b"{}{}",
        b"[" * 100_000, b'{"amount": ' + b"9" * 5000 + b"}", b'{"purpose": "\\ud800"}', b'{"purpose": "a\\u0000b"}',
        b'{"purpose": "' + b"x" * 201 + b'"}', b'{"purpose": 7}', b'{"metadata": []}', b'{"metadata": "x"}',
        b'{"metadata": {"a": NaN}}', b'{"metadata": {"a": 1e999}}', b'{"metadata": {"a": "\\ud800"}}',
        b'{"metadata": ' + json.dumps({"a": "x" * 993}).encode() + b"}", b'{"metadata": ' + b'{"a":' * 5000,
        json.dumps({"metadata": deep(17)}).encode(),
    ],
)  # fmt: skip
def test_garbage_is_refused_and_nothing_is_used(door: Door, body: bytes) -> None:
    answer = door.request("POST", USE, content=body, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(door.system.redis.scan_iter("*account:ada")) == []


@pytest.mark.parametrize("metadata", [{}, {"a": "x" * 992}, deep(16), {"é": "\u0000"}])
def test_metadata_at_its_bounds_is_taken(door: Door, metadata: dict[str, Any]) -> None:
    door.post(USE, {"metadata": metadata})
    door.drain()

    (row,) = usage_of(door.ledger, "ada")
    assert json.loads(row["details"]) == metadata


@pytest.mark.parametrize("session", [b"", b"x" * 201, b"a\x7fb", b"\xff", "a\u200eb".encode()])
def test_a_session_that_is_none_is_refused(door: Door, session: bytes) -> None:
    assert door.post(USE, {}, status=422, headers={"x-session-id": session})["code"] == "invalid_request"


@pytest.mark.parametrize("account", ["用户", "a/b", "josé@example.org", "..", "x" * 200])
def test_accounts_with_strange_names_are_accounts(door: Door, account: str) -> None:
    headers = {"x-user-id": account.encode()}  # As UTF-8.
    assert door.post(USE, {"amount": 3}, headers=headers)["remaining"] == 17
    assert door.get("/api/chat/token", headers=headers)["remaining"] == 17
    assert left(door) == 20


# ── use by lines ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_are_used_together(door: Door) -> None:
    found = door.post(BULK, {"lines": [{"amount": 3, "purpose": "one"}, {"purpose": "two"}, {"amount": 2}]})
    door.drain()

    assert (found["used"], found["remaining"]) == (6, 14)
    rows = list(usage_of(door.ledger, "ada"))
    assert [(row["purpose"], row["cost"]) for row in rows] == [("one", 3), ("two", 1), ("", 2)]
    assert [row["id"] for row in rows] == [f"{found['id']}/{n}" for n in (1, 2, 3)]


def test_lines_that_are_too_much_together_use_nothing(door: Door) -> None:
    refused = door.post(BULK, {"lines": [{"amount": 15}, {"amount": 6}]}, status=429)

    assert refused["code"] == "insufficient_quota"
    assert left(door) == 20


@pytest.mark.parametrize("lines", [[], [{}] * 1001, [{"amount": MAX_UNITS}] * 2, {}, None, [[]]])
def test_lines_that_are_none_are_refused(door: Door, lines: Any) -> None:
    assert door.post(BULK, {"lines": lines}, status=422)["code"] == "invalid_request"


def test_a_thousand_lines_are_used_at_once(door: Door) -> None:
    balances.grant(door.system, "ada", 1000, "g1", "for a thousand")

    found = door.post(BULK, {"lines": [{"metadata": {"line": n, "text": "x" * 900}} for n in range(1000)]})

    assert (found["used"], found["remaining"]) == (1000, 20)
    door.drain()
    assert len(list(usage_of(door.ledger, "ada"))) == 1000


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_too_little_is_told_as_insufficient_tokens(door: Door) -> None:
    refused = door.post(USE, {"amount": 21}, status=429)

    assert refused["code"] == "insufficient_quota"
    assert refused["detail"] == ("Insufficient tokens: this costs 21 token(s), and 20 are left. Top up to go on.")
    assert left(door) == 20


def test_waiting_is_told_where_it_helps(door: Door) -> None:
    door.post(USE, {"amount": 20})

    answer = door.request("POST", USE, json={"amount": 5})

    assert (answer.status_code, answer.json()["code"]) == (429, "insufficient_quota")
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert "retry-after" not in door.request("POST", USE, json={"amount": 6}).headers


def test_the_status_of_an_empty_balance_is_the_configs(
    redis_client: redis.Redis, tmp_path: Path, migrated: Path
) -> None:
    door = Door(
        redis_client, tmp_path, replace=('default_tier = "free"', 'default_tier = "free"\nexhausted_status = 402')
    )

    assert door.post(USE, {"amount": 21}, status=402)["code"] == "insufficient_quota"
    door.close()


def test_a_limit_is_told_as_one(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> None:
    door = Door(redis_client, tmp_path, replace=('default_tier = "free"', 'default_tier = "told"'))
    for _ in range(2):
        door.post(USE, {})

    answer = door.request("POST", USE, json={})

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit_exceeded")
    assert answer.json()["violated-policies"] == ["uses"]
    assert 0 < int(answer.headers["retry-after"]) <= 1800
    assert door.get("/api/chat/token")["remaining"] == 148
    door.close()


def test_a_suspended_account_uses_nothing_and_may_read(door: Door) -> None:
    door.post(USE, {})
    door.suspend()

    assert door.post(USE, {}, status=403)["code"] == "account_suspended"
    assert left(door) == 19


def test_a_credential_for_other_things_uses_nothing(door: Door) -> None:
    chat = door.publish(scopes=("chat",))
    both = door.publish(key="qg_BbCdEfGh" + "s" * 32, scopes=("chat", "token_use"))

    for path in (USE, BULK):
        [answer] = door.together(("POST", path, {"headers": chat, "json": {"lines": [{}]} if path == BULK else {}}))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    [answer] = door.together(("POST", USE, {"headers": both, "json": {}}))
    assert answer.status_code == 200


@pytest.mark.parametrize("more", [{}, KEYED])
def test_whoever_leaves_in_the_middle_of_a_request_is_no_fault_of_ours(
    door: Door, caplog: pytest.LogCaptureFixture, more: dict[str, str]
) -> None:
    headers = named("ada") | {"host": "gateway", "content-type": "application/json", "content-length": "100"} | more
    scope = {
        "type": "http", "method": "POST", "path": USE, "raw_path": USE.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()], "http_version": "1.1",
        "scheme": "http", "client": ("203.0.113.7", 5000), "server": ("gateway", 80),
    }  # fmt: skip
    coming = [{"type": "http.request", "body": b'{"amo', "more_body": True}]
    sent: list[Any] = []

    async def receive() -> Any:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def leave() -> None:
        await door.app(scope, receive, send)
        await door.gate.close()

    asyncio.run(leave())

    assert sent[0]["status"] == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# ── repeated, and at once ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_use_that_is_repeated_with_its_key_is_used_once(door: Door) -> None:
    first = door.request("POST", USE, json={"amount": 3}, headers=KEYED)
    again = door.request("POST", USE, json={"amount": 3}, headers=KEYED)

    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert left(door) == 17


def test_the_same_key_with_another_body_or_path_or_account(door: Door) -> None:
    door.post(USE, {"amount": 3}, headers=KEYED)

    assert door.post(USE, {"amount": 4}, status=422, headers=KEYED)["code"] == "idempotency_key_reused"
    assert door.post(BULK, {"lines": [{}]}, headers=KEYED)["remaining"] == 16
    assert door.post(USE, {"amount": 3}, "bob", headers=KEYED)["remaining"] == 17


def test_a_credential_for_other_things_reads_no_answer_of_another_s(door: Door) -> None:
    door.post(USE, {"amount": 3}, headers=KEYED)
    chat = door.publish(scopes=("chat",)) | KEYED

    [answer] = door.together(("POST", USE, {"headers": chat, "json": {"amount": 3}}))

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_a_use_whose_answer_was_lost_is_used_once_all_the_same(door: Door) -> None:
    """As when the gateway died between the script and the answer: only the ids are left."""
    first = door.post(USE, {"amount": 3}, headers=KEYED)
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)

    assert door.post(USE, {"amount": 3}, headers=KEYED) == first
    for key in door.system.redis.scan_iter("qg:{p00}:idempotent:*"):
        door.system.redis.delete(key)
    assert door.post(USE, {"amount": 4}, status=409, headers=KEYED)["code"] == "conflict"
    assert left(door) == 17


def test_a_refusal_is_not_kept_for_repeats(door: Door) -> None:
    door.post(USE, {"amount": 21}, status=429, headers=KEYED)
    balances.grant(door.system, "ada", 50, "g1", "paid")

    assert door.post(USE, {"amount": 21}, headers=KEYED)["remaining"] == 49


def test_of_fifty_at_once_as_many_are_served_as_there_are_units(door: Door) -> None:
    answers = door.together(*[("POST", USE, {"headers": named("ada"), "json": {}}) for _ in range(50)])

    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [429] * 30
    assert sorted(a.json()["remaining"] for a in answers if a.status_code == 200) == list(range(20))


def test_a_key_that_is_sent_many_times_at_once_uses_once(door: Door) -> None:
    request = ("POST", USE, {"headers": named("ada") | KEYED, "json": {"amount": 3}})

    statuses = {answer.status_code for answer in door.together(*[request] * 20)}

    assert statuses <= {200, 409}
    assert left(door) == 17
