"""`/api/usage`: what was used, by the account's own local days, models, operations and sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from gateway.ledger.record import record
from gateway.store import calls
from tests.api.user.door import Door
from tests.ledger.events import usage

USE = "/api/chat/token/use"
NOTHING = {
    "requests": 0,
    "tokens": {"total": 0, "input": 0, "cached": 0, "cache_write": 0, "output": 0, "reasoning": 0, "reported": 0},
    "cost": 0,
    "audio_ms": 0,
    "images": 0,
}


def test_an_account_that_did_nothing_used_nothing(door: Door) -> None:
    found = door.get("/api/usage/today")

    assert found["first_day"] == found["last_day"] == f"{datetime.now(ZoneInfo('Asia/Jakarta')):%Y-%m-%d}"
    assert (found["total"], found["by_day"], found["by_model"], found["by_operation"]) == (NOTHING, [], [], [])


def test_today_is_the_local_day_of_the_account(door: Door) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # They never share a date.
        key = door.system.keys.account(zone)
        door.system.runner.run(calls.open_account(key, door.system.tier("free"), zone=zone))

        assert door.get("/api/usage/today", zone)["first_day"] == f"{datetime.now(ZoneInfo(zone)):%Y-%m-%d}"


def test_what_was_used_is_summed_up_in_each_way(door: Door) -> None:
    for amount in (3, 4):
        door.post(USE, {"amount": amount})
    door.post("/api/user/update-tokens", {"totalTokens": 100, "inputTokens": 60, "outputTokens": 30, "model": "m1"})
    door.drain()

    found = door.get("/api/usage/today")

    assert found["total"]["cost"] == 7
    assert found["total"]["requests"] == 2
    assert (
        found["total"]["tokens"] | {"total": 100, "input": 60, "output": 30, "reported": 10}
        == (found["total"]["tokens"])
    )
    assert [day["cost"] for day in found["by_day"]] == [7]
    assert [(group["name"], group["cost"], group["requests"]) for group in found["by_operation"]] == [
        ("token_use", 7, 2),
        ("report", 0, 0),
    ]
    assert [(group["name"], group["tokens"]["total"]) for group in found["by_model"]] == [("", 0), ("m1", 100)]
    assert door.get("/api/usage/month")["total"] == found["total"]
    assert door.get("/api/usage/today", "bob")["total"] == NOTHING


def test_a_month_has_all_of_its_days_and_no_others(door: Door) -> None:
    days = ("2026-01-31", "2026-02-01", "2026-02-28", "2026-03-01")
    record(door.ledger, [usage(f"r{n}", account="ada", local_day=day) for n, day in enumerate(days)])

    found = door.get("/api/usage/month?month=2026-02")

    assert (found["first_day"], found["last_day"]) == ("2026-02-01", "2026-02-28")
    assert [day["name"] for day in found["by_day"]] == ["2026-02-01", "2026-02-28"]
    assert found["total"]["requests"] == 2
    assert door.get("/api/usage/month?month=2024-02")["last_day"] == "2024-02-29"


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-00", "2026", "26-01", "2026-1", "x", "", "2026-01-01", "%00", "２026-01"]
)
def test_what_is_no_month_is_refused(door: Door, month: str) -> None:
    assert door.get(f"/api/usage/month?month={quote(month, safe='%')}", status=422)["code"] == "invalid_request"


@pytest.mark.parametrize("session", ["chat-7", "größer ✓", "a/b", "100%", "..x"])
def test_a_session_is_told_with_its_calls(door: Door, session: str) -> None:
    for amount in (3, 4):
        told = {"amount": amount, "purpose": f"p{amount}", "metadata": {"a": 1}}
        door.post(USE, told, headers={"x-session-id": session.encode()})
    door.post(USE, {}, headers={"x-session-id": b"another"})
    door.drain()

    found = door.get("/api/usage/sessions", params={"id": session})

    assert (found["session"], found["total"]["cost"], found["total"]["requests"]) == (session, 7, 2)
    assert datetime.fromisoformat(found["first_at"]) <= datetime.fromisoformat(found["last_at"]) <= datetime.now(UTC)
    assert [(call["purpose"], call["cost"], call["metadata"]) for call in found["calls"]["items"]] == [
        ("p4", 4, {"a": 1}),
        ("p3", 3, {"a": 1}),
    ]
    if "/" not in session and "%" not in session and ".." not in session:
        assert door.get(f"/api/usage/sessions/{quote(session)}") == found


def test_the_calls_of_a_session_are_told_page_by_page(door: Door) -> None:
    for _ in range(3):
        door.post(USE, {}, headers={"x-session-id": "s1"})
    door.drain()

    first = door.get("/api/usage/sessions/s1?limit=2")["calls"]
    rest = door.get(f"/api/usage/sessions/s1?limit=2&cursor={first['next_cursor']}")["calls"]

    assert (len(first["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert len({call["id"] for call in first["items"] + rest["items"]}) == 3


@pytest.mark.parametrize("session", ["s2", "%00", "x" * 201, "%0A"])
def test_a_session_that_there_is_not_is_not_found(door: Door, session: str) -> None:
    answer = door.request("GET", f"/api/usage/sessions/{session}")

    assert answer.status_code in (400, 404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_session_of_another_account_is_not_found(door: Door) -> None:
    door.post(USE, {}, headers={"x-session-id": "s1"})
    door.drain()

    assert door.get("/api/usage/sessions/s1", "bob", 404)["code"] == "not_found"


def test_a_session_needs_a_page_that_there_is(door: Door) -> None:
    door.post(USE, {}, headers={"x-session-id": "s1"})
    door.drain()

    assert door.get("/api/usage/sessions/s1?cursor=x", status=422)["code"] == "invalid_request"
