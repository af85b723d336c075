"""Corrections, grants, voided grants, overrides."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.tier import MAX_UNITS
from tests.api.admin.conftest import Desk

LATER = "2099-01-01T00:00:00Z"


@pytest.fixture
def ada(desk: Desk) -> Desk:
    """An operator, and an account with 15 units of credit."""
    desk.open("ada")
    return desk


def totals(desk: Desk) -> tuple[int, int, int, int]:
    found = desk.get("account", account="ada")
    assert found["granted"] == found["left"] + found["held"] + found["spent"]
    return found["granted"], found["left"], found["held"], found["spent"]


def test_a_correction_gives_or_takes(ada: Desk) -> None:
    up = ada.do("POST", "account/adjust", {"amount": 100, "reason": "we were down"}, account="ada")
    down = ada.do("POST", "account/adjust", {"amount": -110, "reason": "a slip"}, account="ada")
    ada.drain()

    assert (up, down["left"]) == ({"account": "ada", "amount": 100, "left": 115}, 5)
    assert totals(ada) == (5, 5, 0, 0)
    entries = ada.get("account/transactions", account="ada", kind="ADJUSTMENT")["items"]
    assert sorted(entry["amount"] for entry in entries) in ([-95, -15, 100], [-100, -10, 100])
    assert {entry["reason"] for entry in entries} == {"we were down", "a slip"}
    newest, before, _ = ada.get("audit", target="account:ada")["items"]
    assert (before["before"], before["after"]) == ({"left": 15}, {"left": 115, "amount": 100})
    assert (newest["before"], newest["after"]) == ({"left": 115}, {"left": 5, "amount": -110})


def test_a_correction_whose_answer_is_kept_no_more_is_done_once_and_never_by_another_amount(ada: Desk) -> None:
    def ask(amount: int) -> int:
        for key in ada.system.redis.scan_iter("qg:{p00}:idempotent:*"):
            ada.system.redis.delete(key)
        body, query = {"amount": amount, "reason": "r"}, {"account": "ada"}
        return ada.ask("POST", "/api/admin/account/adjust", again="t1", params=query, json=body).status_code

    assert [ask(5), ask(5), ask(-5), ask(6)] == [200, 200, 409, 409]
    assert totals(ada) == (20, 20, 0, 0)


def test_more_than_is_free_is_not_taken(ada: Desk) -> None:
    refused = ada.refused("POST", "account/adjust", {"amount": -16, "reason": "r"}, account="ada")

    assert refused == (409, "conflict", "Account ada has 15 free, and 16 cannot be taken from it.")
    assert totals(ada) == (15, 15, 0, 0)
    assert len(ada.acts()) == 1


BAD_AMOUNTS: list[Any] = [0, 1.0, 1.5, -1.5, True, "1", None, MAX_UNITS + 1, -MAX_UNITS - 1, 2**53, 2**63, 10**30, [1]]


@pytest.mark.parametrize("amount", BAD_AMOUNTS)
def test_what_is_no_amount_corrects_nothing(ada: Desk, amount: Any) -> None:
    assert ada.refused("POST", "account/adjust", {"amount": amount, "reason": "r"}, account="ada")[0] == 422
    assert totals(ada) == (15, 15, 0, 0)


@pytest.mark.parametrize(
    "body", [{"amount": 5}, {"amount": 5, "reason": ""}, {"amount": 5, "reason": " "}, {"reason": "r"}]
)
def test_nothing_is_corrected_without_a_reason(ada: Desk, body: dict[str, Any]) -> None:
    assert ada.refused("POST", "account/adjust", body, account="ada")[0] == 422
    assert totals(ada) == (15, 15, 0, 0)


def test_a_correction_past_what_can_be_counted_is_refused(ada: Desk) -> None:
    refused = ada.refused("POST", "account/adjust", {"amount": MAX_UNITS, "reason": "r"}, account="ada")

    assert (refused[0], refused[1]) == (409, "conflict")
    assert totals(ada) == (15, 15, 0, 0)


def test_a_grant_credits_once_by_its_id(ada: Desk) -> None:
    grant = {"grant_id": "g/1", "amount": 50, "reason": "a gift", "kind": "REWARD", "priority": 3, "expires_at": LATER}

    first = ada.do("POST", "account/grants", grant, account="ada")
    again = ada.do("POST", "account/grants", grant, account="ada")
    other = ada.refused("POST", "account/grants", grant | {"amount": 51}, account="ada")
    ada.drain()

    assert first == again == {"account": "ada", "grant_id": "g/1", "amount": 50, "left": 65}
    assert (other[0], other[1]) == (409, "conflict")
    assert totals(ada) == (65, 65, 0, 0)
    (found, signup) = ada.get("account/grants", account="ada")["items"]
    assert found == {
        "id": "g/1", "kind": "REWARD", "amount": 50, "left": 50, "reason": "a gift", "priority": 3,
        "expires_at": LATER, "granted_at": found["granted_at"], "voided_at": None, "cause": None,
    }  # fmt: skip
    assert (signup["id"], signup["kind"], signup["left"]) == ("signup", "SIGNUP", 15)
    assert [action for _, action, _ in ada.acts()] == ["account.create", "account.grant"]


def test_a_grant_without_an_id_is_given_one(ada: Desk) -> None:
    first = ada.do("POST", "account/grants", {"amount": 5, "reason": "r"}, account="ada")
    second = ada.do("POST", "account/grants", {"amount": 5, "reason": "r"}, account="ada")

    assert first["grant_id"] != second["grant_id"]
    assert totals(ada)[1] == 25


def test_a_grant_opens_an_account(ada: Desk) -> None:
    assert ada.do("POST", "account/grants", {"amount": 5, "reason": "r"}, account="bob")["left"] == 20


@pytest.mark.parametrize(
    "change",
    [
        *({"amount": amount} for amount in [*BAD_AMOUNTS, -1]),
        {"reason": ""},
        {"reason": "a\u0007"},
        {"kind": "USAGE"},
        {"kind": "top_up"},
        {"priority": -1},
        {"priority": 1001},
        {"priority": True},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_at": 4_000_000_000},
        {"expires_at": "4000000000"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "soon"},
        {"grant_id": ""},
        {"grant_id": "a b"},
        {"grant_id": "a=b"},
        {"grant_id": "x" * 201},
        {"account": "bob"},
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(ada: Desk, change: dict[str, Any]) -> None:
    grant = {"grant_id": "g1", "amount": 5, "reason": "r"} | change

    status, code, _ = ada.refused("POST", "account/grants", grant, account="ada")

    assert (status, code) == (422, "invalid_request")
    assert totals(ada) == (15, 15, 0, 0)
    assert len(ada.acts()) == 1


def test_a_voided_grant_has_nothing_left_and_credits_no_second_time(ada: Desk) -> None:
    grant = {"grant_id": "g?1&2", "amount": 50, "reason": "a gift"}
    ada.do("POST", "account/grants", grant, account="ada")

    voided = ada.do("POST", "account/grants/void", {"reason": "a mistake"}, account="ada", grant="g?1&2")
    again = ada.do("POST", "account/grants/void", {"reason": "a mistake"}, account="ada", grant="g?1&2")
    ada.do("POST", "account/grants", grant, account="ada")
    ada.drain()

    assert voided == again == {"account": "ada", "grant_id": "g?1&2", "amount": 50}
    assert totals(ada) == (15, 15, 0, 0)
    found = ada.get("account/grants", account="ada")["items"][0]
    assert (found["left"], found["voided_at"] is not None) == (0, True)


def test_a_grant_that_there_is_not_cannot_be_voided(ada: Desk) -> None:
    for grant in ("g1", "a b", "a=b"):
        assert ada.refused("POST", "account/grants/void", {"reason": "r"}, account="ada", grant=grant)[0] == 404
    assert ada.refused("POST", "account/grants/void", {"reason": "r"}, account="ada")[0] == 422
    assert ada.refused("POST", "account/grants/void", {}, account="ada", grant="signup")[0] == 422
    assert len(ada.acts()) == 1


def test_an_override_holds_until_it_is_ended(ada: Desk) -> None:
    changed = ada.do("PUT", "account/override", {"factor": "1.5x", "until": LATER, "reason": "a launch"}, account="ada")
    ended = ada.do("DELETE", "account/override", account="ada")

    assert (changed["override"], ended["override"]) == ({"limits_times": "3/2", "until": LATER}, None)
    newest, before, _ = ada.get("audit")["items"]
    assert (before["action"], before["reason"], before["after"]["limits_times"]) == (
        "account.override",
        "a launch",
        "3/2",
    )
    assert (newest["action"], newest["after"]) == ("account.end_override", {"limits_times": "1/1"})


@pytest.mark.parametrize(
    "change",
    [{"factor": "0"}, {"factor": "101"}, {"factor": "two"}, {"factor": 2}, {"until": "2020-01-01T00:00:00Z"},
     {"until": "3d"}, {"until": None}, {"more": 1}],
)  # fmt: skip
def test_an_override_that_makes_no_sense_is_refused(ada: Desk, change: dict[str, Any]) -> None:
    assert ada.refused("PUT", "account/override", {"factor": "2x", "until": LATER} | change, account="ada")[0] == 422
    assert ada.get("account", account="ada")["override"] is None
