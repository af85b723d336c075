"""Codes redeemed: as often as they may be, by each account as often as it may, whoever asks at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.noting import new_by
from gateway.domain.errors import Conflicting, NotFound
from gateway.ledger.sales import codes, redemptions
from gateway.rewards import batches, tries
from gateway.rewards.batches import Batch, BatchTerms
from gateway.rewards.recipient import RewardRefused
from gateway.rewards.redemptions import Redeemed, redeem
from tests.rewards.giving import HOUR, Giving, away, together


def batch(giving: Giving, **terms: Any) -> Batch:
    made: dict[str, Any] = {"name": "welcome", "amount": 50, "code": "WELCOME"} | terms
    return batches.create(giving.system, new_by("admin:eve"), BatchTerms(**made))


def only_code(giving: Giving, made: Batch) -> str:
    return batches.codes_of(giving.system, made.id).items[0][0]


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(RewardRefused) as caught:
        act()
    return caught.value.code


def test_a_code_gives_what_it_says_to_an_account_that_nobody_has_called_from(giving: Giving) -> None:
    batch(giving, valid_days=30)

    redeemed = redeem(giving.system, "ada", "welcome", "w1")

    assert redeemed == Redeemed("WELCOME", 50, giving.now + timedelta(days=30))
    assert giving.credits() == {"code:WELCOME:1": 50}
    assert giving.owed() == [("ada", "code:WELCOME:1", 50, True)]


def test_a_code_that_was_made_up_is_taken_however_it_is_typed(giving: Giving) -> None:
    code = only_code(giving, batch(giving, code="", count=5))

    redeemed = redeem(giving.system, "ada", " " + "-".join(code).lower().replace("0", "o").replace("1", "l"), "w1")

    assert redeemed.code == code


def test_a_repeat_gives_the_same_answer_and_nothing_more(giving: Giving) -> None:
    batch(giving, max_uses=5, per_account=5, valid_days=1)

    first = redeem(giving.system, "ada", "WELCOME", "w1")
    giving.now += HOUR

    assert redeem(giving.system, "ada", "WELCOME", "w1") == first
    assert giving.credits() == {"code:WELCOME:1": 50}


def test_a_repeat_with_another_code_is_refused(giving: Giving) -> None:
    batch(giving)
    batch(giving, code="OTHER")
    redeem(giving.system, "ada", "WELCOME", "w1")

    with pytest.raises(Conflicting, match="before with another code"):
        redeem(giving.system, "ada", "OTHER", "w1")
    assert giving.credits() == {"code:WELCOME:1": 50}


def test_a_code_is_redeemed_as_often_as_it_may_be(giving: Giving) -> None:
    batch(giving, max_uses=2)
    for account in ("ada", "bob"):
        redeem(giving.system, account, "WELCOME", account)

    assert refusal(partial(redeem, giving.system, "eve", "WELCOME", "w3")) == "code_used_up"
    assert giving.credits("eve") == {}
    assert [row.uses for row in giving.rows(codes)] == [2]


def test_an_account_redeems_a_code_as_often_as_it_may(giving: Giving) -> None:
    batch(giving, max_uses=9, per_account=2)
    for number in (1, 2):
        redeem(giving.system, "ada", "WELCOME", f"w{number}")

    assert refusal(partial(redeem, giving.system, "ada", "WELCOME", "w3")) == "code_already_redeemed"
    assert giving.credits() == {"code:WELCOME:1": 50, "code:WELCOME:2": 50}


def test_a_code_past_its_time_is_taken_no_more(giving: Giving) -> None:
    batch(giving, expires_at=giving.now + HOUR)
    giving.now += HOUR

    assert refusal(partial(redeem, giving.system, "ada", "WELCOME", "w1")) == "code_expired"
    assert giving.owed() == []


def test_a_code_of_a_batch_that_is_void_is_taken_no_more_and_what_was_redeemed_stays(giving: Giving) -> None:
    made = batch(giving, max_uses=9)
    redeem(giving.system, "ada", "WELCOME", "w1")

    batches.void(giving.system, new_by("admin:eve"), made.id)

    assert refusal(partial(redeem, giving.system, "bob", "WELCOME", "w2")) == "code_expired"
    assert redeem(giving.system, "ada", "WELCOME", "w1").amount == 50
    assert giving.credits() == {"code:WELCOME:1": 50}


def test_whoever_guesses_is_heard_no_more_for_an_hour(giving: Giving) -> None:
    batch(giving)
    for number in range(tries.MOST):
        with pytest.raises(NotFound):
            redeem(giving.system, "ada", f"GUESS{number}", f"g{number}")

    with pytest.raises(RewardRefused) as caught:
        redeem(giving.system, "ada", "WELCOME", "w1")

    assert caught.value.code == "too_many_tries"
    assert 0 < (caught.value.retry_after_ms or 0) <= 3_600_000
    assert redeem(giving.system, "bob", "WELCOME", "w2").amount == 50
    assert 0 < giving.system.redis.ttl("qg:{p00}:tries:ada") <= 3600


def test_what_is_redeemed_or_refused_is_no_guess(giving: Giving) -> None:
    batch(giving, max_uses=99)
    for number in range(tries.MOST + 5):
        act = partial(redeem, giving.system, "ada", "WELCOME", f"w{number}")
        assert refusal(act) == "code_already_redeemed" if number else act()


def test_who_is_suspended_or_nobody_has_nothing(giving: Giving) -> None:
    batch(giving)
    giving.open("ada")
    giving.suspend("ada")

    with pytest.raises(NotAdmitted):
        redeem(giving.system, "ada", "WELCOME", "w1")
    for account in ("license:lic_AbCdEfGh", "ip:203.0.113.7"):
        assert refusal(partial(redeem, giving.system, account, "WELCOME", "w2")) == "account_not_eligible"
    assert giving.owed() == []


def test_where_codes_are_off_there_are_none(giving: Giving) -> None:
    batch(giving)

    with pytest.raises(NotFound, match="not taken here"):
        redeem(giving.ruled_by(("priority = 40", "codes = false")), "ada", "WELCOME", "w1")


def test_what_was_decided_is_paid_later_and_once(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    batch(giving)
    with monkeypatch.context() as dead:
        away(dead)
        redeem(giving.system, "ada", "WELCOME", "w1")
    assert (giving.credits(), giving.owed()) == ({}, [("ada", "code:WELCOME:1", 50, False)])

    assert [payouts.pay_due(giving.system) for _ in range(3)] == [1, 0, 0]

    assert (giving.credits(), giving.owed()) == ({"code:WELCOME:1": 50}, [("ada", "code:WELCOME:1", 50, True)])


def test_a_code_is_never_redeemed_more_often_by_those_who_ask_at_once(giving: Giving) -> None:
    batch(giving, max_uses=7)

    found = together([partial(redeem, giving.system, f"user{n}", "WELCOME", f"w{n}") for n in range(20)])

    assert sum(isinstance(each, Redeemed) for each in found) == 7
    assert {each.code for each in found if isinstance(each, RewardRefused)} == {"code_used_up"}
    assert len(giving.rows(redemptions)) == len(giving.owed()) == 7
    assert sum(giving.credits(f"user{n}").get("code:WELCOME:1", 0) for n in range(20)) == 7 * 50


def test_an_account_that_asks_at_once_redeems_no_more_than_it_may(giving: Giving) -> None:
    batch(giving, max_uses=20, per_account=3)

    found = together([partial(redeem, giving.system, "ada", "WELCOME", f"w{n}") for n in range(tries.MOST)])

    assert sum(isinstance(each, Redeemed) for each in found) == 3
    assert giving.credits() == {f"code:WELCOME:{n}": 50 for n in (1, 2, 3)}
    assert [row.uses for row in giving.rows(codes)] == [3]


def test_one_request_that_comes_many_times_at_once_redeems_once(giving: Giving) -> None:
    batch(giving, max_uses=20, per_account=20)

    found = together([partial(redeem, giving.system, "ada", "WELCOME", "w1") for _ in range(tries.MOST)])

    assert found == [Redeemed("WELCOME", 50, None)] * tries.MOST
    assert giving.credits() == {"code:WELCOME:1": 50}
