"""Refunds: the units first, then the money; whatever breaks in between, an account has one of the two."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.errors import Conflicting, RefusedInput, StoreUnavailable
from gateway.domain.money import Money, parse_money
from gateway.domain.order import Order
from gateway.domain.reservation import Reserved, Stale
from gateway.domain.schedule import schedule
from gateway.domain.usage import Usage
from gateway.ledger.sales import credits_due, webhook_events
from gateway.ledger.sales import refunds as table
from gateway.ledger.tables import audit_log
from gateway.payments import fulfilment, refunds
from gateway.payments.provider import ProviderRefused, ProviderUnavailable, RefundFound, RefundWanted
from gateway.payments.refunds import Refund
from gateway.store import calls
from tests.payments.shop import Shop


def refund(
    shop: Shop, order: Order, money: Money | None = None, id: str = "act-1", reason: str = "asked for"
) -> Refund:
    return refunds.refund(shop.system, shop.till, shop.by(id, reason), order, money)


def poll(shop: Shop, **later: float) -> int:
    shop.clock.forward(**(later or {"minutes": 1}))
    return refunds.poll_due(shop.system, shop.till)


def test_what_was_not_used_goes_back_at_its_price_and_the_bonus_is_gone(any_shop: Shop) -> None:
    order = any_shop.bought("small")  # 5000 units and 500 on top, for 50000 IDR.
    any_shop.spend(15 + 1234)  # The sign-up grant is spent first.

    made = refund(any_shop, order)

    assert (made.state, made.money, made.units) == ("succeeded", parse_money("37660 IDR"), 3766 + 500)
    assert any_shop.states(order.id)[-1] == "refunded"
    assert any_shop.left() == 0


def test_the_ledger_calls_it_a_reversal_and_spends_nothing(shop: Shop) -> None:
    order = shop.bought("small")
    shop.spend(15 + 1234)

    refund(shop, order)

    found: Any = shop.system.redis.xrange("qg:{p00}:events")
    entries = [fields[b"entries"].decode() for _, fields in found if fields[b"kind"] == b"voided"]
    assert entries == [f"REVERSAL credits:order:{order.id} -3766", f"REVERSAL credits:order:{order.id}:bonus -500"]
    account = shop.system.runner.run(calls.peek(shop.system.keys.account(order.account)))
    assert account is not None
    assert (account.granted, account.spent, account.left) == (0, 0, 0)  # `spend` takes units as a correction.


@pytest.mark.parametrize("named", [None, "2500 IDR"])
def test_no_money_goes_back_while_redis_cannot_say_what_is_left(shop: Shop, named: str | None) -> None:
    order = shop.bought()
    shop.system.redis.flushall()

    with pytest.raises(StoreUnavailable, match="restore"):
        refund(shop, order, None if named is None else parse_money(named))

    assert (shop.rows(table), "refund" in shop.till.asked) == ([], False)


def test_no_money_goes_back_where_redis_was_emptied_meanwhile(shop: Shop) -> None:
    order = shop.bought()
    shop.till.faults["refund"] = ProviderUnavailable("away")
    made = refund(shop, order)
    shop.system.redis.flushall()

    assert poll(shop) == 1

    assert refunds.find(shop.system, made.id).state == "created"
    assert shop.till.asked.count("refund") == 1


def test_money_is_rounded_down_to_what_can_be_paid(shop: Shop) -> None:
    order = shop.order(package=None, units=999)  # type: ignore[arg-type]
    shop.till.pay(order.id)
    shop.take(order.id)  # 15984 IDR
    shop.spend(15 + 1)

    assert refund(shop, order).money == parse_money("15968 IDR")


def test_an_amount_that_is_named_goes_back_whether_anything_is_unused_or_not(shop: Shop) -> None:
    order = shop.bought()
    shop.spend(15 + 1000)

    made = refund(shop, order, parse_money("2500 IDR"))

    assert (made.state, made.money, made.units) == ("succeeded", parse_money("2500 IDR"), 0)


def test_where_nothing_is_unused_an_amount_must_be_named(any_shop: Shop) -> None:
    order = any_shop.bought("small")
    any_shop.spend(15 + 5000)  # The bonus is left, for which nobody paid.

    with pytest.raises(Conflicting, match="name the amount"):
        refund(any_shop, order)

    assert any_shop.rows(table) == []
    assert any_shop.left() == 500


@pytest.mark.parametrize("amount", ["10001 IDR", "100 USD"])
def test_no_more_goes_back_than_came(shop: Shop, amount: str) -> None:
    order = shop.bought()

    with pytest.raises(RefusedInput, match="up to 10000 IDR"):
        refund(shop, order, parse_money(amount))
    assert shop.left() == 1015


def test_an_order_that_is_not_credited_is_not_refunded(shop: Shop) -> None:
    order = shop.order()

    with pytest.raises(Conflicting, match="is pending, and cannot be refunded"):
        refund(shop, order)


def test_a_refund_needs_a_reason_and_is_noted_once(any_shop: Shop) -> None:
    order = any_shop.bought()
    with pytest.raises(RefusedInput, match="reason"):
        refund(any_shop, order, reason=" ")

    first = refund(any_shop, order)

    assert refund(any_shop, order) == first
    assert any_shop.till.asked.count("refund") == 1
    (note,) = any_shop.rows(audit_log)
    assert (note.action, note.target, note.actor) == ("payment.refund", f"payment:{order.id}", "admin:olga")
    with pytest.raises(Conflicting, match="is refunded"):
        refund(any_shop, order, id="act-2")


def test_a_refund_that_the_provider_refuses_gives_back_what_was_taken(any_shop: Shop) -> None:
    order = any_shop.bought("small")
    any_shop.spend(15 + 1000)
    any_shop.till.faults["refund"] = ProviderRefused("this channel has no refunds")

    made = refund(any_shop, order)

    assert (made.state, made.note) == ("failed", "this channel has no refunds")
    assert any_shop.find(order.id).state == "credited"
    assert any_shop.left() == 4000 + 500
    back = {row.id: (row.amount, row.priority) for row in any_shop.rows(credits_due) if row.id.startswith("refund")}
    assert back == {f"refund:{made.id}:back": (4000, 100), f"refund:{made.id}:back:bonus": (500, 101)}


def test_after_one_that_failed_another_takes_what_was_given_again(any_shop: Shop) -> None:
    order = any_shop.bought("small")
    any_shop.till.faults["refund"] = ProviderRefused("not now")
    refund(any_shop, order)
    any_shop.spend(15 + 2500)

    made = refund(any_shop, order, id="act-2")

    assert (made.state, made.money, made.units) == ("succeeded", parse_money("25000 IDR"), 3000)
    assert any_shop.left() == 0


@pytest.mark.parametrize("fault", ["refund", "lost refund"])
def test_a_refund_whose_answer_is_lost_is_gone_on_with(any_shop: Shop, fault: str) -> None:
    order = any_shop.bought()
    any_shop.till.faults[fault] = ProviderUnavailable("timeout")

    made = refund(any_shop, order)
    assert (made.state, made.money, made.units) == ("created", parse_money("10000 IDR"), 1000)
    with pytest.raises(Conflicting, match="is being refunded"):
        refund(any_shop, order, id="act-2")
    assert (refunds.poll_due(any_shop.system, any_shop.till), poll(any_shop)) == (0, 1)

    assert refunds.find(any_shop.system, made.id).state == "succeeded"
    assert any_shop.find(order.id).state == "refunded"
    assert len(any_shop.till.refunds) == 1


@pytest.mark.parametrize(("ends", "state", "left"), [("succeeded", "refunded", 15), ("failed", "credited", 1015)])
def test_a_refund_that_takes_its_time_ends_by_poll_or_webhook(shop: Shop, ends: str, state: str, left: int) -> None:
    for number, how in enumerate(("poll", "webhook")):
        order = shop.bought(account=f"ada{number}", write_id=f"w{number}")
        shop.till.refund_state = "pending"
        made = refund(shop, order, id=f"act-{number}")
        assert made.state == "pending"
        shop.till.refunds[made.id] = RefundFound(made.provider_id, ends, "the bank said so")

        if how == "poll":
            assert poll(shop) == 1
        else:
            assert shop.hear("refund.done", order, refund=made.id) == "applied"

        assert refunds.find(shop.system, made.id).state == ends
        assert shop.find(order.id).state == state
        assert shop.left(f"ada{number}") == left


def test_a_webhook_of_a_refund_waits_while_the_provider_is_away(shop: Shop) -> None:
    order = shop.bought()
    shop.till.refund_state = "pending"
    made = refund(shop, order)
    shop.till.refunds[made.id] = RefundFound(made.provider_id, "succeeded")
    shop.till.faults["fetch_refund"] = ProviderUnavailable("timeout")

    assert shop.hear("refund.succeeded", order, refund=made.id) == "waiting"
    poll(shop)

    assert shop.find(order.id).state == "refunded"
    assert [row.outcome for row in shop.rows(webhook_events)] == ["applied"]


class Died(BaseException):
    """As kill -9 would, in the middle of what was going on."""


#: Between which steps a process dies: this call is never made.
STEPS = ["take_back", "_write", "refund", "_succeed"]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_dies_between_two_steps_leaves_what_the_poller_goes_on_with(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: Any, **__: Any) -> None:
        raise Died

    order = any_shop.bought("small")
    any_shop.spend(15 + 1000)
    where: Any = {"take_back": fulfilment, "refund": any_shop.till}.get(step, refunds)
    with monkeypatch.context() as patch:
        patch.setattr(where, step, die)
        with pytest.raises(Died):
            refund(any_shop, order)

    assert poll(any_shop) == 1

    (row,) = any_shop.rows(table)
    assert (row.state, row.amount, row.units) == ("succeeded", 4_000_000, 4500)
    assert len(any_shop.till.refunds) == 1
    assert any_shop.left() == 0
    assert refund(any_shop, order).id == row.id  # Its repeat notes it.


def test_while_redis_is_away_nothing_is_taken_and_nothing_goes_back(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    order = any_shop.bought()
    monkeypatch.setattr(fulfilment, "left", away)

    with pytest.raises(StoreUnavailable):
        refund(any_shop, order)
    assert any_shop.rows(table) == []


def hold(shop: Shop, units: int, account: str = "ada") -> None:
    """A call that is open."""
    tier = shop.system.tier("free")
    terms = calls.terms("chat", "/v1/chat", "p1", tier, schedule(tier, shop.system.script_ms or 0, "", ""))
    version, zone = 0, ""
    key = shop.system.keys.account(account)
    while True:
        call = calls.reserve(key, "held", units, terms, version=version, zone=zone, now_ms=shop.system.script_ms)
        outcome = shop.system.runner.run(call)
        if not isinstance(outcome, Stale):
            break
        version, zone = outcome.version, outcome.zone
    assert isinstance(outcome, Reserved), outcome


def test_what_an_open_call_holds_does_not_come_back_once_its_money_went(any_shop: Shop) -> None:
    order = any_shop.bought()
    hold(any_shop, 5 + 15 + 1000)  # The allowance of the day as well.

    made = refund(any_shop, order, parse_money("10000 IDR"))
    key = any_shop.system.keys.account("ada")
    any_shop.system.runner.run(calls.settle(key, "held", 5, Usage(), now_ms=any_shop.system.script_ms))

    assert made.state == "succeeded"
    assert any_shop.left() == 15
    assert refunds.find(any_shop.system, made.id).units == 0  # They had been held before, and lapsed.


def test_a_refund_that_was_made_by_another_process_meanwhile_is_not_taken_for_refused(
    any_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = any_shop.bought()
    make = any_shop.till.refund

    def twice(wanted: RefundWanted) -> RefundFound:
        make(wanted)
        raise ProviderRefused("it has this reference already")

    monkeypatch.setattr(any_shop.till, "refund", twice)

    assert refund(any_shop, order).state == "succeeded"
    assert any_shop.left() == 15


def test_a_question_that_is_refused_does_not_end_a_refund(any_shop: Shop) -> None:
    order = any_shop.bought()
    any_shop.till.refund_state = "pending"
    made = refund(any_shop, order)
    any_shop.till.faults["fetch_refund"] = ProviderRefused("not now")

    assert poll(any_shop) == 1
    assert (refunds.find(any_shop.system, made.id).state, any_shop.left()) == ("pending", 15)

    any_shop.till.refunds[made.id] = RefundFound(made.provider_id, "succeeded")
    assert poll(any_shop, minutes=2) == 1
    assert any_shop.find(order.id).state == "refunded"


def test_a_refund_whose_webhook_waits_is_asked_about_soon(shop: Shop) -> None:
    order = shop.bought()
    shop.till.refund_state = "pending"
    made = refund(shop, order)
    poll(shop, days=3)
    shop.till.refunds[made.id] = RefundFound(made.provider_id, "succeeded")
    shop.till.faults["fetch_refund"] = ProviderUnavailable("timeout")

    assert shop.hear("refund.succeeded", order, refund=made.id) == "waiting"

    assert poll(shop, seconds=1) == 1
    assert shop.find(order.id).state == "refunded"
