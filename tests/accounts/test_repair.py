"""`reconcile --fix` and `restore` when something else happens too: months that were dropped, replies that were lost, a
Redis that is emptied in the middle, backlogs of many events, openings that nobody recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import func, select

from gateway.accounts import licenses, new_licenses
from gateway.accounts.profile import write_emails
from gateway.accounts.reconcile import reconcile
from gateway.accounts.restore import restore_all, restore_some
from gateway.domain.errors import StoreUnready
from gateway.ledger import books, partitions
from gateway.ledger.tables import accounts, audit_log, ledger_entries, usage_events
from tests.accounts.world import World
from tests.ledger.events import usage


@pytest.fixture
def busy(world: World) -> World:
    world.grant("t1", 100)
    world.call("r1", 3)
    world.call("r2", 10)
    world.call("r3", 2, "bob")
    world.drain()
    return world


def test_totals_of_months_that_were_dropped_stay(busy: World) -> None:
    before = busy.account()
    assert partitions.retire(busy.system.ledger, 1, datetime.now(UTC) + timedelta(days=95))
    with busy.system.ledger.connect() as connection:
        assert connection.execute(select(func.count()).select_from(usage_events)).scalar_one() == 0
    busy.redis.delete(*busy.redis.scan_iter("qg:{p*}:done:*"))  # Redis remembers endings for less than a month.

    assert busy.drifts() == []
    busy.redis.hincrby(busy.of("credits"), "t1", 5)
    busy.fix()

    after = busy.account()
    assert (after.used_tokens, after.requests) == (before.used_tokens, before.requests)
    assert before.requests == 2


def test_a_mending_whose_reply_was_lost_is_entered_once(busy: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # 60 more than there were, of which 50 are spent: what nothing covers is entered as given.
    busy.redis.hincrby(busy.of("credits"), "t1", 60)
    busy.redis.hincrby(busy.key(), "granted", 60)
    busy.call("r9", 150)
    busy.drain()
    send = busy.system.runner._pipeline
    lost: list[int] = []

    def losing(calls: Any, *rest: Any, **named: Any) -> Any:
        replies = send(calls, *rest, **named)
        if any(call.script == "restore" for call in calls) and not lost:
            lost.append(1)
            raise redis.ConnectionError("the reply was lost")
        return replies

    monkeypatch.setattr(busy.system.runner, "_pipeline", losing)

    assert all(mended for _, mended in reconcile(busy.system, fix=True, account="ada"))

    assert lost
    busy.drain()
    with busy.system.ledger.connect() as connection:
        made = ledger_entries.c.id.like("reconciled:%")
        ids = {id.rpartition("/")[0] for id in connection.execute(select(ledger_entries.c.id).where(made)).scalars()}
    assert len(ids) == 1
    assert busy.drifts() == []
    busy.audit()


def test_a_redis_that_is_emptied_while_it_is_restored_gets_no_epoch(busy: World) -> None:
    busy.redis.flushall()

    def emptied(done: int, total: int) -> None:
        busy.redis.flushall()

    with pytest.raises(StoreUnready, match="quotagate restore"):
        restore_all(busy.system, emptied)

    with pytest.raises(StoreUnready):
        busy.try_reserve("r9", 1)
    restore_all(busy.system)
    assert busy.drifts() == []


def test_a_restore_does_not_end_that_of_another(busy: World) -> None:
    """Redis was emptied in the middle of the first one: only the second knows that all of it is there."""
    from gateway.store.epoch import begin_restore

    busy.redis.flushall()

    def emptied(done: int, total: int) -> None:
        busy.redis.flushall()
        begin_restore(busy.redis, busy.system.keys.all_partitions())

    with pytest.raises(StoreUnready, match="quotagate restore"):
        restore_all(busy.system, emptied)

    with pytest.raises(StoreUnready):
        busy.try_reserve("r9", 1)


def test_license_keys_are_valid_again_after_a_restore(world: World) -> None:
    world.system = replace(world.system, config=replace(world.system.config, license_tier="payg"))
    world.call("r1", 1, "owner")
    made = new_licenses.create(world.system, "owner", amount=10, id="l1", actor="cli:tester")
    world.drain()
    digest = licenses.row_of(world.system, made.key)["digest"]
    world.redis.flushall()

    restore_all(world.system)

    assert world.redis.hget(f"qg:key:{digest}", "status") == b"active"


def test_an_account_of_which_only_its_address_is_known_is_not_opened_by_a_restore(world: World) -> None:
    """Its opening was lost with Redis: its first call opens it, with the grant that goes with that."""
    with world.system.ledger.begin() as connection:
        write_emails(connection, {"ada": "ada@example.com"})
    world.redis.flushall()

    restore_all(world.system)

    world.call("r1", 1)
    assert world.account().granted == 20


def test_a_tier_that_the_ledger_never_heard_of_is_recovered(world: World) -> None:
    world.call("r1", 1, tier="pro")
    for entry, fields in world.redis.xrange(world.partition("events")):
        if fields[b"kind"] == b"opening":
            world.redis.xdel(world.partition("events"), entry)
    world.drain()

    world.fix()
    world.drain()

    with world.system.ledger.connect() as connection:
        assert connection.execute(select(accounts.c.tier)).scalars().all() == ["pro"]
    world.redis.flushall()
    restore_all(world.system)
    assert world.account().tier == "pro"


def test_any_number_of_events_is_looked_for(world: World) -> None:
    events = [usage(f"r{number}") for number in range(70_000)]

    with world.system.ledger.connect() as connection:
        assert books.recorded(connection, events) == set()


def test_each_mending_of_an_account_with_a_long_id_is_noted(world: World) -> None:
    id = "a" * 200
    world.grant("t1", 100, id)
    world.drain()
    for _ in range(2):
        world.redis.hincrby(world.of("credits", id), "t1", 5)
        world.fix()

    with world.system.ledger.connect() as connection:
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar_one() == 2


def test_the_holds_of_an_account_that_redis_lost_make_no_units(world: World) -> None:
    world.grant("t1", 100)
    world.reserve("open", 30)
    world.drain()
    world.redis.delete(world.key())

    world.fix()
    world.settle("open", 10)

    world.audit()
    assert sum(world.left().values()) == 110
    world.drain()
    assert world.drifts() == []


def test_an_account_that_comes_back_while_it_is_mended_keeps_what_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.accounts import reconcile as module

    world.grant("t1", 100)
    world.call("r1", 3)
    world.drain()
    before = world.left()
    world.redis.delete(world.key())
    write = module._write
    calls: list[int] = []

    def late(system: Any, finding: Any) -> bool:
        if not calls:
            restore_some(system, ["ada"])
            world.call("r2", 1)
        calls.append(1)
        return write(system, finding)

    monkeypatch.setattr(module, "_write", late)

    assert [mended for _, mended in reconcile(world.system, fix=True)] == [False]

    monkeypatch.undo()
    assert world.left() == before | {"day": before["day"] - 1}
    assert world.drifts() == []
    world.audit()


def test_a_hold_that_the_sweeper_removed_meanwhile_is_not_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.accounts import reconcile as module

    world.grant("t1", 100)
    world.reserve("open", 30)
    world.drain()
    world.redis.delete(world.key())
    write = module._write

    def late(system: Any, finding: Any) -> bool:
        world.redis.delete(world.partition("hold:open"))
        world.redis.zrem(world.partition("holds"), "open")
        return write(system, finding)

    monkeypatch.setattr(module, "_write", late)

    assert [mended for _, mended in reconcile(world.system, fix=True)] == [True]

    monkeypatch.undo()
    assert (world.account().held, sum(world.left().values())) == (0, 120)
    assert world.drifts() == []
