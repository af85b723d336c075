"""`/api/subscriptions`: from the plans to the end of one, paid to the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.accounts.epoch import ensure_epoch
from tests.api.market import FOR_NOTHING, Market
from tests.api.user.door import Door

PLANS = """
[tiers.plus]
[tiers.prime]
[plans.plus]
title = "Plus"
tier = "plus"
price = "30000 IDR"
allowance = 1000
grace_days = 5
[plans.prime]
tier = "prime"
price = "90000 IDR"
allowance = 3000
"""
CURRENT = "/api/subscriptions/current"


class Club(Market):
    def subscribe(self, plan: str = "plus", again: str = "", status: int = 201) -> dict[str, Any]:
        headers = {"idempotency-key": again} if again else {}
        return self.post("/api/subscriptions", {"plan": plan, "method": "qris"}, status=status, headers=headers)

    def act(self, what: str, body: Any = None, status: int = 200) -> dict[str, Any]:
        return self.post(f"{CURRENT}/{what}", body, status=status)

    def pay(self, payment: dict[str, Any]) -> None:
        """Somebody pays it, and the sandbox says so."""
        self.sandbox.pay(payment["id"])
        self.deliver()

    def join(self, plan: str = "plus") -> dict[str, Any]:
        self.pay(self.subscribe(plan)["payments"][0])
        return self.get(CURRENT)


@pytest.fixture
def club(redis_client: redis.Redis, tmp_path: Path, migrated: Path) -> Iterator[Club]:
    folder = tmp_path / "club"
    folder.mkdir()
    shutil.copy(migrated, folder / "ledger.sqlite3")
    opened = Club(redis_client, folder, FOR_NOTHING + PLANS)
    ensure_epoch(opened.system, "a test")
    yield opened
    opened.close()


def test_plans_are_told_with_what_they_give(club: Club) -> None:
    found = club.get("/api/subscriptions/plans")["items"]

    assert found[0] == {
        "name": "plus", "title": "Plus", "tier": "plus", "every": "month", "allowance": 1000, "grace_days": 5,
        "price": {"amount_minor": 3_000_000, "currency": "IDR", "text": "30000 IDR"},
    }  # fmt: skip
    assert [plan["name"] for plan in found] == ["plus", "prime"]


def test_without_one_there_is_none(club: Club) -> None:
    assert club.get(CURRENT, status=404)["code"] == "not_found"
    for what in ("pay", "cancel", "resume"):
        club.act(what, status=404)


def test_a_plan_waits_for_its_first_payment(club: Club) -> None:
    found = club.subscribe()

    assert (found["state"], found["plan"], found["tier"], found["period"]) == ("pending", "plus", "free", 0)
    assert found["to_pay"]["period"] == 1
    (payment,) = found["payments"]
    assert (payment["purpose"], payment["package"], payment["price"]["text"]) == ("subscription", "plus", "30000 IDR")
    assert payment["instruction"]["qr_string"].startswith("000201")
    assert club.get(CURRENT) == found


def test_paid_it_runs(club: Club) -> None:
    found = club.join()

    assert (found["state"], found["tier"], found["period"]) == ("active", "plus", 1)
    assert found["allowance"] == {"amount": 1000, "left": 1000}
    assert found["payments"] == []
    assert found["to_pay"]["until"] == found["period_ends_at"]
    assert found["tier_ends_at"] > found["period_ends_at"]
    assert (club.get("/api/quota")["tier"], club.left()) == ("plus", 1015)


def test_a_repeat_with_its_key_makes_no_second_one(club: Club) -> None:
    first = club.subscribe(again="one")
    assert club.subscribe(again="one") == first
    assert len(club.get("/api/payments")["items"]) == 1


def test_an_account_has_one(club: Club) -> None:
    club.join()
    assert club.subscribe("prime", status=409)["code"] == "conflict"


def test_the_next_period_can_be_paid_ahead(club: Club) -> None:
    club.join()

    due = club.act("pay")
    assert due["payments"][0]["id"] == club.act("pay")["payments"][0]["id"]
    other = club.act("pay", {"method": "va", "channel": "BCA"})
    assert [payment["method"] for payment in other["payments"]] == ["va"]
    club.pay(other["payments"][0])

    found = club.get(CURRENT)
    assert (found["next_is_paid"], found["period"], found["to_pay"]) == (True, 1, None)
    assert found["allowance"] == {"amount": 1000, "left": 1000}
    club.act("pay", status=409)


def test_a_dearer_plan_is_paid_by_the_difference(club: Club) -> None:
    club.join()

    found = club.act("change", {"plan": "prime"})
    (payment,) = found["payments"]
    assert (found["plan"], payment["package"], payment["amount"] <= 2000) == ("plus", "prime", True)
    club.pay(payment)

    found = club.get(CURRENT)
    assert (found["plan"], found["tier"]) == ("prime", "prime")
    assert found["allowance"]["left"] == 1000 + payment["amount"]


def test_a_cheaper_one_comes_with_the_next_period(club: Club) -> None:
    club.join("prime")

    found = club.act("change", {"plan": "plus"})

    assert (found["plan"], found["next_plan"], found["to_pay"]["plan"]) == ("prime", "plus", "plus")
    assert club.act("change", {"plan": "prime"})["next_plan"] is None
    assert club.act("change", {"plan": "gold"}, status=422)["detail"].startswith("Plan 'gold'")


def test_it_is_canceled_and_taken_back_and_canceled_at_once(club: Club) -> None:
    club.join()
    before = club.get(CURRENT)

    ending = club.act("cancel")
    assert (ending["state"], ending["cancel_at_end"], ending["tier_ends_at"]) == (
        "active",
        True,
        before["period_ends_at"],
    )
    assert ending["to_pay"] is None
    assert club.act("resume")["tier_ends_at"] == before["tier_ends_at"]
    ended = club.act("cancel", {"at": "now"})
    assert (ended["state"], ended["tier"], ended["allowance"]["left"]) == ("ended", "free", 0)
    assert club.left() == 15
    club.act("cancel", status=409)
    club.act("resume", status=409)


@pytest.mark.parametrize(
    "body",
    [{}, {"plan": "plus"}, {"plan": "plus", "method": "cash"}, {"plan": "plus", "method": "va"}, {"plan": 1}],
)
def test_what_cannot_be_read_is_refused(club: Club, body: Any) -> None:
    club.post("/api/subscriptions", body, status=422)
    club.get(CURRENT, status=404)


def test_a_gateway_without_payments_sells_no_plan(door: Door) -> None:
    assert door.get("/api/subscriptions/plans") == {"items": []}
    assert door.post("/api/subscriptions", {"plan": "plus", "method": "qris"}, status=409)["code"] == "conflict"


# ── operators ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_operators_see_every_step_and_payment(club: Club) -> None:
    id = club.join()["id"]

    found = club.operate("GET", f"subscriptions/{id}").json()

    assert (found["account"], found["state"], found["method"]) == ("ada", "active", "qris")
    assert [step["act"] for step in found["steps"]] == ["subscribed", "began"]
    assert [payment["state"] for payment in found["payments"]] == ["credited"]


def test_operators_list_and_filter(club: Club) -> None:
    id = club.join()["id"]

    def listed(query: str) -> list[str]:
        return [each["id"] for each in club.operate("GET", f"subscriptions?{query}").json()["items"]]

    assert listed("") == listed("state=active") == listed("plan=plus") == listed("account=ada") == [id]
    assert listed("state=ended") == listed("plan=prime") == listed("account=bob") == []
    assert club.operate("GET", "subscriptions?state=odd").status_code == 422


def test_an_operator_cancels_with_a_reason_and_a_row_in_the_log(club: Club) -> None:
    id = club.join()["id"]
    path = f"subscriptions/{id}/cancel"
    assert club.operate("POST", path, {"at": "now"}).status_code == 422

    found = club.operate("POST", path, {"at": "now", "reason": "she asked"}, headers={"idempotency-key": "one"}).json()
    again = club.operate("POST", path, {"at": "now", "reason": "she asked"}, headers={"idempotency-key": "one"}).json()

    assert (found["state"], found["steps"][-1]["cause"], found["steps"][-1]["note"]) == (
        "ended", "admin:olga", "she asked",
    )  # fmt: skip
    assert again == found
    acts = club.operate("GET", "audit?account=ada").json()["items"]
    assert [act["action"] for act in acts][:1] == ["subscription.cancel"]
    assert club.get(CURRENT)["tier"] == "free"


def test_who_may_not_look_at_payments_sees_none_of_it(club: Club) -> None:
    from gateway.accounts import admin_keys

    key = admin_keys.create(club.system, "nina", ("accounts:read",))
    assert club.operate("GET", "subscriptions", key=key).status_code == 403
    assert club.operate("GET", "subscriptions/sub_00000000000000000000").status_code == 404
