"""`/api/billing`: the balance by bucket, and the entries behind it, page by page."""

from __future__ import annotations

import pytest

from gateway.accounts import balances
from tests.api.user.door import Door

USE, ENTRIES = "/api/chat/token/use", "/api/billing/transactions"


def test_the_balance_is_told_by_bucket_and_over_a_life(door: Door) -> None:
    balances.grant(door.system, "ada", 50, "g1", "paid", expires_s=4_000_000_000)
    door.post(USE, {"amount": 4})
    door.post("/api/operations/fixed/reserve", {})
    door.post("/api/user/update-tokens", {"totalTokens": 1916})

    found = door.get("/api/billing/balance")

    day = found["buckets"][0]
    assert (day["kind"], day["amount"], day["left"], day["ends_at"]) == ("day", 5, 0, found["resets_at"])
    assert sorted(found["buckets"][1:], key=lambda bucket: bucket["id"]) == [
        {"kind": "credits", "id": "g1", "amount": 50, "left": 48, "ends_at": "2096-10-02T07:06:40Z"},
        {"kind": "credits", "id": "signup", "amount": 15, "left": 15, "ends_at": None},
    ]
    assert (found["account"], found["tier"], found["left"], found["held"], found["low"]) == (
        "ada",
        "free",
        63,
        3,
        False,
    )
    assert found["lifetime"] == {"granted": 70, "spent": 4, "used_tokens": 1916}


def test_what_is_due_is_told_with_the_rest(door: Door) -> None:
    balances.grant(door.system, "ada", 50, "g1", "paid")

    found = door.get("/api/billing/balance")

    assert found["left"] == 70
    assert {bucket["kind"]: bucket["left"] for bucket in found["buckets"] if bucket["id"] != "signup"} == {
        "credits": 50,
        "day": 5,
    }


def test_the_balance_of_an_account_that_nobody_called_from(door: Door) -> None:
    found = door.get("/api/billing/balance")

    assert (found["left"], found["held"]) == (20, 0)
    assert found["lifetime"] == {"granted": 0, "spent": 0, "used_tokens": 0}
    assert list(door.system.redis.scan_iter("*:ada*")) == []


def test_every_entry_is_told_newest_first(door: Door) -> None:
    id = door.post(USE, {"amount": 7})["id"]
    balances.grant(door.system, "ada", 50, "g1", "paid")
    door.drain()

    items = door.get(ENTRIES)["items"]

    day = door.get("/api/billing/balance")["buckets"][0]["id"]
    assert [(e["kind"], e["bucket"], e["amount"], e["operation"], e["reason"], e["reservation"]) for e in items] == [
        ("TOP_UP", "credits:g1", 50, None, "paid", None),
        ("USAGE", "credits:signup", -2, "token_use", None, id),
        ("USAGE", f"day:{day}", -5, "token_use", None, id),
        ("DAILY_RESET", f"day:{day}", 5, None, None, None),
        ("SIGNUP", "credits:signup", 15, None, None, None),
    ]


def test_entries_are_told_page_by_page(door: Door) -> None:
    for _ in range(5):
        door.post(USE, {})
    door.drain()

    everything = door.get(f"{ENTRIES}?limit=1000")["items"]
    found = door.get(f"{ENTRIES}?limit=2")
    pages = [found["items"]]
    while found["next_cursor"] is not None:
        found = door.get(f"{ENTRIES}?limit=2&cursor={found['next_cursor']}")
        pages.append(found["items"])

    assert [len(page) for page in pages] == [2, 2, 2, 1]
    assert [entry for page in pages for entry in page] == everything


def test_entries_are_found_by_kind_operation_and_time(door: Door) -> None:
    door.post(USE, {})
    door.drain()

    at = door.get(ENTRIES)["items"][0]["at"]
    assert [e["kind"] for e in door.get(f"{ENTRIES}?kind=SIGNUP")["items"]] == ["SIGNUP"]
    assert [e["kind"] for e in door.get(f"{ENTRIES}?operation=token_use")["items"]] == ["USAGE"]
    assert door.get(f"{ENTRIES}?operation=other")["items"] == []
    assert len(door.get(ENTRIES, params={"from": at})["items"]) == 3
    assert door.get(ENTRIES, params={"to": at})["items"] == []


def test_nobody_reads_what_another_did(door: Door) -> None:
    door.post(USE, {})
    door.drain()

    assert door.get(ENTRIES, "bob") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    "query",
    [
        "kind=usage", "kind=", "kind=USAGE%00", "limit=0", "limit=1001", "limit=x", "limit=1.5", "limit=9999999999999",
        "from=yesterday", "from=2026-11-20T00:00:00", "to=2026-13-01T00:00:00Z", "to=9999-12-31T23:59:59-14:00",
        "cursor=x", "cursor=WyJhIl0", "cursor=%00", "cursor=" + "A" * 1001, "operation=%00", "operation=" + "x" * 201,
        "cursor=W10", "cursor=%F0%9F%92%A9",
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused(door: Door, query: str) -> None:
    assert door.get(f"{ENTRIES}?{query}", status=422)["code"] == "invalid_request"


@pytest.mark.parametrize("path", ["/api/billing/balance", ENTRIES, "/api/billing/daily-reset"])
def test_whoever_is_not_known_is_refused(door: Door, path: str) -> None:
    [answer] = door.together(("GET", path, {}))

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
