"""Orders: where what the provider says takes them, as a table of all states and all that can be said."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.domain.money import Money
from gateway.domain.order import STATES, TRANSITIONS, UNPAID, Found, Order, next_step

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PRICE = Money(1_000_000, "IDR")


def order(state: str) -> Order:
    return Order(
        id="ord_1", account="ada", purpose="topup", item="plain", units=1000, bonus=0, valid_days=0, price=PRICE,
        provider="xendit", method="qris", channel="", state=state, created_at=NOW, updated_at=NOW,
    )  # fmt: skip


def found(state: str, money: Money | None = PRICE, payment_id: str = "py-1") -> Found:
    return Found("ord_1", "pr-1", state, payment_id, money)


#: What the provider says takes an order from a state (row) to a state; "": it stays.
SAID = ("open", "paid", "expired", "failed", "canceled")
TABLE = {
    "created": ("pending", "paid", "expired", "failed", "canceled"),
    "pending": ("", "paid", "expired", "failed", "canceled"),
    "expired": ("", "paid", "", "", ""),
    "failed": ("", "paid", "", "", ""),
    "canceled": ("", "paid", "", "", ""),
    "paid": ("", "", "", "", ""),
    "credited": ("", "", "", "", ""),
    "refunded": ("", "", "", "", ""),
    "review": ("", "", "", "", ""),
}


@pytest.mark.parametrize("state", STATES)
def test_what_the_provider_says_takes_an_order_where_the_table_says(state: str) -> None:
    steps = [next_step(order(state), found(said)) for said in SAID]

    assert tuple(step.state if step else "" for step in steps) == TABLE[state]


@pytest.mark.parametrize("state", sorted(UNPAID))
@pytest.mark.parametrize(
    "money", [None, Money(999_900, "IDR"), Money(1_000_100, "IDR"), Money(1_000_000, "USD"), Money(0, "IDR")]
)
def test_money_that_is_not_what_was_ordered_is_reviewed(state: str, money: Money | None) -> None:
    step = next_step(order(state), found("paid", money))

    assert step is not None
    assert step.state == "review"
    assert str(PRICE) in step.note


@pytest.mark.parametrize("state", sorted(UNPAID))
def test_a_payment_without_an_id_is_reviewed(state: str) -> None:
    step = next_step(order(state), found("paid", payment_id=""))

    assert step is not None
    assert step.state == "review"


def test_every_step_is_one_that_an_order_can_take() -> None:
    assert set(TRANSITIONS) == set(STATES)
    for state, steps in TABLE.items():
        assert {step for step in steps if step} <= TRANSITIONS[state]
        if state in UNPAID:
            assert "review" in TRANSITIONS[state]


def test_nothing_but_a_payment_leads_to_credits() -> None:
    assert [state for state in STATES if "credited" in TRANSITIONS[state]] == ["paid"]
    assert [state for state in STATES if "paid" in TRANSITIONS[state]] == [
        "created", "pending", "expired", "failed", "canceled", "review",
    ]  # fmt: skip
