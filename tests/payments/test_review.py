"""The review: what was paid otherwise than ordered is credited, given back or left, as an operator says."""

from __future__ import annotations

import pytest

from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.money import parse_money
from gateway.domain.order import Order
from gateway.ledger.erase import erase
from gateway.ledger.sales import credits_due, payments, refunds
from gateway.ledger.tables import audit_log
from gateway.payments import crediting, review
from gateway.payments.provider import ProviderRefused, RefundFound
from gateway.payments.review import Decision
from tests.payments.shop import Shop


def reviewed(shop: Shop, paid: str = "9000 IDR") -> Order:
    order = shop.order()
    shop.till.pay(order.id, parse_money(paid))
    assert shop.take(order.id).state == "review"
    return shop.find(order.id)


def decide(shop: Shop, order: Order, decision: Decision, id: str = "act-1", reason: str = "they wrote") -> Order:
    return review.decide(shop.system, shop.till, shop.by(id, reason), order, decision)


def test_an_operator_credits_what_was_ordered(any_shop: Shop) -> None:
    order = reviewed(any_shop)

    assert decide(any_shop, order, "credit").state == "credited"

    assert any_shop.left() == 1015
    assert [row.counted for row in any_shop.rows(payments)] == [True]
    (note,) = any_shop.rows(audit_log)
    assert (note.action, note.actor, note.reason) == ("payment.review", "admin:olga", "they wrote")


def test_an_operator_dismisses_it_and_the_same_money_is_not_heard_again(any_shop: Shop) -> None:
    order = reviewed(any_shop)

    assert decide(any_shop, order, "dismiss").state == "failed"

    assert any_shop.take(order.id).state == "failed"
    assert any_shop.left_or_nothing() == 0
    any_shop.till.pay(order.id, order.price, payment="py-right")
    assert any_shop.take(order.id).state == "credited"  # Other money is.


def test_an_operator_sends_all_of_it_back(any_shop: Shop) -> None:
    order = reviewed(any_shop, "12000 IDR")

    assert decide(any_shop, order, "refund").state == "refunded"

    (row,) = any_shop.rows(refunds)
    assert (row.state, row.amount, row.units) == ("succeeded", 1_200_000, 0)
    assert any_shop.rows(credits_due) == []


def test_money_that_cannot_go_back_leaves_the_order_in_review(shop: Shop) -> None:
    order = reviewed(shop)
    shop.till.faults["refund"] = ProviderRefused("not this channel")

    assert decide(shop, order, "refund").state == "review"
    assert decide(shop, order, "credit", id="act-2").state == "credited"


def test_while_money_goes_back_nothing_else_is_decided(shop: Shop) -> None:
    order = reviewed(shop)
    shop.till.refund_state = "pending"
    assert decide(shop, order, "refund").state == "review"

    decisions: tuple[Decision, ...] = ("credit", "dismiss")
    for decision in decisions:
        with pytest.raises(Conflicting, match="is being refunded"):
            decide(shop, order, decision, id=decision)

    (row,) = shop.rows(refunds)
    shop.till.refunds[row.id] = RefundFound(row.provider_id, "succeeded")
    shop.hear("refund.succeeded", order, refund=row.id)
    assert shop.find(order.id).state == "refunded"


@pytest.mark.parametrize("decision", ["credit", "refund", "dismiss"])
def test_what_is_not_in_review_cannot_be_decided(shop: Shop, decision: Decision) -> None:
    order = shop.order()

    with pytest.raises(Conflicting, match="is pending"):
        decide(shop, order, decision)
    assert shop.rows(audit_log) == []


def test_one_decision_is_made_once(any_shop: Shop) -> None:
    order = reviewed(any_shop)
    decide(any_shop, order, "credit")

    assert decide(any_shop, order, "credit").state == "credited"
    with pytest.raises(Conflicting, match="another decision"):
        decide(any_shop, order, "dismiss")
    with pytest.raises(Conflicting, match="nothing to review"):
        decide(any_shop, order, "credit", id="act-2", reason="me too")
    assert any_shop.left() == 1015


def test_a_decision_that_died_before_it_was_noted_is_gone_on_with(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise MemoryError

    order = reviewed(any_shop)
    with monkeypatch.context() as patch:
        patch.setattr(crediting, "finish", die)
        with pytest.raises(MemoryError):
            decide(any_shop, order, "credit")

    assert decide(any_shop, order, "credit").state == "credited"
    assert len(any_shop.rows(audit_log)) == 1


def test_a_decision_needs_a_reason(shop: Shop) -> None:
    order = reviewed(shop)

    with pytest.raises(RefusedInput, match="reason"):
        decide(shop, order, "credit", reason="")


def test_what_comes_for_an_account_that_was_erased_is_never_credited(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.say(order.id, state="expired")
    any_shop.take(order.id)
    erase(any_shop.system.ledger, order.account, "erased:7f3a")
    any_shop.till.pay(order.id)

    late = any_shop.take(order.id)

    assert (late.state, late.note) == ("review", "its account was erased")
    with pytest.raises(Conflicting, match="can be refunded, and not credited: its account was erased"):
        decide(any_shop, late, "credit")
    assert any_shop.rows(credits_due) == []
