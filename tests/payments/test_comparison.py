"""The daily comparison: what nobody heard of is found, mended where it can be, and told where it cannot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.errors import NotFound
from gateway.domain.money import parse_money
from gateway.domain.order import Found
from gateway.ledger.sales import payment_differences
from gateway.ledger.tables import audit_log
from gateway.payments import comparison, differences
from gateway.payments.provider import ProviderRefused, ProviderUnavailable, ProviderUnclear
from tests.payments.shop import Shop


def compare(shop: Shop) -> int:
    now = shop.clock.now
    return comparison.compare(shop.system, shop.till, now - timedelta(days=1), now + timedelta(minutes=30))


def found(shop: Shop) -> list[tuple[str, str, str]]:
    return [(row.kind, row.order, row.payment) for row in shop.rows(payment_differences)]


def pay(shop: Shop, order: str, **changes: Any) -> Found:
    """Now, as the provider's books say."""
    return shop.till.say(order, state="paid", payment_id=f"py-{order}", paid_at=shop.clock.now, **changes)


def test_where_all_agrees_nothing_is_noted(any_shop: Shop) -> None:
    for number in range(3):
        order = any_shop.order(write_id=f"w{number}")
        pay(any_shop, order.id)
        any_shop.take(order.id)
    any_shop.order(write_id="open")

    assert compare(any_shop) == 0
    assert found(any_shop) == []
    assert any_shop.till.asked.count("fetch") == 0


def test_what_was_paid_and_never_heard_of_is_credited_and_noted_as_mended(any_shop: Shop) -> None:
    order = any_shop.order()
    pay(any_shop, order.id)

    assert (compare(any_shop), compare(any_shop)) == (1, 0)

    assert any_shop.find(order.id).state == "credited"
    (row,) = any_shop.rows(payment_differences)
    assert (row.kind, row.order, row.resolved_by) == ("not_credited", order.id, "comparison")
    assert row.resolved_at is not None


def test_the_list_alone_makes_nothing_paid(shop: Shop) -> None:
    order = shop.order()
    shop.till.others["pr-2"] = Found(order.id, "", "paid", "py-listed", order.price, paid_at=shop.clock.now)

    assert compare(shop) == 1

    assert shop.find(order.id).state == "pending"
    (row,) = shop.rows(payment_differences)
    assert (row.kind, row.resolved_at) == ("not_credited", None)


def test_a_payment_of_no_order_of_ours_is_noted(any_shop: Shop) -> None:
    any_shop.till.found["x"] = Found(
        "somebody else's", "pr-x", "paid", "py-x", parse_money("1 IDR"), paid_at=any_shop.clock.now
    )

    assert (compare(any_shop), compare(any_shop)) == (1, 0)
    assert found(any_shop) == [("unknown_payment", "", "py-x")]


def test_another_amount_goes_to_review_and_is_noted(shop: Shop) -> None:
    order = shop.order()
    pay(shop, order.id, money=parse_money("9999 IDR"))

    assert (compare(shop), compare(shop)) == (1, 0)
    assert found(shop) == [("other_amount", order.id, f"py-{order.id}")]
    assert shop.find(order.id).state == "review"


def test_an_amount_that_has_changed_since_is_noted(shop: Shop) -> None:
    order = shop.order()
    pay(shop, order.id)
    shop.take(order.id)
    shop.till.say(order.id, money=parse_money("9999 IDR"))

    assert compare(shop) == 1
    assert found(shop) == [("other_amount", order.id, f"py-{order.id}")]


def test_an_order_that_was_paid_twice_is_noted_and_credited_once(shop: Shop) -> None:
    order = shop.order()
    first = pay(shop, order.id)
    shop.take(order.id)
    shop.till.others["pr-2"] = Found(order.id, "pr-2", "paid", "py-2", first.money, paid_at=shop.clock.now)

    assert (compare(shop), compare(shop)) == (1, 0)
    assert found(shop) == [("paid_twice", order.id, "py-2")]
    assert shop.left() == 1015


