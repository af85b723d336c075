"""`/api/credits`: what is left and where it came from, every grant, and line by line what each paid for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.accounts import balances, payouts
from gateway.accounts.payouts import Due
from gateway.store import acts, calls
from tests.api.user.door import Door

SHOP = """
[payments]
provider = "xendit"
topup_url = "https://shop.example/topup?for={account}"
any_amount = { units = 1_000, price = "15000 IDR", min_units = 500, max_units = 100_000, valid_days = 30 }
[payments.xendit]
[packages.small]
title = "Small"
price = "50000 IDR"
amount = 4_000
[packages.large]
price = "19.99 USD"
amount = 20_000
bonus = 1_000
valid_days = 90
"""
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.fixture
def shop(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> Any:
    (tmp_path / "ledger.sqlite3").write_bytes(migrated.read_bytes())
    opened = Door(redis_client, tmp_path, SHOP)
    yield opened
    opened.close()


def use(door: Door, amount: int) -> Any:
    return door.post("/api/chat/token/use", {"amount": amount})


def bought(door: Door, order: str, *due: Due) -> None:
    with door.ledger.begin() as connection:
        payouts.owe(connection, due, NOW)
    payouts.pay(door.system, f"order:{order}")


def top_up(order: str, amount: int) -> Due:
    return Due("ada", f"order:{order}", "TOP_UP", amount, "a package", f"order:{order}", priority=100)


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_nobody_called_from_has_its_sign_up(door: Door) -> None:
    found = door.get("/api/credits")

    assert (found["left"], found["held"], found["topup_url"]) == (15, 0, None)
    assert set(found["lifetime"].values()) == {0}
    assert [(grant["id"], grant["kind"], grant["left"]) for grant in found["grants"]] == [("signup", "SIGNUP", 15)]


def test_grants_stand_in_the_order_in_which_calls_draw_on_them(door: Door) -> None:
    system = door.system
    later, soon = 1_900_000_000, 1_800_000_000
    balances.grant(system, "ada", 7, "late", "given", "REWARD", priority=50, expires_s=later)
    balances.grant(system, "ada", 8, "soon", "given", "REWARD", priority=50, expires_s=soon)
    bought(
        door, "o1", Due("ada", "order:o1:bonus", "REWARD", 9, "a bonus", "order:o1", priority=101), top_up("o1", 100)
    )
    use(door, 5 + 15 + 3)  # The day, the sign-up, and 3 more.

    grants = door.get("/api/credits")["grants"]

    assert [(grant["id"], grant["amount"], grant["left"], grant["priority"]) for grant in grants] == [
        ("soon", 8, 5, 50), ("late", 7, 7, 50), ("order:o1", 100, 100, 100), ("order:o1:bonus", 9, 9, 101),
    ]  # fmt: skip
    assert [(grant["kind"], grant["cause"]) for grant in grants] == [
        (None, None), (None, None), ("TOP_UP", "order:o1"), ("REWARD", "order:o1"),
    ]  # fmt: skip
    assert [grant["expires_at"] for grant in grants] == ["2027-01-15T08:00:00Z", "2030-03-17T17:46:40Z", None, None]
    door.drain()
    assert [grant["kind"] for grant in door.get("/api/credits")["grants"]] == ["REWARD", "REWARD", "TOP_UP", "REWARD"]


def test_what_was_ever_gained_and_lost_is_what_is_left(door: Door) -> None:
    system, key = door.system, door.system.keys.account("ada")
    bought(door, "o1", top_up("o1", 100))
    bought(door, "o2", top_up("o2", 40))
    balances.grant(system, "ada", 30, "plan", "a period", "SUBSCRIPTION", priority=10)
    balances.grant(system, "ada", 6, "friend", "a friend came", "REFERRAL", priority=50)
    balances.grant(system, "ada", 11, "mended", "a mistake", "ADJUSTMENT", priority=60)
    use(door, 5 + 15 + 30 + 2)  # The day, the sign-up, the plan, and 2 of the friend's.
    system.runner.run(acts.adjust(key, "taken", 4, "a mistake"))
    system.runner.run(acts.void(key, "v1", "order:o2", "its money went back", kind="REVERSAL"))
    door.drain()

    found = door.get("/api/credits")

    assert found["lifetime"] == {
        "bought": 140, "given": 21, "subscription": 30, "adjusted": 7, "used": 47, "expired": 0, "refunded": 40,
    }  # fmt: skip
    assert (found["left"], found["held"]) == (140 + 21 + 30 + 7 - 47 - 40, 0)


def test_what_calls_hold_is_told_of_credits_alone(door: Door) -> None:
    use(door, 2)
    door.post("/api/operations/create_website/reserve")

    found = door.get("/api/credits")

    assert (found["left"], found["held"]) == (14, 1)  # 3 of the 4 are held of the day.


# ── every grant, and what it paid ────────────────────────────────────────────────────────────────────────────────────


def test_every_grant_is_told_page_by_page_used_up_or_not(door: Door) -> None:
    for number in range(5):
        bought(door, f"o{number}", top_up(f"o{number}", 10 + number))
    use(door, 5 + 15 + 10)
    door.system.runner.run(acts.void(door.system.keys.account("ada"), "v1", "order:o3", "went back", kind="REVERSAL"))
    door.drain()

    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = door.get("/api/credits/grants", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        items, cursor = items + page["items"], page["next_cursor"]

    by_id = {item["id"]: item for item in items}
    assert len(items) == len(by_id) == 6
    assert [item["granted_at"] for item in items] == sorted((item["granted_at"] for item in items), reverse=True)
    assert [by_id[f"order:o{n}"]["left"] for n in range(5)] == [0, 11, 12, 0, 14]
    assert (by_id["order:o1"]["cause"], by_id["order:o1"]["reason"]) == ("order:o1", "a package")
    assert [id for id, item in by_id.items() if item["voided_at"]] == ["order:o3"]


def test_a_grant_tells_which_calls_it_paid(door: Door) -> None:
    bought(door, "o1", top_up("o1", 10))
    first = use(door, 5 + 15 + 4)["id"]  # 4 of them are of the order.
    second = use(door, 6)["id"]
    door.drain()

    items = door.get("/api/credits/grants/order:o1/entries")["items"]

    assert [(item["kind"], item["amount"], item["operation"]) for item in items] == [
        ("USAGE", -6, "token_use"), ("USAGE", -4, "token_use"), ("TOP_UP", 10, None),
    ]  # fmt: skip
    assert [(item["reservation"] or "").partition("/")[0] for item in items] == [second, first, ""]
    assert sum(item["amount"] for item in items) == 0


def test_its_lines_are_told_page_by_page_whatever_its_id_holds(door: Door) -> None:
    balances.grant(door.system, "ada", 10, "sub/3%", "a plan", "SUBSCRIPTION", priority=0)
    for _ in range(3):
        use(door, 10)
    door.drain()
    asked = {"grant": "sub/3%", "limit": 1}

    first = door.get("/api/credits/entries", params=asked)
    second = door.get("/api/credits/entries", params=asked | {"cursor": first["next_cursor"]})

    assert [first["items"][0]["kind"], second["items"][0]["kind"]] == ["USAGE", "SUBSCRIPTION"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize("grant", ["order:o2", "nothing", "x" * 200])
def test_nobody_reads_what_another_accounts_grant_paid(door: Door, grant: str) -> None:
    bought(door, "o2", top_up("o2", 10))
    door.drain()

    refused = door.get(f"/api/credits/grants/{grant}/entries", "bea", status=404)

    assert refused["code"] == "not_found"


def test_an_id_that_no_database_keeps_is_refused(door: Door) -> None:
    refused = door.get("/api/credits/entries?grant=%00", status=422)

    assert refused["errors"][0]["where"] == "query.grant"


# ── what more costs ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sold_is_told_with_its_price(shop: Door) -> None:
    found = shop.get("/api/payments/methods")

    assert {name: found[name] for name in ("unit", "decimals", "packages", "any_amount")} == {
        "unit": "token", "decimals": 0,
        "packages": [
            {"name": "small", "title": "Small", "price": money(5_000_000, "IDR", "50000 IDR"), "amount": 4000,
             "bonus": 0, "valid_days": 0},
            {"name": "large", "title": "large", "price": money(1999, "USD", "19.99 USD"), "amount": 20_000,
             "bonus": 1000, "valid_days": 90},
        ],
        "any_amount": {
            "amount": 1000, "price": money(1_500_000, "IDR", "15000 IDR"), "min_amount": 500, "max_amount": 100_000,
            "valid_days": 30,
        },
    }  # fmt: skip


def money(minor: int, currency: str, text: str) -> dict[str, Any]:
    return {"amount_minor": minor, "currency": currency, "text": text}


@pytest.mark.parametrize("path", ["credits", "credits/grants", "credits/grants/signup/entries"])
def test_it_is_told_to_callers_alone(door: Door, path: str) -> None:
    assert door.together(("GET", f"/api/{path}", {}))[0].status_code == 401


# ── where to top up ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_has_too_little_is_told_where_to_top_up(shop: Door) -> None:
    url = "https://shop.example/topup?for=ada%2Fb%3F"
    for path, body in (
        ("/api/chat/token/use", {"amount": 21}),
        ("/api/chat/token/use/bulk", {"lines": [{"amount": 20}, {"amount": 1}]}),
    ):
        answer = shop.request("POST", path, "ada/b?", json=body)

        assert (answer.status_code, answer.json()["topup_url"]) == (429, url)
        assert answer.headers["link"] == f'<{url}>; rel="payment"'
        assert answer.json()["detail"].endswith(f"Top up to go on: {url}")
    shop.post("/api/chat/token/use", {"amount": 20}, "ada/b?")
    assert shop.post("/api/operations/create_website/reserve", account="ada/b?", status=429)["topup_url"] == url
    for path in ("/api/quota", "/api/chat/token", "/api/credits"):
        assert shop.get(path, "ada/b?")["topup_url"] == url


def test_who_is_over_a_limit_or_suspended_is_not_sent_to_pay(shop: Door) -> None:
    system = shop.system
    system.runner.run(calls.open_account(system.keys.account("ada"), system.config.tiers["told"]))
    for _ in range(2):
        use(shop, 1)

    limited = shop.post("/api/chat/token/use", {"amount": 1}, status=429)
    shop.suspend()
    suspended = shop.post("/api/chat/token/use", {"amount": 1}, status=403)

    assert (limited["code"], suspended["code"]) == ("rate_limit_exceeded", "account_suspended")
    assert "topup_url" not in limited.keys() | suspended.keys()


def test_a_proxied_call_that_nothing_pays_for_says_it_in_its_own_dialect(shop: Door) -> None:
    system = shop.system
    system.runner.run(calls.open_account(system.keys.account("zoe"), system.config.tiers["empty"]))
    asked = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

    answer = shop.request("POST", "/v1/messages", "zoe", json=asked)

    url = "https://shop.example/topup?for=zoe"
    assert (answer.status_code, answer.headers["link"]) == (429, f'<{url}>; rel="payment"')
    error = answer.json()["error"]
    assert (error["type"], error["topup_url"]) == ("rate_limit_error", url)
    assert error["message"].endswith(f"Top up to go on: {url}")
