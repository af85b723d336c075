"""Referrals: named once, in time, in no loop; rewarded once, both sides, as often as the referrer may be."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.domain.errors import NotFound
from gateway.ledger.sales import referrals as table
from gateway.rewards import tries
from gateway.rewards.recipient import RewardRefused
from gateway.rewards.referrals import on_credited, overview, refer, settle_due
from tests.rewards.giving import Giving, away, together


def code_of(giving: Giving, account: str) -> str:
    return overview(giving.system, account).code


def bring(giving: Giving, referrer: str, account: str) -> None:
    refer(giving.system, account, code_of(giving, referrer))


def refusal(giving: Giving, referrer: str, account: str) -> str:
    with pytest.raises(RewardRefused) as caught:
        bring(giving, referrer, account)
    return caught.value.code


def test_an_account_has_one_code_for_good(giving: Giving) -> None:
    found = together([partial(code_of, giving, "ada")] * 8)

    assert len(set(found)) == 1
    assert len(str(found[0])) == 8
    assert code_of(giving, "bob") != found[0]


def test_both_are_rewarded_when_the_account_has_paid_its_first_order(giving: Giving) -> None:
    bring(giving, "ada", "bob@example.com")
    giving.order("bob@example.com", "paid")
    assert settle_due(giving.system) == 0
    assert overview(giving.system, "ada")[2:] == (0, 1, False)

    giving.order("eve")  # Nobody brought it.
    with giving.system.ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE orders SET state = 'credited'")
    assert [settle_due(giving.system) for _ in range(2)] == [1, 0]

    assert giving.credits("ada") == {"referral:1": 20}
    assert giving.credits("bob@example.com") == {"referral:own": 10}
    assert overview(giving.system, "ada")[2:] == (1, 0, False)
    assert overview(giving.system, "bob@example.com").is_referred


def test_whoever_credits_an_order_rewards_at_once(giving: Giving) -> None:
    bring(giving, "ada", "bob")
    bring(giving, "ada", "eve")
    giving.order("bob")

    on_credited(giving.system, "bob")
    on_credited(giving.system, "bob")
    on_credited(giving.system, "nobody")

    assert (giving.credits("ada"), giving.credits("bob"), giving.credits("eve")) == (
        {"referral:1": 20}, {"referral:own": 10}, {},
    )  # fmt: skip


def test_by_first_use_a_call_is_enough_and_an_order_is_not(giving: Giving) -> None:
    system = giving.ruled_by(("most = 2", 'most = 2\nwhen = "first_use"'))
    bring(giving, "ada", "bob")
    giving.order("bob")
    on_credited(system, "bob")
    assert settle_due(system) == 0

    giving.recorded("bob", requests=1)

    assert settle_due(system) == 1
    assert giving.credits("bob") == {"referral:own": 10}


def test_one_who_has_nothing_of_it_is_given_nothing(giving: Giving) -> None:
    system = giving.ruled_by(("referred = 10", "referred = 0"))
    bring(giving, "ada", "bob")
    giving.order("bob")

    settle_due(system)

    assert giving.owed() == [("ada", "referral:1", 20, True)]


def test_a_referrer_is_rewarded_as_often_as_it_may_be(giving: Giving) -> None:
    for account in ("u1", "u2", "u3"):
        bring(giving, "ada", account)
        giving.order(account)

    assert settle_due(giving.system) == 3

    assert giving.credits("ada") == {"referral:1": 20, "referral:2": 20}
    [refused] = [row for row in giving.rows(table) if row.refused]
    assert (refused.rewarded_at, refused.refused) == (None, "the referrer was rewarded for 2 accounts before")
    assert giving.credits(refused.account) == {}
    assert settle_due(giving.system) == 0


def test_orders_credited_at_once_reward_no_more_than_the_referrer_may_have(giving: Giving) -> None:
    for number in range(9):
        bring(giving, "ada", f"u{number}")
        giving.order(f"u{number}")

    found = together([partial(on_credited, giving.system, f"u{number}") for number in range(9)])

    assert found == [None] * 9
    assert giving.credits("ada") == {"referral:1": 20, "referral:2": 20}
    assert len(giving.owed()) == 4
    assert sum(row.rewarded_at is not None for row in giving.rows(table)) == 2


def test_a_referral_is_noted_once(giving: Giving) -> None:
    bring(giving, "ada", "bob")
    bring(giving, "ada", "bob")

    assert refusal(giving, "eve", "bob") == "already_referred"
    assert [(row.account, row.referrer) for row in giving.rows(table)] == [("bob", "ada")]


def test_nobody_brings_itself(giving: Giving) -> None:
    assert refusal(giving, "ada", "ada") == "referral_not_possible"


def test_a_loop_of_three_is_refused(giving: Giving) -> None:
    bring(giving, "ada", "bob")
    bring(giving, "bob", "eve")

    assert refusal(giving, "eve", "ada") == "referral_not_possible"
    assert len(giving.rows(table)) == 2


def test_a_loop_is_refused_whoever_is_first(giving: Giving) -> None:
    ring = ["ada", "bob", "eve", "dan"]
    pairs = list(zip(ring, ring[1:] + ring[:1], strict=True))
    codes = {account: code_of(giving, account) for account in ring}

    found = together([partial(refer, giving.system, account, codes[referrer]) for referrer, account in pairs])

    assert found.count(None) == 3
    assert [each.code for each in found if isinstance(each, RewardRefused)] == ["referral_not_possible"]


def test_an_account_that_is_not_new_names_nobody(giving: Giving) -> None:
    giving.open("bob")
    giving.now += timedelta(days=30)
    bring(giving, "ada", "bob")
    giving.open("eve")
    giving.now += timedelta(days=30, seconds=1)

    assert refusal(giving, "ada", "eve") == "referral_too_late"


@pytest.mark.parametrize("state", ["paid", "credited", "refunded"])
def test_an_account_that_has_paid_names_nobody(giving: Giving, state: str) -> None:
    giving.order("bob", state)

    assert refusal(giving, "ada", "bob") == "referral_too_late"


def test_an_order_that_is_not_paid_is_in_nobodys_way(giving: Giving) -> None:
    giving.order("bob", "pending")

    bring(giving, "ada", "bob")


def test_licenses_and_the_suspended_neither_refer_nor_are_referred(giving: Giving) -> None:
    code = code_of(giving, "ada")
    giving.open("bob")
    giving.suspend("bob")

    with pytest.raises(NotAdmitted):
        refer(giving.system, "bob", code)
    with pytest.raises(RewardRefused) as caught:
        refer(giving.system, "license:lic_AbCdEfGh", code)
    assert caught.value.code == "account_not_eligible"
    with pytest.raises(RewardRefused):
        code_of(giving, "license:lic_AbCdEfGh")
    giving.open("ada")
    giving.suspend("ada")
    with pytest.raises(RewardRefused) as caught:
        refer(giving.system, "eve", code)
    assert caught.value.code == "referral_not_possible"


def test_who_is_suspended_meanwhile_waits(giving: Giving) -> None:
    bring(giving, "ada", "bob")
    giving.order("bob")
    giving.recorded("ada", status="suspended")
    assert settle_due(giving.system) == 0

    with giving.system.ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET status = 'active'")

    assert settle_due(giving.system) == 1


def test_guesses_at_codes_are_counted(giving: Giving) -> None:
    for number in range(tries.MOST):
        with pytest.raises(NotFound, match="no such referral code"):
            refer(giving.system, "bob", f"AAAA000{number}")

    assert refusal(giving, "ada", "bob") == "too_many_tries"


def test_who_dies_between_decision_and_payment_rewards_once(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(giving, "ada", "bob")
    giving.order("bob")
    with monkeypatch.context() as dead:
        away(dead)
        assert settle_due(giving.system) == 1
    assert (giving.credits("ada"), giving.credits("bob")) == ({}, {})

    assert settle_due(giving.system) == 0
    assert payouts.pay_due(giving.system) == 2

    assert (giving.credits("ada"), giving.credits("bob")) == ({"referral:1": 20}, {"referral:own": 10})


def test_where_they_are_not_rewarded_there_are_none(giving: Giving) -> None:
    system = giving.ruled_by(("[rewards.referral]\nreferrer = 20\nreferred = 10\nmost = 2", ""))

    assert settle_due(system) == 0
    on_credited(system, "ada")
    for act in (partial(overview, system, "ada"), partial(refer, system, "ada", "AAAA0000")):
        with pytest.raises(NotFound, match="not rewarded here"):
            act()
