"""`/api/payments`: what is bought, how it is paid, and whose business it is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.api import qr
from gateway.ledger.sales import orders
from tests.api.market import Market
from tests.api.user.door import Door, told

UNKNOWN = "ord_00000000000000000000"


def count(market: Market) -> int:
    with market.ledger.connect() as connection:
        return connection.execute(select(func.count()).select_from(orders)).scalar_one()


# ── what is sold ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sold_is_told_with_what_it_can_be_paid_by(market: Market) -> None:
    found = market.get("/api/payments/methods")

    assert found["is_sandbox"] is True
    assert {each["method"]: each["channels"][:2] for each in found["methods"]} == {
        "qris": [], "va": ["BCA", "BNI"], "link": [],
    }  # fmt: skip
    assert found["packages"][0] == {
        "name": "small", "title": "Small", "amount": 5000, "bonus": 500, "valid_days": 30,
        "price": {"amount_minor": 5_000_000, "currency": "IDR", "text": "50000 IDR"},
    }  # fmt: skip
    assert (found["any_amount"]["amount"], found["any_amount"]["price"]["text"]) == (1000, "16000 IDR")


def test_a_gateway_without_payments_sells_nothing(door: Door) -> None:
    assert door.get("/api/payments/methods") == {
        "is_sandbox": False, "methods": [], "unit": "token", "decimals": 0, "packages": [], "any_amount": None,
    }  # fmt: skip
    said = door.post("/api/payments/topup", {"package": "small", "method": "qris"}, status=409)
    assert (said["code"], said["detail"]) == ("conflict", "Payments are not set up.")
    assert door.get("/api/payments") == {"items": [], "next_cursor": None}


# ── buying ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_package_by_qris_is_answered_with_its_code_and_pictures_of_it(market: Market) -> None:
    bought = market.buy()

    path = f"/api/payments/{bought['id']}"
    assert {name: bought[name] for name in ("state", "purpose", "package", "amount", "bonus", "method", "channel")} == {
        "state": "pending", "purpose": "topup", "package": "small", "amount": 5000, "bonus": 500, "method": "qris",
        "channel": "",
    }  # fmt: skip
    assert bought["price"] == {"amount_minor": 5_000_000, "currency": "IDR", "text": "50000 IDR"}
    assert bought["expires_at"] > bought["created_at"]
    instruction = bought["instruction"]
    code = instruction.pop("qr_string")
    assert code.startswith("000201")
    assert instruction == {
        "qr_svg_url": f"{path}/qr.svg", "qr_png_url": f"{path}/qr.png", "va_number": None, "bank": None, "url": None,
    }  # fmt: skip
    for name, kind, drawn in (("svg", "image/svg+xml", qr.svg(code)), ("png", "image/png", qr.png(code))):
        picture = market.request("GET", f"{path}/qr.{name}")
        assert (picture.status_code, picture.content) == (200, drawn)
        assert picture.headers["content-type"] == kind
        assert picture.headers["cache-control"] == "no-store"


def test_a_virtual_account_is_a_number_at_a_bank_and_a_link_is_a_page(market: Market) -> None:
    by_bank = market.buy(method="va", channel="MANDIRI", package="plain")["instruction"]
    by_link = market.buy(method="link", amount=1000, package=None)

    assert by_bank["bank"] == "MANDIRI"
    assert by_bank["va_number"].isdigit()
    assert (by_bank["qr_string"], by_bank["qr_svg_url"], by_bank["url"]) == (None, None, None)
    assert by_link["instruction"]["url"].startswith("http://sandbox.test/")
    assert (by_link["package"], by_link["amount"], by_link["price"]["text"]) == (None, 1000, "16000 IDR")


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"package": "huge"}, "invalid_request", "Package 'huge': there is none; there are plain, small."),
        ({"amount": 5}, "invalid_request", "Name either a package or an amount."),
        ({"package": None}, "invalid_request", "Name either a package or an amount."),
        ({"package": None, "amount": 99}, "invalid_request", "Amount = 99: must be from 100 to 1000000."),
        ({"package": None, "amount": 1000.5}, "invalid_request", ""),
        ({"package": None, "amount": "1000"}, "invalid_request", ""),
        ({"package": None, "amount": 0}, "invalid_request", ""),
        ({"method": "cash"}, "invalid_request", ""),
        ({"method": "va"}, "invalid_request", 'Channel = "": va needs one of BCA, BNI, BRI, MANDIRI, PERMATA, BSI.'),
        ({"method": "va", "channel": "bca"}, "invalid_request", 'Channel = "bca": va needs one of BCA'),
        ({"channel": "BCA"}, "invalid_request", 'Channel = "BCA": qris has no channels to choose from.'),
        ({"price": 1}, "invalid_request", ""),
        # QRIS takes ten million rupiah at the most.
        ({"package": None, "amount": 1_000_000}, "provider_refused", "16000000 IDR cannot be paid by QRIS"),
    ],
)
def test_what_is_not_sold_so_is_refused(market: Market, asked: dict[str, Any], code: str, said: str) -> None:
    problem = market.post("/api/payments/topup", {"package": "small", "method": "qris"} | asked, status=422)

    assert problem["code"] == code
    assert problem["detail"].startswith(said or "The input")
    assert market.sandbox.bank.requests == {}


def test_a_repeat_with_its_key_is_the_same_payment_and_another_wish_under_it_is_refused(market: Market) -> None:
    first, second = market.buy(again="k1"), market.buy(again="k1")

    assert first == second
    assert count(market) == 1
    assert market.buy()["id"] != market.buy()["id"]
    wanted = {"package": "plain", "method": "qris"}
    answer = market.request("POST", "/api/payments/topup", json=wanted, headers={"idempotency-key": "k1"})
    assert answer.status_code == 422
    assert market.buy(again="k1", account="grace")["id"] != first["id"]


@pytest.mark.parametrize("fault", [{"unavailable": 1}, {"lost_create": 1}])
def test_the_same_request_goes_on_with_the_payment_that_the_provider_did_not_answer(
    market: Market, fault: dict[str, Any]
) -> None:
    market.sandbox.fault(**fault)
    wanted = {"package": "small", "method": "qris"}
    away = market.request("POST", "/api/payments/topup", json=wanted, headers={"idempotency-key": "k1"})
    assert told(away, 503)["code"] == "provider_unavailable"
    assert away.headers["retry-after"] == "5"
    (waiting,) = market.get("/api/payments")["items"]
    assert (waiting["state"], waiting["instruction"]) == ("created", None)

    bought = market.buy(again="k1")

    assert (bought["id"], bought["state"], count(market)) == (waiting["id"], "pending", 1)


def test_a_payment_that_the_provider_refuses_is_refused_again_under_its_key(market: Market) -> None:
    wanted = {"amount": 1_000_000, "method": "qris"}
    headers = {"idempotency-key": "k1"}
    said = [market.post("/api/payments/topup", wanted, status=422, headers=headers) for _ in range(2)]

    assert said[0]["detail"] == said[1]["detail"]
    (failed,) = market.get("/api/payments")["items"]
    assert (failed["state"], failed["instruction"]) == ("failed", None)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_payment_that_was_paid_is_credited_when_its_owner_looks_at_it(market: Market) -> None:
    bought = market.buy()
    assert market.get(f"/api/payments/{bought['id']}")["state"] == "pending"
    market.stale()
    market.sandbox.pay(bought["id"])

    seen = market.get(f"/api/payments/{bought['id']}")

    assert (seen["state"], seen["instruction"]) == ("credited", None)
    assert seen["credited_at"] >= seen["paid_at"]
    assert market.left() == 15 + 5500


def test_payments_are_listed_newest_first_by_page_and_by_state(market: Market) -> None:
    ids = [market.buy()["id"] for _ in range(3)]
    market.buy(account="grace")
    market.post(f"/api/payments/{ids[1]}/cancel")

    page = market.get("/api/payments?limit=2")
    rest = market.get(f"/api/payments?limit=2&cursor={page['next_cursor']}")

    assert [each["id"] for each in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert [each["id"] for each in market.get("/api/payments?state=canceled")["items"]] == [ids[1]]
    assert market.get("/api/payments?state=gone", status=422)["code"] == "invalid_request"
    assert market.get("/api/payments?cursor=x", status=422)["code"] == "invalid_request"


@pytest.mark.parametrize(("method", "what"), [("GET", ""), ("GET", "/qr.svg"), ("GET", "/qr.png"), ("POST", "/cancel")])
def test_a_payment_is_its_owner_s_alone(market: Market, method: str, what: str) -> None:
    bought = market.buy()

    others, nobody_s, no_id = (
        market.request(method, f"/api/payments/{id}{what}", "grace") for id in (bought["id"], UNKNOWN, "nonsense")
    )

    assert told(others, 404)["detail"].replace(bought["id"], UNKNOWN) == told(nobody_s, 404)["detail"]
    assert told(no_id, 422)["code"] == "invalid_request"
    assert market.get(f"/api/payments/{bought['id']}")["state"] == "pending"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/methods"), ("GET", ""), ("POST", "/topup"), ("GET", f"/{UNKNOWN}"), ("POST", f"/{UNKNOWN}/cancel")],
)
def test_without_a_credential_nothing_is_told(market: Market, method: str, path: str) -> None:
    (answer,) = market.together((method, f"/api/payments{path}", {"json": {}}))

    assert told(answer, 401)["code"] == "invalid_api_key"


# ── canceling, and pictures of what cannot be paid ───────────────────────────────────────────────────────────────────


def test_a_payment_that_is_canceled_can_be_paid_by_nobody(market: Market) -> None:
    bought = market.buy()

    canceled, again = (market.post(f"/api/payments/{bought['id']}/cancel") for _ in range(2))

    assert (canceled["state"], canceled["instruction"]) == ("canceled", None)
    assert again["state"] == "canceled"
    (request,) = market.sandbox.bank.requests.values()
    assert request["status"] == "CANCELED"
    said = market.get(f"/api/payments/{bought['id']}/qr.svg", status=409)["detail"]
    assert said == f"Payment {bought['id']} is canceled: it has no QR code to be paid by."


def test_a_payment_that_was_paid_meanwhile_is_credited_and_not_canceled(market: Market) -> None:
    bought = market.buy()
    market.sandbox.pay(bought["id"])

    assert market.post(f"/api/payments/{bought['id']}/cancel")["state"] == "credited"

    assert market.left() == 15 + 5500
    said = market.post(f"/api/payments/{bought['id']}/cancel", status=409)["detail"]
    assert re.search(f"{bought['id']} is credited", said)


def test_a_payment_without_a_qr_code_has_no_picture(market: Market) -> None:
    bought = market.buy(method="va", channel="BCA")

    said = market.get(f"/api/payments/{bought['id']}/qr.png", status=409)

    assert said["detail"] == f"Payment {bought['id']} is paid by va, without a QR code."


# ── who pays ─────────────────────────────────────────────────────────────────────────────────────────────────────────

WRITES = ["payments/topup", f"payments/{UNKNOWN}/cancel", "subscriptions"] + [
    f"subscriptions/current/{act}" for act in ("pay", "cancel", "resume", "change")
]


@pytest.mark.parametrize("path", WRITES)
def test_a_credential_for_something_else_neither_buys_nor_cancels(market: Market, path: str) -> None:
    body = {"topup": {"package": "small", "method": "qris"}, "subscriptions": {"plan": "pro", "method": "qris"}}
    sent = body.get(path.rpartition("/")[2], {"plan": "pro"} if path.endswith("change") else None)
    scoped = market.publish(scopes=("chat",))
    allowed = market.publish(key="qg_BbCdEfGh" + "s" * 32, scopes=("payments",))

    by_scope, in_scope = market.together(
        *(("POST", f"/api/{path}", {"json": sent, "headers": headers}) for headers in (scoped, allowed))
    )

    assert told(by_scope, 403)["code"] == "insufficient_scope"
    assert in_scope.status_code != 403


@pytest.mark.parametrize("path", ["payments/topup", "subscriptions"])
def test_nobody_pays_for_an_account_that_is_nobody_s_own(market: Market, path: str) -> None:
    held = market.publish("license:lic_AbCdEfGh")
    body = {"package": "small", "method": "qris"} if "topup" in path else {"plan": "pro", "method": "qris"}

    (answer,) = market.together(("POST", f"/api/{path}", {"json": body, "headers": held}))

    assert told(answer, 403)["code"] == "account_not_eligible"
    assert count(market) == 0
