"""`quotagate restore`: a Redis that was emptied has every balance again, to the unit."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from gateway.accounts import api_keys, balances, epoch, overrides, payouts, terms
from gateway.accounts.payouts import Due
from gateway.accounts.restore import restore_all, restore_some
from gateway.domain.errors import StoreUnready
from gateway.domain.reservation import Denied
from gateway.domain.schedule import schedule
from gateway.domain.usage import Usage
from gateway.store import calls
from gateway.store.epoch import begin_restore
from tests.accounts.world import World
from tests.support.waiting import until


@pytest.fixture
def lost(world: World) -> World:
    """Two accounts that called and paid, after FLUSHALL."""
    world.grant("t1", 100)
    world.grant("t2", 50, expires_s=world.now_ms() // 1000 + 86_400, priority=3)
    world.call("r1", 3)
    world.call("r2", 30)
    world.call("r3", 5, "bob")
    api_keys.create(world.system, ["ada"])
    terms.move(world.system, "bob", tier="pro", zone="Europe/Berlin")
    world.drain()
    world.before = {id: world.account(id) for id in ("ada", "bob")}  # type: ignore[attr-defined]
    world.redis.flushall()
    return world


# ── the epoch ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_an_emptied_redis_does_not_know_is_not_opened(lost: World) -> None:
    with pytest.raises(StoreUnready, match="quotagate restore"):
        lost.try_reserve("r9", 1)
    assert list(lost.redis.scan_iter("*:account:*")) == []


def test_acts_on_an_account_say_that_redis_must_be_restored_first(lost: World) -> None:
    for act in (
        lambda: balances.read(lost.system, "ada"),
        lambda: balances.grant(lost.system, "ada", 5, "t9", "paid"),
        lambda: terms.move(lost.system, "ada", tier="pro"),
        lambda: overrides.override(lost.system, "ada", "2x", "3d"),
        lambda: api_keys.create(lost.system, ["ada"]),
    ):
        with pytest.raises(StoreUnready, match="quotagate restore"):
            act()


def test_an_account_that_redis_knows_is_served_without_an_epoch(world: World) -> None:
    world.call("r1", 3)
    world.redis.delete(world.partition("epoch"))

    world.call("r2", 1)

    assert world.account().spent == 4


def test_an_epoch_is_set_where_the_ledger_knows_nobody(world: World) -> None:
    world.redis.flushall()

    assert epoch.ensure_epoch(world.system)
    world.call("r1", 3)


def test_an_epoch_is_not_set_for_an_emptied_redis(lost: World, caplog: pytest.LogCaptureFixture) -> None:
    assert not epoch.ensure_epoch(lost.system)

    assert "quotagate restore" in caplog.text
    assert not lost.redis.exists("qg:{p00}:epoch", "qg:{p01}:epoch")


def test_an_upgrade_of_a_running_system_gets_its_epoch(world: World) -> None:
    for number in range(10):
        world.call(f"r{number}", 1, f"user-{number}")
    world.drain()
    world.redis.delete("qg:{p00}:epoch", "qg:{p01}:epoch")

    assert epoch.ensure_epoch(world.system)


def test_half_a_restore_is_no_epoch(lost: World) -> None:
    """It brings back the accounts that were seen last, say, and is then ended."""
    begin_restore(lost.redis, lost.system.keys.all_partitions())
    restore_some(lost.system, ["ada", "bob"])

    assert not epoch.ensure_epoch(lost.system)
    with pytest.raises(StoreUnready, match="quotagate restore"):
        lost.try_reserve("r9", 1, "carol")


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_comes_back_to_the_unit(lost: World) -> None:
    done = restore_all(lost.system)

    assert (done.restored, done.known, done.api_keys) == (2, 0, 1)
    for id, before in lost.before.items():  # type: ignore[attr-defined]
        after = lost.account(id)
        for name in ("tier", "zone", "status", "granted", "spent", "used_tokens", "requests", "first_seen_ms"):
            assert getattr(after, name) == getattr(before, name), name
        assert after.held == 0
        assert sorted(after.buckets, key=repr) == sorted(before.buckets, key=repr)
    lost.audit()
    assert lost.drifts() == []


def test_calls_go_on_where_they_were(lost: World) -> None:
    restore_all(lost.system)
    left = lost.account().left

    lost.call("r10", 7)
    lost.drain()

    assert lost.account().left == left - 7
    assert lost.drifts() == []


def test_a_day_that_was_used_up_does_not_open_a_second_time(world: World) -> None:
    world.call("r1", 5)
    world.call("r2", 15)
    world.drain()
    world.redis.flushall()

    restore_all(world.system)

    assert isinstance(world.try_reserve("r3", 1), Denied)


def test_a_grant_that_was_credited_before_credits_nothing_again(lost: World) -> None:
    restore_all(lost.system)
    left = lost.account().left

    lost.grant("t1", 100)

    assert lost.account().left == left


def test_a_grant_that_has_expired_meanwhile_lapses_with_its_entry(world: World) -> None:
    soon_s = world.now_ms() // 1000 + 1
    world.grant("t1", 100, expires_s=soon_s)
    world.drain()
    world.redis.flushall()

    until(lambda: world.now_ms() >= soon_s * 1000)

    restore_all(world.system)
    world.call("r1", 2)
    world.drain()

    assert "t1" not in world.left()
    assert world.drifts() == []
    world.audit()


def test_a_day_that_is_over_lapses_with_its_entry(world: World) -> None:
    """Its amount stands in the ledger until the next call writes it off."""
    yesterday_ms = world.now_ms() - 86_400_000
    plan = world.system.tier("free")

    opening = calls.terms("chat", "/v1", "p1", plan, schedule(plan, yesterday_ms))
    world.system.runner.run(calls.reserve(world.key(), "r1", 2, opening, now_ms=yesterday_ms))

    world.system.runner.run(calls.settle(world.key(), "r1", 2, Usage(), now_ms=yesterday_ms))
    world.drain()
    world.redis.flushall()

    restore_all(world.system)
    restored = world.account()
    world.call("r2", 1)
    world.drain()

    assert (restored.lapsed, restored.left) == (3, 15)
    assert world.left() == {"day": 4, "signup": 15}
    assert world.drifts() == []
    world.audit()


def test_events_that_wait_in_the_stream_count(world: World) -> None:
    """An account's keys are gone, and its events are not."""
    world.grant("t1", 100)
    world.drain()
    world.call("r1", 3)
    before = world.account()
    for name in (world.key(), world.of("credits"), world.of("credits-order"), world.of("grants"), world.of("day")):
        world.redis.delete(name)

    assert restore_some(world.system, ["ada"]) == ["restored"]

    assert world.account().left == before.left
    world.drain()
    assert world.drifts() == []


