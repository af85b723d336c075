"""After a restore accounts keep their tiers for as long as is paid."""

from __future__ import annotations

import pytest

from gateway.accounts import terms
from gateway.accounts.reconcile import reconcile
from gateway.accounts.restore import restore_all
from gateway.ledger.record import record
from gateway.store import calls
from gateway.store.inbox import Inbox
from gateway.subscriptions import applying
from tests.payments.club import Club
from worker.drain import drain_inbox


def lose(club: Club) -> None:
    """The ledger hears of everything, and Redis is emptied."""
    drain(club)
    club.system.redis.flushall()


def drain(club: Club) -> None:
    inbox = Inbox(club.system.redis, "p00", "test")
    inbox.open()
    drain_inbox(inbox, lambda events: record(club.system.ledger, events))


def restore(club: Club) -> int:
    restore_all(club.system)
    return applying.reapply(club.system)


def test_a_tier_has_its_end_again(any_club: Club) -> None:
    any_club.join()
    lose(any_club)

    assert restore(any_club) == 1

    assert any_club.has() == ("plus", 1000)
    any_club.at("2027-03-04 23:59")
    assert any_club.account().tier == "plus"
    any_club.at("2027-03-05 00:00")
    assert any_club.account().tier == "free"


def test_one_that_ended_meanwhile_leaves_the_tier(any_club: Club) -> None:
    any_club.join()
    lose(any_club)
    any_club.at("2027-03-06 00:00")

    assert restore(any_club) == 1
    any_club.work()

    assert any_club.account().tier == "free"


def test_so_does_one_whose_end_the_ledger_heard_of_and_not_the_move(any_club: Club) -> None:
    any_club.join()
    drain(any_club)
    any_club.at("2027-03-06 00:00")
    any_club.work()
    assert any_club.row().state == "ended"
    any_club.system.redis.flushall()

    assert restore(any_club) == 1
    assert any_club.account().tier == "free"


def test_a_tier_that_somebody_has_set_since_is_left(any_club: Club) -> None:
    any_club.join()
    any_club.later(hours=1)
    terms.move(any_club.system, "ada", tier="payg")
    lose(any_club)

    assert restore(any_club) == 0
    assert any_club.account().tier == "payg"


def test_a_tier_that_is_put_right_does_not_end_as_the_wrong_one_did(any_club: Club) -> None:
    any_club.join()
    terms.move(any_club.system, "ada", tier="payg")
    drain(any_club)
    key = any_club.system.keys.account("ada")
    any_club.system.redis.hset(key, mapping={"tier": "plus", "tier_ends": 1804179600000, "tier_after": "free"})

    assert [mended for _, mended in reconcile(any_club.system, fix=True, actor="a test")] == [True]
    applying.reapply(any_club.system)

    assert (any_club.account().tier, any_club.account().tier_ends_ms) == ("payg", None)


@pytest.mark.parametrize("when", ["never paid", "paid for a period"])
def test_what_an_older_copy_of_redis_does_not_know_of_is_paid_for(any_club: Club, when: str) -> None:
    key = any_club.system.keys.account("ada")
    if when == "paid for a period":
        any_club.join()
    else:
        any_club.system.runner.run(calls.open_account(key, any_club.system.tier("free")))
    drain(any_club)
    copy = any_club.system.redis.dump(key)
    assert copy is not None
    any_club.pay(None if when == "paid for a period" else any_club.subscribe()[1])
    wanted = any_club.account()
    any_club.system.redis.delete("qg:{p00}:events")
    any_club.system.redis.restore(key, 0, copy, replace=True)

    assert applying.reapply(any_club.system) == 1

    assert (any_club.account().tier, any_club.account().tier_ends_ms) == ("plus", wanted.tier_ends_ms)


@pytest.mark.parametrize("times", [1, 3])
def test_where_nothing_was_lost_nothing_is_changed(any_club: Club, times: int) -> None:
    any_club.join()
    drain(any_club)
    before = any_club.account()

    assert [applying.reapply(any_club.system) for _ in range(times)] == [0] * times
    assert any_club.account() == before