@pytest.mark.parametrize(("says", "state"), [("does not know", None), ("is canceled", "canceled")])
def test_what_we_credited_and_the_provider_does_not_know_is_noted(any_shop: Shop, says: str, state: str | None) -> None:
    order = any_shop.order()
    pay(any_shop, order.id)
    any_shop.take(order.id)
    if state is None:
        del any_shop.till.found[order.id]
    else:
        any_shop.till.say(order.id, state=state)

    assert (compare(any_shop), compare(any_shop)) == (1, 0)
    (row,) = any_shop.rows(payment_differences)
    assert (row.kind, says in row.note) == ("not_paid_there", True)


def test_what_the_list_leaves_out_is_asked_for_before_it_is_believed(shop: Shop, monkeypatch: Any) -> None:
    order = shop.order()
    pay(shop, order.id)
    shop.take(order.id)
    monkeypatch.setattr(shop.till, "payments", lambda since, until: iter(()))

    assert compare(shop) == 0
    assert shop.till.asked[-1] == "fetch"


def test_ours_are_gone_through_page_by_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "_PAGE", 2)
    for number in range(5):
        order = shop.order(write_id=f"w{number}")
        pay(shop, order.id)
        shop.take(order.id)
        del shop.till.found[order.id]

    assert compare(shop) == 5


def test_a_provider_that_does_not_answer_is_said_and_what_was_found_stays(shop: Shop) -> None:
    shop.till.faults["payments"] = ProviderUnavailable("timeout")

    with pytest.raises(ProviderUnavailable):
        compare(shop)


def test_an_operator_resolves_a_difference_once(any_shop: Shop) -> None:
    test_a_payment_of_no_order_of_ours_is_noted(any_shop)
    (row,) = differences.listed(any_shop.system.ledger).items

    resolved = differences.resolve(any_shop.system, any_shop.by("act-1", "given back by hand"), row["id"])
    differences.resolve(any_shop.system, any_shop.by("act-1", "given back by hand"), row["id"])

    assert (resolved["resolved_by"], resolved["resolved_at"]) == ("admin:olga", any_shop.clock.now)
    assert differences.listed(any_shop.system.ledger).items == ()
    assert [each["id"] for each in differences.listed(any_shop.system.ledger, resolved=True).items] == [row["id"]]
    assert [note.action for note in any_shop.rows(audit_log)] == ["payment.resolve_difference"]
    with pytest.raises(NotFound):
        differences.resolve(any_shop.system, any_shop.by("act-2"), "nothing")


@pytest.mark.parametrize("fault", [ProviderUnclear("it is not of it"), ProviderRefused("no")])
def test_one_payment_that_cannot_be_asked_about_is_noted_and_holds_up_no_other(
    any_shop: Shop, fault: Exception
) -> None:
    first, second = any_shop.order(), any_shop.order(write_id="w2")
    pay(any_shop, first.id)
    pay(any_shop, second.id)
    any_shop.till.faults["fetch"] = fault

    assert compare(any_shop) == 2

    assert {any_shop.find(order.id).state for order in (first, second)} == {"pending", "credited"}
    assert [row.resolved_by for row in sorted(any_shop.rows(payment_differences), key=lambda row: row.resolved_by)] == [
        "", "comparison",
    ]  # fmt: skip


@pytest.mark.parametrize("fault", [ProviderUnclear("it is not of it"), ProviderRefused("no")])
def test_one_of_ours_that_cannot_be_asked_about_holds_up_no_other(shop: Shop, fault: Exception) -> None:
    for number in range(2):
        order = shop.order(write_id=f"w{number}")
        pay(shop, order.id)
        shop.take(order.id)
        del shop.till.found[order.id]
    shop.till.faults["fetch"] = fault

    assert compare(shop) == 1
