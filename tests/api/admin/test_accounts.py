"""Accounts in the hands of operators: opened, read, moved, suspended, listed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gateway.accounts import profile
from tests.api.admin.conftest import Desk

#: Ids that no path could carry.
STRANGE = [
    "a/b",
    "..",
    "%2F",
    "ä@ö",
    "a//b",
    "a?b=c&d",
    "a#b",
    "x+y",
    "%",
    "*",
    "[a]",
    "erased",
    "ip:2001:db8::1",
    "名前",
]


def test_an_account_is_opened_with_what_its_tier_gives(desk: Desk) -> None:
    found = desk.open("ada", tier="pro", zone="Asia/Tokyo", email="ada@example.com")

    assert (found["id"], found["tier"], found["zone"], found["status"]) == ("ada", "pro", "Asia/Tokyo", "active")
    assert (found["email"], found["left"], found["granted"], found["spent"]) == (
        "ada@example.com",
        1_000_000,
        1_000_000,
        0,
    )
    assert [(b["kind"], b["left"], b["open"]) for b in found["buckets"]] == [
        ("credits", 1_000_000, True),
        ("month", 1_000_000_000, False),
    ]
    assert found == desk.get("account", account="ada")
    assert desk.acts() == [("admin:root", "account.create", "account:ada")]


@pytest.mark.parametrize("id", STRANGE)
def test_an_account_may_have_any_id_that_can_be_printed(desk: Desk, id: str) -> None:
    desk.open(id)
    desk.do("POST", "account/grants", {"amount": 5, "reason": "a gift"}, account=id)
    desk.do("POST", "account/suspend", {"reason": "abuse"}, account=id)
    desk.drain()

    assert desk.get("account", account=id)["status"] == "suspended"
    assert [found["id"] for found in desk.get("accounts", search=id)["items"]] == [id]
    assert [entry["amount"] for entry in desk.get("account/transactions", account=id)["items"]] == [5, 15]
    assert desk.acts(target=f"account:{id}")[-1] == ("admin:root", "account.suspend", f"account:{id}")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"id": "ada"}, 409, "There is an account ada already"),
        ({"id": "bob", "tier": "gold"}, 422, "is no tier"),
        ({"id": "bob", "zone": "Mars/Olympus"}, 422, "is no time zone"),
        ({"id": "bob", "zone": "Asia"}, 422, "is no time zone"),
        ({"id": "bob", "email": "nobody"}, 422, "e-mail"),
        ({"id": "bob", "email": "a@b c"}, 422, "e-mail"),
        ({"id": ""}, 422, "not valid"),
        ({"id": "a b"}, 422, "not valid"),
        ({"id": "a\u0000b"}, 422, "not valid"),
        ({"id": "a" * 201}, 422, "not valid"),
        ({"id": 7}, 422, "not valid"),
        ({"id": "bob", "role": "admin"}, 422, "not valid"),
        ({}, 422, "not valid"),
        ([], 422, "not valid"),
        ("bob", 422, "not valid"),
    ],
)
def test_what_cannot_be_opened_is_refused(desk: Desk, body: Any, status: int, said: str) -> None:
    desk.open("ada")

    refused = desk.refused("POST", "accounts", body)

    assert refused[0] == status
    assert said in refused[2]
    assert not desk.system.redis.exists(desk.system.keys.account("bob"))
    assert len(desk.acts()) == 1


def test_an_opening_that_was_cut_short_is_finished_by_a_repeat(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    new = {"id": "ada", "email": "ada@b.example"}
    with monkeypatch.context() as patched:
        patched.setattr(profile, "set_email", _ledger_away)
        assert desk.ask("POST", "/api/admin/accounts", again="k", json=new).status_code == 503

    assert desk.do("POST", "accounts", new, again="k")["email"] == "ada@b.example"
    assert desk.refused("POST", "accounts", new)[:2] == (409, "conflict")
    assert desk.acts() == [("admin:root", "account.create", "account:ada")]


def _ledger_away(*_: Any) -> None:
    raise OperationalError("insert", {}, Exception("gone"))


def test_a_body_that_is_no_json_is_refused(desk: Desk) -> None:
    for body in (b"", b"{", b"\xff\xfe", b'{"id": "\\ud800"}', b'{"id": NaN}', b"null"):
        answer = desk.ask("POST", "/api/admin/accounts", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), body
        assert answer.json()["code"] in ("invalid_request", "invalid_request_body")


def test_a_tier_a_zone_and_an_address_are_changed_and_what_is_left_out_stays(desk: Desk) -> None:
    desk.open("ada", email="old@example.com")

    moved = desk.do("PATCH", "account", {"tier": "pro", "reason": "she paid"}, account="ada")
    zoned = desk.do("PATCH", "account", {"zone": "Asia/Tokyo", "email": ""}, account="ada")

    assert (moved["tier"], moved["zone"], moved["email"]) == ("pro", "", "old@example.com")
    assert (zoned["tier"], zoned["zone"], zoned["email"]) == ("pro", "Asia/Tokyo", "")
    newest, before, _ = desk.get("audit")["items"]
    assert (before["reason"], before["before"]["tier"], before["after"]["tier"]) == ("she paid", "free", "pro")
    assert (newest["before"]["has_email"], newest["after"]["has_email"]) == (True, False)
    assert "old@example.com" not in str(desk.get("audit"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"tier": "gold"}, "is no tier"),
        ({"zone": "Nowhere"}, "is no time zone"),
        ({"email": "@"}, "e-mail"),
        ({"tier": "pro", "zone": "Nowhere"}, "is no time zone"),
        ({"tier": "pro", "email": "x"}, "e-mail"),
        ({"tier": None, "status": "suspended"}, "not valid"),
        ({"tier": ["pro"]}, "not valid"),
        ({"reason": ""}, "not valid"),
        ({"reason": "x" * 1001}, "not valid"),
        ({"reason": "a\nb"}, "not valid"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(desk: Desk, body: dict[str, Any], said: str) -> None:
    before = desk.open("ada")

    refused = desk.refused("PATCH", "account", body, account="ada")

    assert (refused[0], refused[1]) == (422, "invalid_request")
    assert said in refused[2]
    after = desk.get("account", account="ada")
    assert (after["tier"], after["zone"], after["email"]) == (before["tier"], before["zone"], before["email"])
    assert len(desk.acts()) == 1


def test_a_suspended_account_is_suspended_until_it_is_resumed(desk: Desk) -> None:
    desk.open("ada")

    assert desk.do("POST", "account/suspend", {"reason": "abuse"}, account="ada")["status"] == "suspended"
    assert desk.do("POST", "account/resume", account="ada")["status"] == "active"

    newest, before, _ = desk.get("audit")["items"]
    assert (before["action"], before["reason"]) == ("account.suspend", "abuse")
    assert (before["before"], before["after"]) == ({"status": "active"}, {"status": "suspended"})
    assert (newest["action"], newest["after"]) == ("account.resume", {"status": "active"})


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": None}, None])
def test_nobody_is_suspended_without_a_reason(desk: Desk, body: Any) -> None:
    desk.open("ada")

    assert desk.refused("POST", "account/suspend", body, account="ada")[0] == 422
    assert desk.get("account", account="ada")["status"] == "active"


#: Every endpoint about one account, and a body that it would take.
OF_ACCOUNT: list[tuple[str, str, Any]] = [
    ("GET", "account", None),
    ("PATCH", "account", {"tier": "pro"}),
    ("POST", "account/suspend", {"reason": "r"}),
    ("POST", "account/resume", None),
    ("POST", "account/erase", {"reason": "r"}),
    ("POST", "account/adjust", {"amount": 1, "reason": "r"}),
    ("POST", "account/adjust", {"amount": -1, "reason": "r"}),
    ("GET", "account/grants", None),
    ("POST", "account/grants/void?grant=g", {"reason": "r"}),
    ("PUT", "account/override", {"factor": "2x", "until": "2099-01-01T00:00:00Z"}),
    ("DELETE", "account/override", None),
    ("GET", "account/keys", None),
    ("POST", "account/keys", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), OF_ACCOUNT)
def test_of_an_account_that_there_is_not_nothing_can_be_asked(desk: Desk, method: str, path: str, body: Any) -> None:
    path, _, query = path.partition("?")
    params = dict([query.split("=")]) if query else {}

    status, code, said = desk.refused(method, path, body, account="nobody", **params)

    assert (status, code) == (404, "not_found")
    assert "nobody" in said
    assert desk.acts() == []
    assert list(desk.system.redis.scan_iter("*nobody*")) == []
    for bad in ("", "a b", "a\nb", "\u200b x", "x" * 201):
        assert desk.refused(method, path, body, account=bad, **params)[0] == 422, bad
    assert desk.refused(method, path, body, **params)[0] == 422


def test_accounts_are_listed_by_what_is_asked_for_a_page_at_a_time(desk: Desk) -> None:
    for number in range(7):
        desk.open(f"user-{number}", tier="pro" if number % 2 else "free", zone="Asia/Tokyo" if number == 3 else "")
    desk.do("POST", "account/suspend", {"reason": "abuse"}, account="user-5")
    desk.do("PATCH", "account", {"email": "zoe@example.com"}, account="user-6")
    desk.drain()

    def ids(**filters: Any) -> list[str]:
        return [found["id"] for found in desk.get("accounts", **filters)["items"]]

    assert ids() == [f"user-{number}" for number in range(7)]
    assert ids(descending=True, limit=2) == ["user-6", "user-5"]
    assert ids(tier="pro") == ["user-1", "user-3", "user-5"]
    assert (ids(status="suspended"), ids(zone="Asia/Tokyo"), ids(search="zoe@")) == (["user-5"], ["user-3"], ["user-6"])
    assert ids(sort="last_seen", descending=True)[0] in {"user-5", "user-6"}
    seen, cursor = [], None
    while cursor != "":
        page = desk.get("accounts", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [found["id"] for found in page["items"]]
        cursor = page["next_cursor"] or ""
    assert seen == ids()


@pytest.mark.parametrize("path", ["accounts", "holds", "usage", "audit", "notices", "ledger?account=ada"])
def test_a_cursor_that_no_page_gave_is_refused(desk: Desk, path: str) -> None:
    desk.open("ada")
    path, _, query = path.partition("?")
    params = dict([query.split("=")]) if query else {}
    for cursor in ("x", "e30", "W10", "WzFd", "%00", "ä", "a" * 3999, "bnVsbA", "WzEsMiwzLDQsNV0", " "):
        assert desk.refused("GET", path, cursor=cursor, **params)[0] == 422, cursor
    for limit in ("0", "-1", "1001", "x", "1.5", "9007199254740992"):
        assert desk.refused("GET", path, limit=limit, **params)[0] == 422, limit


def test_an_unknown_sort_is_refused(desk: Desk) -> None:
    assert desk.refused("GET", "accounts", sort="email")[0] == 422
    assert desk.refused("GET", "accounts", descending="maybe")[0] == 422


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "accounts", {"id": "license:lic_AbCdEfGh"}),
        ("PATCH", "account?account=license:lic_AbCdEfGh", {"tier": "pro"}),
        ("POST", "account/suspend?account=license:lic_AbCdEfGh", {"reason": "lost"}),
        ("POST", "account/resume?account=license:lic_AbCdEfGh", None),
    ],
)
def test_a_license_is_not_treated_as_an_account(desk: Desk, method: str, path: str, body: Any) -> None:
    """Its record would know nothing of it: a resumed license would be lent to calls, and refused by hand."""
    answer = desk.ask(method, f"/api/admin/{path}", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "for licenses" in answer.json()["detail"]
