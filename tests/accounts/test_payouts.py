"""Units that were decided in SQL reach Redis once, whatever dies, and whatever is refused before them."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import redis
from sqlalchemy import Engine

from gateway.accounts import balances, payouts
from gateway.accounts.payouts import BATCH, Due
from gateway.domain.errors import StoreUnavailable
from gateway.ledger.sales import credits_due
from tests.rewards.giving import Giving, away, together


@pytest.fixture
def giving(redis_client: redis.Redis, ledger: Engine) -> Giving:
    return Giving(redis_client, ledger)


def owe(giving: Giving, *due: Due) -> None:
    with giving.system.ledger.begin() as connection:
        payouts.owe(connection, due, giving.now)


def due(account: str = "ada", id: str = "g1", amount: int = 5, cause: str = "test:1") -> Due:
    return Due(account, id, "REWARD", amount, "a test", cause)


def test_what_is_owed_is_paid_once_by_whoever_comes_by(giving: Giving) -> None:
    owe(giving, *(due(f"user{n}") for n in range(8)))

    together([partial(payouts.pay_due, giving.system)] * 4)

    assert all(giving.credits(f"user{n}") == {"g1": 5} for n in range(8))
    assert payouts.pay_due(giving.system) == 0


def test_one_accounts_part_of_a_cause_is_paid_without_the_others(giving: Giving) -> None:
    owe(giving, due("ada"), due("bob"), due("ada", "g2", cause="test:2"))

    assert payouts.pay(giving.system, "test:1", "ada") == 1

    assert (giving.credits("ada"), giving.credits("bob")) == ({"g1": 5}, {})
    assert payouts.pay(giving.system, "test:1") == 1


def test_who_dies_between_the_grant_and_its_note_grants_once(giving: Giving) -> None:
    owe(giving, due())
    balances.grant(giving.system, "ada", 5, "g1", "a test", "REWARD")

    assert payouts.pay_due(giving.system) == 1

    assert giving.credits() == {"g1": 5}


def test_while_redis_is_away_nothing_is_noted(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    owe(giving, due())
    with monkeypatch.context() as dead:
        away(dead)
        assert not payouts.pay_now(giving.system, "test:1")
        with pytest.raises(StoreUnavailable):
            payouts.pay_due(giving.system)

    assert giving.rows(credits_due)[0].last_error == ""
    assert payouts.pay_now(giving.system, "test:1")
    assert giving.credits() == {"g1": 5}


def test_nothing_waits_behind_what_is_refused(giving: Giving, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(BATCH + 5):
        giving.system.redis.hset("qg:{p00}:grants:ada", f"g{number}", "amount=7")
    giving.open("ada")
    owe(giving, *(due("ada", f"g{number}") for number in range(BATCH + 5)))
    owe(giving, due("bob"))

    with caplog.at_level(logging.CRITICAL):
        assert sum(payouts.pay_due(giving.system) for _ in range(2)) == 1
        assert payouts.pay_due(giving.system) == 0

    assert giving.credits("bob") == {"g1": 5}
    refused = [row for row in giving.rows(credits_due) if row.granted_at is None]
    assert len(refused) == BATCH + 5
    assert "was credited before with 7, not 5" in refused[0].last_error


def test_what_was_refused_is_paid_once_its_reason_is_gone(giving: Giving) -> None:
    giving.open("ada")
    giving.system.redis.hset("qg:{p00}:grants:ada", "g1", "amount=7")
    owe(giving, due())
    assert (payouts.pay_due(giving.system), payouts.pay_refused(giving.system)) == (0, 0)

    giving.system.redis.hdel("qg:{p00}:grants:ada", "g1")

    assert (payouts.pay_due(giving.system), payouts.pay_refused(giving.system)) == (0, 1)
    [row] = giving.rows(credits_due)
    assert (giving.credits(), row.last_error) == ({"g1": 5}, "")
