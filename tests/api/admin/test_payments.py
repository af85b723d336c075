"""`/api/admin/payments`: what operators see of payments, and what they decide about them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.accounts import admin_keys
from tests.api.market import Market
from tests.api.user.door import told

UNKNOWN = "ord_00000000000000000000"


@pytest.fixture
def sold(market: Market) -> dict[str, str]:
    """The ids of a payment in each of some states."""
    found = {name: market.buy()["id"] for name in ("pending", "credited", "canceled")}
    found["review"] = market.buy(package="plain", method="va", channel="BCA", account="grace")["id"]
    market.post(f"/api/payments/{found['canceled']}/cancel")
    market.sandbox.pay(found["credited"])
    market.sandbox.pay(found["review"], 9_000)
    assert market.deliver()
    return found


def get(market: Market, path: str = "", **params: Any) -> Any:
    return told(market.operate("GET", f"payments{path}", params=params), 200)


def do(market: Market, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
    return told(market.operate("POST", f"payments{path}", body, **more), status)


def acts(market: Market) -> list[tuple[str, str, str]]:
    """The audit log, oldest first: actor, action, reason."""
    found = told(market.operate("GET", "audit"), 200)["items"]
    return [(act["actor"], act["action"], act["reason"]) for act in reversed(found)]


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["review", "canceled", "credited", "pending"]),
        ({"state": "review"}, ["review"]),
        ({"method": "qris"}, ["canceled", "credited", "pending"]),
        ({"provider": "stripe"}, []),
        ({"account": "grace"}, ["review"]),
        ({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}, []),
        ({"from": "2020-01-01T00:00:00Z", "state": "credited"}, ["credited"]),
        ({"q": "nothing"}, []),
    ],
)
def test_payments_are_found_by_what_is_known_of_them(
    market: Market, sold: dict[str, str], asked: dict[str, str], found: list[str]
) -> None:
    assert [each["id"] for each in get(market, **asked)["items"]] == [sold[name] for name in found]


def test_a_payment_is_found_by_either_id(market: Market, sold: dict[str, str]) -> None:
    (ours,) = get(market, q=sold["pending"])["items"]

    assert get(market, q=ours["provider_id"])["items"] == [ours]
    assert get(market, q="") == get(market)
    assert (ours["account"], ours["provider"], ours["note"]) == ("ada", "xendit", "")
    page = get(market, limit=3)
    assert [each["id"] for each in get(market, limit=3, cursor=page["next_cursor"])["items"]] == [sold["pending"]]


def test_one_payment_is_shown_with_all_that_happened_to_it(market: Market, sold: dict[str, str]) -> None:
    whole = get(market, f"/{sold['credited']}")

    steps = [(step["state_before"], step["state"], step["cause"]) for step in whole["steps"]]
    assert steps == [
        ("", "created", "request"), ("created", "pending", "provider"), ("pending", "paid", "webhook payment.capture"),
        ("paid", "credited", "crediting"),
    ]  # fmt: skip
    (payment,) = whole["payments"]
    assert (payment["money"]["text"], payment["counted"]) == ("50000 IDR", True)
    assert [(event["event"], event["times"], event["outcome"]) for event in whole["events"]] == [
        ("payment.capture", 1, "applied")
    ]
    assert whole["refunds"] == []


def test_payments_are_summed_up_by_day_method_and_state(market: Market, sold: dict[str, str]) -> None:
    def totals(by: str) -> dict[str, tuple[int, str]]:
        return {each["name"]: (each["count"], each["money"]["text"]) for each in get(market, "/totals", by=by)["items"]}

    assert totals("method") == {"qris": (1, "50000 IDR"), "va": (1, "10000 IDR")}
    assert totals("state") == {
        "pending": (1, "50000 IDR"), "credited": (1, "50000 IDR"), "canceled": (1, "50000 IDR"),
        "review": (1, "10000 IDR"),
    }  # fmt: skip
    assert list(totals("day").values()) == [(2, "60000 IDR")]
    assert get(market, "/totals", by="state", to="2020-01-01T00:00:00Z")["items"] == []


def test_the_look_at_the_system_counts_payments(market: Market, sold: dict[str, str]) -> None:
    found = told(market.operate("GET", "system"), 200)["payments"]

    assert found == {"open_orders": 1, "in_review": 1, "credits_waiting": 0, "differences_open": 0}


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decision", "state", "left"), [("credit", "credited", 15 + 1000), ("dismiss", "failed", None)]
)
def test_a_review_is_decided_once_and_noted(
    market: Market, sold: dict[str, str], decision: str, state: str, left: int | None
) -> None:
    path, body = f"/{sold['review']}/review", {"decision": decision, "reason": "asked the payer"}
    assert get(market, f"/{sold['review']}")["note"] == "9000 IDR was paid, and 10000 IDR was ordered"

    decided, again = (do(market, path, body, headers={"idempotency-key": "k"}) for _ in range(2))

    assert decided == again
    assert decided["state"] == state
    if left is not None:
        assert market.left("grace") == left
    assert acts(market) == [("admin:olga", "payment.review", "asked the payer")]
    assert do(market, path, {"decision": decision, "reason": "another time"}, 409)["code"] == "conflict"


def test_a_review_may_send_the_money_back(market: Market, sold: dict[str, str]) -> None:
    do(market, f"/{sold['review']}/review", {"decision": "refund", "reason": "too little"})
    market.deliver()

    whole = get(market, f"/{sold['review']}")
    assert whole["state"] == "refunded"
    assert [(each["money"]["text"], each["amount"], each["state"]) for each in whole["refunds"]] == [
        ("9000 IDR", 0, "succeeded")
    ]


def test_a_refund_takes_what_is_unused_and_gives_its_price_back(market: Market, sold: dict[str, str]) -> None:
    whole = do(
        market, f"/{sold['credited']}/refund", {"reason": "changed their mind"}, headers={"idempotency-key": "k"}
    )
    again = do(
        market, f"/{sold['credited']}/refund", {"reason": "changed their mind"}, headers={"idempotency-key": "k"}
    )

    assert again == whole
    (refund,) = whole["refunds"]
    assert (refund["money"]["text"], refund["amount"], refund["actor"]) == ("50000 IDR", 5500, "admin:olga")
    assert market.left() == 15
    market.deliver()
    assert get(market, f"/{sold['credited']}")["state"] == "refunded"
    assert acts(market) == [("admin:olga", "payment.refund", "changed their mind")]


def test_a_payment_is_asked_about_now_whatever_its_state(market: Market, sold: dict[str, str]) -> None:
    market.sandbox.fault(late=True)
    market.sandbox.pay(sold["canceled"])

    checked = do(market, f"/{sold['canceled']}/check")

    assert checked["state"] == "credited"
    assert get(market, f"/{sold['canceled']}")["steps"][-2]["cause"] == "admin:olga"
    assert acts(market) == [("admin:olga", "payment.check", "")]


def test_a_second_payment_is_a_difference_until_somebody_has_looked_at_it(market: Market) -> None:
    wanted, once = {"package": "plain", "method": "qris"}, {"idempotency-key": "k"}
    market.sandbox.fault(lost_create=1)
    market.post("/api/payments/topup", wanted, status=503, headers=once)
    order = market.buy("k", **wanted)["id"]
    for id in market.sandbox.bank.requests:  # The one whose answer was lost, too.
        market.sandbox.control("pay", {"id": id})
    market.deliver()
    assert market.left() == 15 + 1000
    (difference,) = get(market, "/differences")["items"]
    assert (difference["kind"], difference["order"], difference["resolved_at"]) == ("paid_twice", order, None)

    resolved = do(market, "/differences/resolve", {"id": difference["id"], "reason": "sent back by hand"})

    assert resolved["resolved_by"] == "admin:olga"
    assert get(market, "/differences")["items"] == []
    assert get(market, "/differences", resolved=True)["items"] == [resolved]
    assert acts(market) == [("admin:olga", "payment.resolve_difference", "sent back by hand")]


# ── bad inputs, and who may ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "?state=gone", None, 422),
        ("GET", "?method=cash", None, 422),
        ("GET", "?provider=none", None, 422),
        ("GET", "?cursor=x", None, 422),
        ("GET", "?limit=0", None, 422),
        ("GET", "?from=2026-11-20", None, 422),
        ("GET", "/totals?by=week", None, 422),
        ("GET", "/totals?from=2020-01-01T00:00:00Z", None, 422),
        ("GET", "/differences?resolved=perhaps", None, 422),
        ("GET", "/nonsense", None, 422),
        ("GET", f"/{UNKNOWN}", None, 404),
        ("POST", f"/{UNKNOWN}/check", None, 404),
        ("POST", f"/{UNKNOWN}/review", {"decision": "credit", "reason": "r"}, 404),
        ("POST", f"/{UNKNOWN}/refund", {"reason": "r"}, 404),
        ("POST", "/differences/resolve", {"id": "none", "reason": "r"}, 404),
        ("POST", "/differences/resolve", {"id": "none"}, 422),
        ("POST", "/differences/resolve", {"id": "no\0ne", "reason": "r"}, 422),
        ("POST", "/PENDING/review", {"decision": "credit", "reason": "r"}, 409),
        ("POST", "/REVIEW/review", {"decision": "burn", "reason": "r"}, 422),
        ("POST", "/REVIEW/review", {"decision": "credit"}, 422),
        ("POST", "/PENDING/refund", {"reason": "r"}, 409),
        ("POST", "/CREDITED/refund", {}, 422),
        ("POST", "/CREDITED/refund", {"reason": "r", "amount_minor": 0}, 422),
        ("POST", "/CREDITED/refund", {"reason": "r", "amount_minor": 1.5}, 422),
        ("POST", "/CREDITED/refund", {"reason": "r", "amount_minor": 101}, 422),
        ("POST", "/CREDITED/refund", {"reason": "r", "amount_minor": 5_000_100}, 422),
    ],
)
def test_what_makes_no_sense_is_refused(
    market: Market, sold: dict[str, str], method: str, path: str, body: Any, status: int
) -> None:
    for name, id in sold.items():
        path = path.replace(name.upper(), id)

    told(market.operate(method, f"payments{path}", body), status)

    assert acts(market) == []


def test_looking_and_deciding_are_two_scopes(market: Market, sold: dict[str, str]) -> None:
    reader, writer = (admin_keys.create(market.system, name, (f"payments:{name}",)) for name in ("read", "write"))
    looks = ["", "/totals", "/differences", f"/{sold['review']}"]
    decides: list[tuple[str, Any]] = [
        (f"/{sold['pending']}/check", None),
        (f"/{sold['review']}/review", {"decision": "dismiss", "reason": "r"}),
        (f"/{sold['credited']}/refund", {"reason": "r"}),
        ("/differences/resolve", {"id": "x", "reason": "r"}),
    ]

    for path in looks:
        assert told(market.operate("GET", f"payments{path}", key=writer), 403)["code"] == "insufficient_scope"
        told(market.operate("GET", f"payments{path}", key=reader), 200)
        told(market.operate("GET", f"payments{path}", key="qga_wrong"), 401)
    for path, body in decides:
        told(market.operate("POST", f"payments{path}", body, key=reader), 403)
        assert market.operate("POST", f"payments{path}", body, key=writer).status_code in (200, 404)
