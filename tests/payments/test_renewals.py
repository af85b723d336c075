"""Subscriptions and money: subscribing, renewing, paying late and twice, changing plan, canceling."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from gateway.accounts import terms
from gateway.accounts.noting import By
from gateway.domain.errors import Conflicting, NotFound, RefusedInput, StoreUnavailable, StoreUnready
from gateway.domain.money import Money, parse_money
from gateway.domain.order import Order
from gateway.ledger.sales import subscription_steps, subscriptions
from gateway.ledger.tables import notices
from gateway.payments import books, crediting, fulfilment, refunds, renewals
from gateway.payments.current import current
from gateway.payments.provider import ProviderRefused, ProviderUnavailable
from gateway.subscriptions import applying
from tests.payments.club import Club


def told(club: Club) -> list[str]:
    """The kinds of all notices, in the order in which they were written."""
    query = select(notices.c.kind).order_by(notices.c.created_at, notices.c.id)
    with club.system.ledger.connect() as connection:
        return list(connection.execute(query).scalars())


def refund(club: Club, order: Order, money: Money | None = None) -> refunds.Refund:
    return refunds.refund(club.system, club.till, By(club.write(), "admin:olga", "asked for"), order, money)


# ── subscribing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_begins_with_its_payment(any_club: Club) -> None:
    pending, order = any_club.subscribe("plus")
    assert (pending.state, order.state, order.price) == ("pending", "pending", parse_money("30000 IDR"))
    assert (order.purpose, order.item, order.subscription, order.period) == ("subscription", "plus", pending.id, 1)

    any_club.later(hours=2)
    assert any_club.pay(order).state == "credited"

    it = any_club.row()
    assert (it.state, it.period, it.anchor, it.period_starts_at) == ("active", 1, "2027-01-31", any_club.now)
    assert it.period_ends_at == any_club.instant("2027-02-28 00:00")
    assert any_club.has() == ("plus", 1000)
    assert any_club.account().granted == 15 + 1000  # It opened with the sign-up grant of the tier it comes from.
    assert any_club.steps() == ["subscribed", "began"]
    any_club.work()
    assert told(any_club) == ["subscription_started"]


def test_a_repeat_answers_with_the_same_two(any_club: Club) -> None:
    first = any_club.subscribe(write_id="same")
    assert any_club.subscribe(write_id="same") == first
    with pytest.raises(Conflicting):
        any_club.subscribe("prime", write_id="same")


def test_an_account_has_one_subscription(any_club: Club) -> None:
    any_club.join()
    with pytest.raises(Conflicting, match="already"):
        any_club.subscribe("prime")


def test_one_that_was_never_paid_gives_way(any_club: Club) -> None:
    first, unpaid = any_club.subscribe("plus")

    second, order = any_club.subscribe("prime")

    assert books.find(any_club.system.ledger, unpaid.id).state == "canceled"
    any_club.pay(order)
    assert any_club.has() == ("prime", 3000)
    # Money for the first one that comes all the same is for people to look at.
    assert any_club.pay(unpaid).state == "review"
    assert any_club.has() == ("prime", 3000)
    assert any_club.row().id == second.id != first.id


def test_one_that_nobody_pays_is_over_after_three_days(club: Club) -> None:
    club.subscribe()
    club.work()
    club.later(days=3)
    club.work()

    assert club.row().state == "ended"
    assert told(club) == []


def test_money_that_comes_after_that_begins_it_all_the_same(club: Club) -> None:
    _, order = club.subscribe()
    club.later(days=4)
    club.work()

    assert club.pay(order).state == "credited"

    assert (club.row().state, club.row().anchor) == ("active", "2027-02-04")
    assert club.has() == ("plus", 1000)


@pytest.mark.parametrize("plan", ["gold", ""])
def test_what_is_no_plan_is_refused(club: Club, plan: str) -> None:
    with pytest.raises(RefusedInput, match="there are plus, prime, strict, yearly"):
        club.subscribe(plan)


def test_a_license_has_no_subscription(club: Club) -> None:
    with pytest.raises(RefusedInput, match="license"):
        club.subscribe(account="license:qg_lic_12345678")


def test_a_provider_that_does_not_answer_leaves_an_order_that_a_repeat_goes_on_with(club: Club) -> None:
    club.till.faults["create"] = ProviderUnavailable("away")
    with pytest.raises(ProviderUnavailable):
        club.subscribe(write_id="same")

    it, order = club.subscribe(write_id="same")

    assert (it.state, order.state) == ("pending", "pending")
    assert club.pay(order).state == "credited"


# ── renewing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_worker_asks_for_the_next_period_and_reminds(any_club: Club) -> None:
    it = any_club.join()
    any_club.work()
    for at in ("2027-02-24 23:59", "2027-02-25 00:00", "2027-02-26 12:00", "2027-02-27 00:00", "2027-02-27 23:00"):
        any_club.at(at)
        any_club.work()
        any_club.work()

    made = renewals.open_orders(any_club.system, it)
    assert [(order.item, order.period, order.state) for order in made] == [("plus", 2, "pending")]
    assert told(any_club) == ["subscription_started", "renewal_due", "renewal_due"]


def test_a_provider_that_is_away_keeps_no_period_waiting(any_club: Club) -> None:
    any_club.join(account="ada")
    any_club.at("2027-02-03 12:00")
    any_club.join(account="bob")
    any_club.at("2027-02-20 12:00")
    any_club.pay(account="ada")
    any_club.work()
    any_club.at("2027-02-28 00:00")  # Bob is to be reminded of 3 March, and hers begins.
    any_club.till.faults["create"] = ProviderUnavailable("away")

    any_club.work()

    assert "create" not in any_club.till.faults
    assert (any_club.row("ada").period, any_club.has("ada")) == (2, ("plus", 1000))


def test_those_that_wait_for_the_provider_let_others_have_their_turn(club: Club) -> None:
    club.join(account="ada")
    club.later(minutes=1)
    club.join(account="bob")
    club.work()
    club.at("2027-02-25 00:00")  # Both are to be reminded.
    club.till.faults["create"] = ProviderUnavailable("away")

    renewals.act_due(club.system, club.till, limit=1)
    renewals.act_due(club.system, club.till, limit=1)

    assert [len(renewals.open_orders(club.system, club.row(account))) for account in ("ada", "bob")] == [1, 1]


def test_an_order_that_could_not_be_made_is_made_soon(club: Club) -> None:
    it = club.join()
    club.work()
    club.at("2027-02-25 00:00")
    club.till.faults["create"] = ProviderUnavailable("away")
    club.work()
    assert [order.state for order in renewals.open_orders(club.system, it)] == ["created"]
    assert told(club)[-1] == "renewal_due"

    club.later(minutes=1)
    club.work()
    assert [order.state for order in renewals.open_orders(club.system, it)] == ["pending"]


def test_who_asks_many_times_at_once_has_one_subscription(any_club: Club) -> None:
    def ask(number: int) -> str:
        try:
            return any_club.subscribe(write_id=f"at-once-{number}")[0].id
        except (Conflicting, KeyError):
            return ""

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))

    with any_club.system.ledger.connect() as connection:
        lives = select(subscriptions.c.id).where(subscriptions.c.state != "ended")
        assert len(connection.execute(lives).all()) == 1


def test_an_order_that_many_hear_of_at_once_begins_one_period(any_club: Club) -> None:
    _, order = any_club.subscribe()
    any_club.till.pay(order.id)

    with ThreadPoolExecutor(8) as threads:
        states = {each.state for each in threads.map(lambda _: any_club.take(order), range(8))}

    assert states <= {"paid", "credited"}
    assert (any_club.row().period, any_club.steps(), any_club.has()) == (1, ["subscribed", "began"], ("plus", 1000))


def test_an_order_that_has_expired_is_made_anew(club: Club) -> None:
    it = club.join()
    club.at("2027-02-25 00:00")
    club.work()
    (first,) = renewals.open_orders(club.system, it)
    club.till.say(first.id, state="expired")
    club.take(first)

    club.at("2027-02-27 00:00")
    club.work()

    (second,) = renewals.open_orders(club.system, it)
    assert (second.id != first.id, second.period) == (True, 2)


def test_a_period_that_is_paid_ahead_gives_its_allowance_when_it_begins(any_club: Club) -> None:
    any_club.join()
    any_club.at("2027-02-20 12:00")
    assert any_club.pay().state == "credited"

    assert any_club.has() == ("plus", 1000)
    assert any_club.account().tier_ends_ms == any_club.instant("2027-04-05 00:00").timestamp() * 1000
    with pytest.raises(Conflicting, match="nothing is to be paid"):
        any_club.bill()
    any_club.at("2027-02-28 00:00")
    assert any_club.has() == ("plus", 0)
    assert any_club.standing().period == 2  # Whoever looks begins it too.
    assert any_club.has() == ("plus", 1000)
    any_club.work()
    assert any_club.account().granted == 15 + 2000 - 1000


def test_what_is_left_of_a_period_is_found_by_the_order_that_paid_it(any_club: Club) -> None:
    any_club.join()
    order = any_club.pay()
    assert fulfilment.left(any_club.system, order) == {}
    any_club.at("2027-02-28 00:00")
    any_club.work()

    assert fulfilment.left(any_club.system, order) == {f"subscription:{order.subscription}:2": 1000}


def test_a_period_whose_money_went_back_does_not_begin(any_club: Club) -> None:
    any_club.join()
    order = any_club.pay()

    made = refund(any_club, order)

    assert (made.state, made.money) == ("succeeded", order.price)
    any_club.at("2027-02-28 00:00")
    any_club.work()
    assert (any_club.row().state, any_club.row().period, any_club.has()) == ("grace", 1, ("plus", 0))
    any_club.at("2027-03-05 00:00")
    assert any_club.account().tier == "free"


def test_a_period_whose_money_is_going_back_does_not_begin(any_club: Club) -> None:
    any_club.join()
    order = any_club.pay()
    any_club.till.refund_state = "pending"
    made = refund(any_club, order, parse_money("20000 IDR"))
    any_club.at("2027-02-28 00:00")
    any_club.work()
    assert (any_club.row().state, any_club.has()) == ("grace", ("plus", 0))

    any_club.till.refunds[made.id] = replace(any_club.till.refunds[made.id], state="succeeded")
    refunds.ask(any_club.system, any_club.till, made.id)

    any_club.work()
    assert (any_club.row().state, any_club.has()) == ("grace", ("plus", 0))


@pytest.mark.parametrize("fails_at", ["2027-02-20 12:00", "2027-03-01 12:00"])
def test_a_period_whose_money_stays_after_all_begins(any_club: Club, fails_at: str) -> None:
    any_club.join()
    order = any_club.pay()
    any_club.till.refund_state = "pending"
    made = refund(any_club, order)
    any_club.at(fails_at)
    any_club.work()

    any_club.till.refunds[made.id] = replace(any_club.till.refunds[made.id], state="failed")
    assert refunds.ask(any_club.system, any_club.till, made.id).state == "failed"

    any_club.at("2027-03-01 12:00")
    any_club.work()
    assert (any_club.row().state, any_club.row().period, any_club.has()) == ("active", 2, ("plus", 1000))
    assert any_club.row().period_starts_at == any_club.instant("2027-02-28 00:00")


def test_what_was_given_again_goes_with_the_subscription(any_club: Club) -> None:
    _, order = any_club.subscribe()
    any_club.pay(order)
    any_club.till.faults["refund"] = ProviderRefused("not here")
    assert refund(any_club, order).state == "failed"
    assert (any_club.account().left, current(any_club.system, "ada").allowance_left) == (15 + 1000, 1000)

    any_club.cancel(at_once=True)

    assert any_club.account().left == 15


def test_a_refund_that_fails_brings_no_canceled_subscription_back(any_club: Club) -> None:
    any_club.join()
    order = any_club.pay()
    any_club.cancel(at_once=True)
    any_club.till.faults["refund"] = ProviderRefused("not here")

    made = refund(any_club, order)

    assert (made.state, made.money) == ("failed", order.price)
    any_club.work()
    assert (any_club.row().state, any_club.has()) == ("ended", ("free", 0))


def test_the_second_payment_of_a_period_is_for_people_to_look_at(any_club: Club) -> None:
    any_club.join()
    any_club.at("2027-02-26 12:00")
    first = any_club.bill()
    second = any_club.bill(method="link")
    assert first.id != second.id
    any_club.pay(second)

    late = any_club.pay(first)

    assert (late.state, "paid already" in late.note) == ("review", True)
    with any_club.system.ledger.begin() as connection, pytest.raises(Conflicting, match="refunded"):
        crediting.accept(connection, any_club.system, late, cause="admin:root", now=any_club.now, note="")


def test_the_order_that_is_open_is_shown_again(club: Club) -> None:
    club.join()
    club.at("2027-02-26 12:00")

    assert club.bill().id == club.bill().id


def test_who_pays_in_grace_pays_for_the_period_that_has_begun(any_club: Club) -> None:
    any_club.join()
    any_club.at("2027-02-28 00:00")
    any_club.work()
    assert (any_club.row().state, any_club.has()) == ("grace", ("plus", 0))
    assert told(any_club)[-1] == "renewal_overdue"

    any_club.at("2027-03-04 23:59")
    any_club.pay()

    it = any_club.row()
    assert (it.state, it.period, it.period_starts_at) == ("active", 2, any_club.instant("2027-02-28 00:00"))
    assert it.period_ends_at == any_club.instant("2027-03-31 00:00")
    assert any_club.has() == ("plus", 1000)


def test_after_grace_it_is_over_and_a_late_payment_begins_anew(any_club: Club) -> None:
    any_club.join()
    any_club.at("2027-02-26 12:00")
    order = any_club.bill()
    any_club.at("2027-03-05 00:00")
    assert any_club.account().tier == "free"  # Nobody has done anything.

    any_club.at("2027-03-05 09:00")
    any_club.pay(order)

    it = any_club.row()
    assert (it.state, it.period, it.anchor) == ("active", 2, "2027-03-05")
    assert (any_club.has(), it.period_ends_at) == (("plus", 1000), any_club.instant("2027-04-05 00:00"))
    assert any_club.steps() == ["subscribed", "began", "ended", "began"]


def test_without_grace_it_is_over_at_once(club: Club) -> None:
    club.join("strict")
    club.at("2027-02-28 00:00")

    assert club.account().tier == "free"
    club.work()
    assert (club.row().state, told(club)[-1]) == ("ended", "subscription_ended")


def test_a_worker_that_was_away_finds_what_came_about(club: Club) -> None:
    club.join()
    club.at("2027-02-20 12:00")
    club.pay()
    club.at("2027-06-01 12:00")

    club.work()

    assert club.steps() == ["subscribed", "began", "paid", "began", "ended"]
    assert club.row().ended_at == club.instant("2027-04-05 00:00")
    assert club.has() == ("free", 0)


def test_redis_being_away_loses_nothing(club: Club, monkeypatch: pytest.MonkeyPatch) -> None:
    _, order = club.subscribe()
    with monkeypatch.context() as patch:
        patch.setattr(applying, "apply", lambda *_, **__: (_ for _ in ()).throw(StoreUnavailable("away")))
        assert club.pay(order).state == "paid"
    assert club.row().state == "active"

    club.work()
    assert crediting.finish(club.system, books.find(club.system.ledger, order.id)).state == "credited"
    assert club.has() == ("plus", 1000)


def test_what_is_wrong_with_one_holds_up_no_other(club: Club) -> None:
    club.join(account="ada")
    club.at("2027-02-20 12:00")
    club.pay(account="ada")
    club.join(account="bob")
    plans = {name: plan for name, plan in club.system.config.plans.items() if name != "plus"}
    club.system = replace(club.system, config=replace(club.system.config, plans=plans))
    club.at("2027-03-20 12:00")

    club.work()

    assert club.row("ada").state == "active"  # Its paid period cannot begin: nobody knows how long it is.
    assert club.row("bob").state == "grace"


# ── changing plan ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dearer_plan_is_there_when_the_difference_is_paid(any_club: Club) -> None:
    any_club.at("2027-03-01 00:00")
    any_club.join("plus")
    any_club.at("2027-03-16 12:00")  # In the middle.
    order = any_club.change("prime")
    assert order is not None
    assert (order.price, order.units, order.period) == (parse_money("30000 IDR"), 1000, 1)
    assert any_club.has() == ("plus", 1000)

    any_club.pay(order)

    assert any_club.has() == ("prime", 2000)
    assert (any_club.row().plan, any_club.row().upgrade_order, any_club.row().period) == ("prime", "", 1)
    # The next one costs and gives what the plan does.
    assert any_club.bill().price == parse_money("90000 IDR")


def test_the_next_period_that_was_paid_before_an_upgrade_is_what_was_paid_for(any_club: Club) -> None:
    any_club.join("plus")
    any_club.at("2027-02-26 12:00")
    upgrade = any_club.change("prime")
    any_club.pay()  # The next period, at the price of plus.

    any_club.pay(upgrade)

    assert any_club.has()[0] == "prime"
    assert any_club.row().tier_ends_at == any_club.instant("2027-04-05 00:00")
    any_club.at("2027-02-28 00:00")
    assert any_club.account().tier == "plus"
    any_club.work()
    assert (any_club.row().plan, any_club.has()) == ("plus", ("plus", 1000))


def test_an_upgrade_that_is_paid_when_its_period_is_over_is_for_people_to_look_at(any_club: Club) -> None:
    any_club.join("plus")
    order = any_club.change("prime")
    any_club.at("2027-02-26 12:00")
    any_club.pay()
    any_club.at("2027-02-28 00:00")

    assert any_club.pay(order).state == "review"
    assert any_club.has() == ("plus", 0)


def test_a_cheaper_plan_comes_with_the_next_period(any_club: Club) -> None:
    any_club.join("prime")
    any_club.at("2027-02-26 12:00")
    dear = any_club.bill()

    assert any_club.change("plus") is None

    assert books.find(any_club.system.ledger, dear.id).state == "canceled"
    order = any_club.bill()
    assert (order.item, order.price) == ("plus", parse_money("30000 IDR"))
    any_club.pay(order)
    any_club.at("2027-02-27 23:59")
    assert any_club.has() == ("prime", 3000)
    any_club.at("2027-02-28 00:00")
    assert any_club.account().tier == "plus"  # Before any worker.
    any_club.work()
    assert any_club.has() == ("plus", 1000)
    assert any_club.account().tier_ends_ms == any_club.instant("2027-04-05 00:00").timestamp() * 1000


def test_a_year_follows_a_month_when_it_ends(club: Club) -> None:
    club.join("plus")
    assert club.change("yearly") is None
    club.pay()
    club.at("2027-02-28 00:00")
    club.work()

    assert club.has() == ("prime", 40_000)
    assert club.row().period_ends_at == club.instant("2028-02-29 00:00")  # Its anchor is the 31st.


def test_who_pays_the_order_of_before_a_change_has_what_was_ordered(club: Club) -> None:
    club.join("prime")
    club.at("2027-02-26 12:00")
    dear = club.bill()
    club.change("plus")

    assert club.pay(dear).state == "credited"

    club.at("2027-02-28 00:00")
    club.work()
    assert club.has() == ("prime", 3000)


def test_a_change_is_taken_back_by_naming_the_plan_that_it_is_on(club: Club) -> None:
    club.join("prime")
    club.change("plus")
    club.change("prime")

    assert club.row().next_plan == ""
    assert club.bill().item == "prime"


def test_a_plan_cannot_be_changed_while_the_next_period_is_paid_or_the_first_is_not(club: Club) -> None:
    club.subscribe()
    with pytest.raises(Conflicting, match="subscribe to prime instead"):
        club.change("prime")
    club.pay()
    club.pay()
    with pytest.raises(Conflicting, match="paid already"):
        club.change("prime")


# ── canceling ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_canceled_at_the_end_it_runs_until_then_without_grace(any_club: Club) -> None:
    any_club.join()
    any_club.at("2027-02-26 12:00")
    order = any_club.bill()

    any_club.cancel()
    any_club.cancel()

    assert books.find(any_club.system.ledger, order.id).state == "canceled"
    assert any_club.has() == ("plus", 1000)
    assert any_club.steps().count("canceled") == 1
    any_club.at("2027-02-28 00:00")
    assert any_club.account().tier == "free"
    any_club.work()
    assert (any_club.row().state, any_club.row().ended_at) == ("ended", any_club.now)
    with pytest.raises(Conflicting, match="has ended"):
        any_club.cancel()


def test_a_cancellation_is_taken_back_in_time(any_club: Club) -> None:
    any_club.join()
    any_club.cancel()
    renewals.resume(any_club.system, any_club.row().id)

    any_club.at("2027-02-28 00:00")
    any_club.work()

    assert (any_club.row().state, any_club.has()) == ("grace", ("plus", 0))


def test_canceled_at_once_tier_and_allowance_are_gone(any_club: Club) -> None:
    any_club.join("plus")
    order = any_club.change("prime")
    any_club.pay(order)
    assert any_club.has() == ("prime", 3000)
    any_club.later(hours=1)

    any_club.cancel(at_once=True)

    assert any_club.has() == ("free", 0)
    assert any_club.account().left == 15
    any_club.work()
    assert any_club.has() == ("free", 0)
    assert told(any_club)[-1] == "subscription_ended"


def test_one_that_ended_gives_way_to_another(any_club: Club) -> None:
    any_club.join("plus")
    any_club.cancel(at_once=True)

    any_club.join("prime")
    any_club.work()
    any_club.work()

    assert any_club.has() == ("prime", 3000)
    assert any_club.row().tier_after == "free"


def test_one_that_ended_while_redis_was_away_leaves_the_tier_though_another_one_was_asked_for(
    any_club: Club, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_club.join("plus")
    with monkeypatch.context() as patch:
        patch.setattr(applying, "apply", lambda *_, **__: (_ for _ in ()).throw(StoreUnavailable("away")))
        any_club.cancel(at_once=True)
    any_club.subscribe("prime")
    any_club.later(minutes=1)

    any_club.work()

    assert any_club.has() == ("free", 0)


def test_while_redis_is_to_be_restored_nothing_is_made_of_what_it_does_not_know(club: Club) -> None:
    club.join()
    club.system.redis.flushall()

    with pytest.raises(StoreUnready):
        current(club.system, "ada")
    club.cancel(at_once=True)
    with pytest.raises(StoreUnready):
        club.work()
    with pytest.raises(StoreUnready):
        club.subscribe(account="bob")
    assert not club.row().is_followed_up


def test_a_subscription_that_there_is_not(club: Club) -> None:
    with pytest.raises(NotFound):
        club.standing()


# ── operators, and what they do meanwhile ────────────────────────────────────────────────────────────────────────────


def test_an_operators_tier_stands_until_the_next_payment(club: Club) -> None:
    club.join()
    club.work()
    terms.move(club.system, "ada", tier="payg")
    club.at("2027-02-25 00:00")
    club.work()
    assert club.account().tier == "payg"

    club.pay()
    assert club.account().tier == "plus"


@pytest.mark.parametrize("act", ["overdue", "cancel", "resume", "another way to pay"])
def test_no_other_step_takes_an_operators_tier_away(club: Club, act: str) -> None:
    club.join()
    if act == "resume":
        club.cancel()
    terms.move(club.system, "ada", tier="payg")

    match act:
        case "overdue":
            club.at("2027-03-01 00:00")
        case "cancel":
            club.cancel()
        case "resume":
            renewals.resume(club.system, club.row().id)
        case _:
            club.bill(method="link")
    club.work()

    assert (club.account().tier, club.account().tier_ends_ms) == ("payg", None)


def test_an_operators_tier_outlives_the_subscription(club: Club) -> None:
    club.join()
    club.work()
    terms.move(club.system, "ada", tier="payg")
    club.at("2027-03-10 00:00")
    club.work()

    assert (club.row().state, club.account().tier) == ("ended", "payg")


def test_a_tier_after_of_the_config_is_where_it_goes(club: Club) -> None:
    config = replace(club.system.config, subscriptions=replace(club.system.config.subscriptions, tier_after="payg"))
    club.system = replace(club.system, config=config)
    club.join()

    club.at("2027-03-10 00:00")
    assert club.account().tier == "payg"


def test_each_step_is_a_row_that_says_who_made_it(any_club: Club) -> None:
    it = any_club.join()
    any_club.at("2027-03-10 00:00")
    any_club.work()

    with any_club.system.ledger.connect() as connection:
        query = select(subscription_steps.c.act, subscription_steps.c.cause).order_by(subscription_steps.c.number)
        found = connection.execute(query.where(subscription_steps.c.subscription == it.id)).all()
        stands = connection.execute(select(subscriptions.c.next_act_at)).scalar_one()
    assert [act for act, _ in found] == ["subscribed", "began", "ended"]
    assert [cause.partition(":")[0] for _, cause in found] == ["user", "order", "clock"]
    assert stands is None
