"""What operators read of the ledger, of drift and of the system."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.usage import Usage
from gateway.store import calls
from tests.api.admin.conftest import Desk
from tests.api.admin.test_keys_and_holds import hold


def call(desk: Desk, id: str, cost: int, account: str = "ada") -> None:
    """A call that has been paid."""
    hold(desk, id, cost, account)
    desk.system.runner.run(calls.settle(desk.system.keys.account(account), id, cost, Usage(input=7, output=3)))


@pytest.fixture
def busy(desk: Desk) -> Desk:
    """Two accounts, with calls."""
    for account in ("ada", "bob"):
        desk.open(account)
    for number in range(3):
        call(desk, f"a{number}", 2)
    call(desk, "b0", 1, "bob")
    desk.drain()
    return desk


def test_calls_are_listed_newest_first_of_one_account_or_of_all(busy: Desk) -> None:
    def ids(**filters: Any) -> list[str]:
        return [found["reservation"] for found in busy.get("usage", **filters)["items"]]

    assert ids() == ["b0", "a2", "a1", "a0"]
    assert ids(account="ada") == ["a2", "a1", "a0"]
    assert (ids(operation="chat", model="m1"), ids(model="m2"), ids(operation="fly")) == (ids(), [], [])
    assert (ids(**{"from": "2099-01-01T00:00:00Z"}), ids(to="2020-01-01T00:00:00+07:00")) == ([], [])
    assert ids(**{"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}) == ids()
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = busy.get("usage", limit=1, **({"cursor": cursor} if cursor else {}))
        seen += [found["reservation"] for found in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ids()
    assert cursor is None


def test_entries_are_listed_by_kind(busy: Desk) -> None:
    def amounts(**filters: Any) -> list[int]:
        return [entry["amount"] for entry in busy.get("account/transactions", account="ada", **filters)["items"]]

    assert sum(amounts()) == busy.get("account", account="ada")["left"]
    assert (sum(amounts(kind="USAGE")), amounts(kind="SIGNUP"), amounts(kind="REFUND")) == (-6, [15], [])
    assert amounts(operation="chat") == amounts(kind="USAGE")
    assert busy.get("ledger", account="nobody")["items"] == []


def test_usage_is_summed_up_in_each_way(busy: Desk) -> None:
    found = busy.get("account/usage", account="ada", first_day="2020-01-01", last_day="2099-12-31")

    assert (found["total"]["requests"], found["total"]["cost"], found["total"]["total_tokens"]) == (3, 6, 30)
    assert [found["by_model"][0]["name"], found["by_operation"][0]["name"]] == ["m1", "chat"]
    assert len(found["by_day"]) == 1


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("usage", {"from": "yesterday"}),
        ("usage", {"from": "2026-11-20T12:00:00"}),
        ("usage", {"to": "1790000000"}),
        ("usage", {"to": "0001-01-01T00:00:00+14:00"}),
        ("usage", {"account": "a b"}),
        ("usage", {"model": "a\u0000"}),
        ("usage", {"operation": "x" * 201}),
        ("ledger", {}),
        ("ledger", {"account": "ada", "kind": "GIFT"}),
        ("account/usage", {"account": "ada"}),
        ("account/usage", {"account": "ada", "first_day": "2026-02-30", "last_day": "2026-03-01"}),
        ("account/usage", {"account": "ada", "first_day": "2026-2-1", "last_day": "2026-03-01"}),
        ("account/usage", {"account": "ada", "first_day": "٢٠٢٦-01-01", "last_day": "2026-03-01"}),
        ("notices", {"status": "lost"}),
        ("drift", {"account": ""}),
    ],
)
def test_what_makes_no_sense_is_refused(busy: Desk, path: str, query: dict[str, str]) -> None:
    assert busy.refused("GET", path, **query)[:2] == (422, "invalid_request")


def test_a_page_goes_on_after_the_longest_id_there_can_be(desk: Desk) -> None:
    ids = sorted("𝄞" * 199 + end for end in "abc")
    for id in ids:
        desk.open(id)
    desk.drain()

    first = desk.get("accounts", limit=1)
    second = desk.get("accounts", limit=1, cursor=first["next_cursor"])

    assert [first["items"][0]["id"], second["items"][0]["id"]] == ids[:2]


def test_drift_is_found_and_left_as_it_is(busy: Desk) -> None:
    assert busy.get("drift") == {"looked_at": 2, "items": []}

    busy.system.redis.hincrby(busy.system.keys.of_account("ada", "credits"), "signup", 1000)

    found = busy.get("drift")
    assert {drift["account"] for drift in found["items"]} == {"ada"}
    assert busy.get("drift", account="ada")["items"] == found["items"]
    assert busy.get("drift", account="bob")["items"] == []
    assert busy.get("account", account="ada")["left"] > 1000


def test_the_system_says_what_waits_and_what_is_open(busy: Desk) -> None:
    quiet = busy.get("system")
    assert (quiet["backlog_events"], quiet["lag_ms"], quiet["open_holds"], quiet["poison_events"]) == (0, 0, 0, 0)
    assert quiet["ledger_revision"] == quiet["newest_revision"]
    assert quiet["partitions"][0]["epoch"]

    hold(busy, "r1", 4)
    call(busy, "r2", 1)
    busy.system.redis.xadd("qg:{p00}:poison", {"kind": "odd"})

    found = busy.get("system")
    assert (found["open_holds"], found["held_units"], found["poison_events"]) == (1, 4, 1)
    assert (found["backlog_events"], found["config"]) == (1, "config.toml")
    assert found["lag_ms"] >= 0