def test_an_account_that_redis_knows_is_left_as_it_is(lost: World) -> None:
    restore_all(lost.system)
    lost.call("r10", 7)
    before = lost.account()

    done = restore_all(lost.system)

    assert (done.restored, done.known) == (0, 2)
    assert (lost.account().left, lost.account().spent) == (before.left, before.spent)


def test_two_restores_at_once_do_what_one_does(world: World) -> None:
    for number in range(300):
        world.call(f"r{number}", 1, f"user-{number}")
    world.drain()
    before = {number: world.account(f"user-{number}").left for number in range(300)}
    world.redis.flushall()
    counts: list[int] = []

    threads = [threading.Thread(target=lambda: counts.append(restore_all(world.system).restored)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(counts) == 300
    assert {number: world.account(f"user-{number}").left for number in range(300)} == before
    assert world.drifts() == []


def test_a_license_is_an_account_like_others(world: World) -> None:
    world.grant("t1", 9, "license:qgl_12345678")
    world.drain()
    world.redis.flushall()

    restore_all(world.system)

    assert world.left("license:qgl_12345678")["t1"] == 9


def test_a_gateway_cannot_believe_in_a_version_from_before(lost: World) -> None:
    restore_all(lost.system)

    assert lost.account("bob").version > 1_000_000


# ── what was decided in SQL ──────────────────────────────────────────────────────────────────────────────────────────


def test_credits_of_which_only_the_lost_redis_knew_are_owed_again_and_no_others(world: World) -> None:
    due = [Due("ada", f"order:o{n}", "TOP_UP", 40, "a package", f"order:o{n}", priority=100) for n in (1, 2)]
    with world.system.ledger.begin() as connection:
        payouts.owe(connection, due, datetime.now(UTC))
    payouts.pay(world.system, "order:o1")
    world.drain()
    payouts.pay(world.system, "order:o2")
    world.redis.flushall()

    restore_all(world.system)

    assert world.left() == {"signup": 15, "order:o1": 40}
    assert payouts.pay_due(world.system) == 1
    assert world.left() == {"signup": 15, "order:o1": 40, "order:o2": 40}
    assert payouts.pay_due(world.system) == 0
