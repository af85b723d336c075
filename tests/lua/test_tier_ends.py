"""A tier that ends by itself: whoever comes first at its last instant finds the account on the next one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.acts import Used
from gateway.domain.reservation import Opened, Reserved, Stale
from tests.lua.caller import FREE, HOUR_MS, NOON_MS, PAYG, Caller
from tests.lua.conftest import NewCaller

PRO = replace(PAYG, name="pro")
END_MS = NOON_MS + HOUR_MS


@pytest.fixture
def subscriber(new_caller: NewCaller) -> Caller:
    """On pro for an hour, and on free afterwards."""
    caller = new_caller(FREE)
    caller.open()
    assert caller.open(PRO, move=True, tier_ends_ms=END_MS, tier_after="free").how == "moved"
    caller.tier = PRO
    caller.reserve("first", 1)
    caller.events()
    return caller


def test_up_to_its_last_millisecond_the_account_is_on_the_tier(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS - 1

    assert isinstance(subscriber.try_reserve("r1", 1), Reserved)
    account = subscriber.account()
    assert (account.tier, account.tier_ends_ms, account.tier_after) == ("pro", END_MS, "free")


def test_from_that_instant_on_a_call_is_told_of_the_next_one(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS

    outcome = subscriber.try_reserve("r1", 1)

    assert isinstance(outcome, Stale)
    assert (outcome.tier, outcome.version) == ("free", 3)
    moved = subscriber.event()
    assert (moved.kind, moved.tier, moved.zone, moved.at_ms, moved.entries) == ("moved", "free", "", END_MS, ())
    subscriber.tier = FREE
    assert isinstance(subscriber.reserve("r2", 1), Reserved)
    assert "day:2026-11-20" in subscriber.left()


def test_it_is_moved_once(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS
    subscriber.try_reserve("r1", 1)
    subscriber.try_reserve("r2", 1)
    subscriber.open(FREE)

    assert [event.kind for event in subscriber.events()] == ["moved"]
    account = subscriber.account()
    assert (account.tier, account.version, account.tier_ends_ms, account.tier_after) == ("free", 3, None, "")


def test_a_use_and_a_reset_are_told_as_well(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS
    assert isinstance(subscriber.try_use("u1", 1), Stale)
    subscriber.tier = FREE
    assert isinstance(subscriber.use("u1", 1), Used)
    subscriber.open(PRO, move=True, tier_ends_ms=END_MS + HOUR_MS, tier_after="free")
    subscriber.tier = PRO
    subscriber.version = 4
    subscriber.now_ms = END_MS + HOUR_MS

    assert isinstance(subscriber.try_reset("z1"), Stale)
    assert subscriber.account().tier == "free"


def test_who_looks_sees_the_next_tier_though_nothing_was_written_yet(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS

    assert subscriber.account().tier == "free"
    assert subscriber.client.hget(subscriber.key, "tier") == b"pro"


def test_a_move_by_anybody_is_for_good(subscriber: Caller) -> None:
    assert subscriber.open(PAYG, move=True).how == "moved"

    subscriber.now_ms = END_MS
    assert (subscriber.account().tier, subscriber.account().tier_ends_ms) == ("payg", None)


def test_whoever_moves_it_to_the_tier_that_it_is_on_leaves_its_end_unless_it_says_for_good(subscriber: Caller) -> None:
    assert subscriber.open(PRO, move=True, zone="Asia/Tokyo").how == "moved"
    assert subscriber.account().tier_ends_ms == END_MS

    assert subscriber.open(PRO, move=True, zone="Asia/Tokyo", tier_ends_ms=0).how == "exists"
    assert subscriber.account().tier_ends_ms is None


def test_a_longer_end_moves_nobody(subscriber: Caller) -> None:
    longer = subscriber.open(PRO, move=True, tier_ends_ms=END_MS + 1, tier_after="payg")

    assert longer == Opened("exists", version=2, tier="pro", zone="")
    assert (subscriber.account().tier_ends_ms, subscriber.account().tier_after) == (END_MS + 1, "payg")
    assert subscriber.events() == []


def test_after_the_end_it_can_be_put_on_the_tier_again(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS

    again = subscriber.open(PRO, move=True, tier_ends_ms=END_MS + HOUR_MS, tier_after="free")

    assert again == Opened("moved", version=4, tier="pro", zone="")
    assert [(event.kind, event.tier) for event in subscriber.events()] == [("moved", "free"), ("moved", "pro")]


def test_an_account_can_be_opened_on_a_tier_that_ends(new_caller: NewCaller) -> None:
    caller = new_caller(PRO)

    caller.open(tier_ends_ms=END_MS, tier_after="free")

    assert (caller.account().tier, caller.account().tier_ends_ms) == ("pro", END_MS)


def test_a_hold_of_before_is_settled_after_the_end(subscriber: Caller) -> None:
    subscriber.now_ms = END_MS
    subscriber.settle("first", 1)

    assert subscriber.account().spent == 1
