"""Rewards that an account has once."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.noting import By, new_by
from gateway.domain.errors import Conflicting, NotFound, StoreUnavailable
from gateway.ledger.sales import claims, credits_due
from gateway.rewards.one_offs import claim, give, offered
from gateway.rewards.recipient import RewardRefused
from tests.accounts.licensed import audited
from tests.rewards.giving import Giving, away, together


def test_an_account_claims_what_it_may_once(giving: Giving) -> None:
    assert claim(giving.system, "ada", "survey") == 25

    with pytest.raises(RewardRefused) as caught:
        claim(giving.system, "ada", "survey")

    assert caught.value.code == "already_claimed"
    assert giving.credits() == {"once:survey": 25}
    [due] = giving.rows(credits_due)
    assert (due.kind, due.reason, due.cause, due.priority) == ("REWARD", "Thank you", "reward:once:survey", 40)
    assert due.expires_at is not None
    assert (due.expires_at - giving.now).days == 90


@pytest.mark.parametrize("name", ["bug", "none", "", "check_in"])
def test_nobody_claims_what_operators_give_or_what_there_is_not(giving: Giving, name: str) -> None:
    with pytest.raises(NotFound, match="can be claimed"):
        claim(giving.system, "ada", name)


def test_an_operator_gives_once_and_it_is_noted_once(giving: Giving) -> None:
    for _ in range(3):
        assert give(giving.system, new_by("admin:eve", "found it"), "ada", "bug") == 100

    assert giving.credits() == {"once:bug": 100}
    assert audited(giving.system) == [("account.reward", "admin:eve", "account:ada")]


def test_what_an_operator_gave_is_not_claimed_again(giving: Giving) -> None:
    give(giving.system, new_by("admin:eve"), "ada", "survey")

    with pytest.raises(RewardRefused):
        claim(giving.system, "ada", "survey")
    assert giving.credits() == {"once:survey": 25}


def test_an_account_sees_what_it_can_claim_and_what_it_has(giving: Giving) -> None:
    give(giving.system, new_by("admin:eve"), "bob", "bug")

    assert [(each.rule.name, each.claimed_at) for each in offered(giving.system, "ada")] == [("survey", None)]
    assert [(each.rule.name, each.claimed_at) for each in offered(giving.system, "bob")] == [
        ("survey", None), ("bug", giving.now),
    ]  # fmt: skip


def test_of_many_claims_at_once_one_counts(giving: Giving) -> None:
    found = together([partial(claim, giving.system, "ada", "survey")] * 12)

    assert found.count(25) == 1
    assert all(isinstance(each, RewardRefused) for each in found if each != 25)
    assert giving.credits() == {"once:survey": 25}


def test_who_dies_after_the_decision_gives_all_the_same(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dead:
        away(dead)
        give(giving.system, By("act-1", "admin:eve"), "ada", "bug")
    assert giving.credits() == {}

    assert payouts.pay_due(giving.system) == 1

    assert giving.credits() == {"once:bug": 100}


def test_who_is_suspended_is_given_nothing(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    giving.open("ada")
    giving.suspend("ada")

    with pytest.raises(NotAdmitted):
        claim(giving.system, "ada", "survey")
    with pytest.raises(Conflicting, match="is suspended"):
        give(giving.system, new_by("admin:eve"), "ada", "bug")
    away(monkeypatch, "peek")
    with pytest.raises(StoreUnavailable):
        claim(giving.system, "bob", "survey")
    assert giving.rows(claims) == []


def test_a_reward_that_there_is_not_is_told_by_its_name(giving: Giving) -> None:
    with pytest.raises(NotFound, match="no reward 'medal'"):
        give(giving.system, new_by("admin:eve"), "ada", "medal")


def test_a_request_that_is_repeated_claims_once_and_is_answered_alike(giving: Giving) -> None:
    for _ in range(2):
        assert claim(giving.system, "ada", "survey", "w1") == 25

    with pytest.raises(RewardRefused):
        claim(giving.system, "ada", "survey", "w2")
    assert giving.credits() == {"once:survey": 25}
