"""`quotagate reconcile`: every way in which Redis and the ledger can differ is planted, found by name, and mended."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.reconcile import drift, reconcile
from gateway.ledger.queries import entries_of, usage_of
from gateway.ledger.sales import credits_due
from gateway.ledger.tables import audit_log
from gateway.store.keys import Keys
from tests.accounts.world import World


@pytest.fixture
def busy(world: World) -> World:
    """An account with a day, a sign-up grant, a paid grant and an open call; another one beside it."""
    world.grant("t1", 100)
    world.call("r1", 3)
    world.call("r2", 10)
    world.call("r3", 2, "bob")
    world.reserve("open", 6)
    world.drain()
    return world


def kinds(drifts: list[Any]) -> set[str]:
    return {drift.kind for drift in drifts}


def copied(world: World) -> dict[bytes, bytes]:
    """All of Redis, as a snapshot on the disk has it."""
    return {key: world.redis.dump(key) for key in world.redis.scan_iter()}


def put_back(world: World, copy: dict[bytes, bytes]) -> None:
    """Redis as it was when it was copied."""
    world.redis.flushall()
    for key, value in copy.items():
        world.redis.restore(key, 0, value)


# ── nothing differs ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_system_at_rest_has_no_drift(busy: World) -> None:
    assert busy.drifts() == []


def test_events_that_wait_are_no_drift(busy: World) -> None:
    busy.settle("open", 4)
    busy.grant("t2", 7)
    busy.call("r9", 1, "carol")

    assert busy.drifts() == []


def test_events_that_were_set_aside_are_no_drift(busy: World) -> None:
    busy.settle("open", 4)
    (entry,) = busy.redis.xrange(busy.partition("events"))
    busy.redis.xadd(busy.partition("poison"), entry[1] | {b"stream_id": entry[0], b"poison_reason": b"a test"})
    busy.redis.xdel(busy.partition("events"), entry[0])

    assert busy.drifts() == []


def test_reconciling_beside_traffic_finds_nothing(world: World) -> None:
    stop = threading.Event()

    def traffic(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if number % 50 == 1:
                world.grant(f"{name}-{number}", 1000, name)
            world.call(f"{name}-{number}", number % 4, name)

    def worker() -> None:
        while not stop.is_set():
            world.drain()

    threads = [threading.Thread(target=traffic, args=(name,)) for name in ("ada", "bob")]
    threads.append(threading.Thread(target=worker))
    for thread in threads:
        thread.start()
    try:
        looks = [world.drifts() for _ in range(25)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert looks == [[]] * 25
    assert world.drifts() == []


# ── a changed balance ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by", [1000, -50])
def test_credits_that_were_changed_by_hand_are_named_and_put_right(busy: World, by: int) -> None:
    busy.redis.hincrby(busy.of("credits"), "t1", by)

    (found,) = [drift for drift in busy.drifts() if drift.about == "credits:t1"]

    assert (found.kind, found.redis, found.ledger) == ("balance", 100 + by, 100)
    busy.fix()
    assert busy.left()["t1"] == 100


@pytest.mark.parametrize("fields", [("left",), ("held",), ("left", "held")])
def test_a_day_that_was_changed_by_hand_is_put_right(busy: World, fields: tuple[str, ...]) -> None:
    before = busy.left()
    for field in fields:
        busy.redis.hincrby(busy.of("day"), field, 3)

    assert "balance" in kinds(busy.fix())

    assert busy.left() == before


def test_the_holds_behind_a_balance_are_named(busy: World) -> None:
    busy.redis.hincrby(busy.of("credits"), "signup", 3)

    (found,) = [drift for drift in busy.drifts() if drift.about == "credits:signup"]

    assert found.holds == ("open",)


@pytest.mark.parametrize("name", ["granted", "spent", "held", "day_left", "used_tokens", "requests"])
def test_a_total_that_was_changed_by_hand_is_put_right(busy: World, name: str) -> None:
    before = busy.account()
    busy.redis.hincrby(busy.key(), name, 7)

    assert busy.fix()

    after = busy.account()
    assert (after.granted, after.spent, after.held, after.left) == (
        before.granted, before.spent, before.held, before.left,
    )  # fmt: skip


def test_the_key_of_a_running_day_that_was_deleted_is_put_back(busy: World) -> None:
    before = busy.left()
    ttl = busy.redis.pttl(busy.of("day"))
    busy.redis.delete(busy.of("day"))

    assert "balance" in kinds(busy.fix())

    assert busy.left() == before
    assert abs(busy.redis.pttl(busy.of("day")) - ttl) < 5000


def test_a_grant_that_lost_its_place_in_the_burn_order_gets_it_back(busy: World) -> None:
    order = busy.redis.zrange(busy.of("credits-order"), 0, -1, withscores=True)
    busy.redis.delete(busy.of("credits-order"))

    assert kinds(busy.fix()) == {"burn_order"}

    assert busy.redis.zrange(busy.of("credits-order"), 0, -1, withscores=True) == order


def test_what_was_spent_of_a_raised_balance_is_taken_from_what_else_there_is(busy: World) -> None:
    busy.redis.hincrby(busy.of("credits"), "signup", 50)
    busy.redis.hincrby(busy.key(), "granted", 50)
    busy.call("r9", 40)
    busy.drain()

    busy.fix()

    # 5 of the day, 15 and 100 were given, 53 spent: 67 are left. The open call holds nothing now, and pays at its end.
    assert (busy.account().left, busy.account().spent, busy.account().held) == (67, 53, 0)
    busy.settle("open", 6)
    busy.drain()
    assert (busy.account().left, busy.account().spent) == (61, 59)
    assert busy.drifts() == []


def test_what_was_spent_beyond_everything_is_given(world: World) -> None:
    world.call("r1", 5)
    world.redis.hincrby(world.of("credits"), "signup", 500)
    world.redis.hincrby(world.key(), "granted", 500)
    world.call("r2", 400)
    world.drain()

    world.fix()

    assert (world.account().left, world.account().spent) == (0, 405)


def test_a_hold_of_units_that_never_were_holds_what_there_is(world: World) -> None:
    world.call("r1", 5)
    world.redis.hincrby(world.of("credits"), "signup", 500)
    world.redis.hincrby(world.key(), "granted", 500)
    world.reserve("open", 400)
    world.drain()

    world.fix()

    assert (world.account().left, world.account().held) == (0, 15)
    world.settle("open", 400)
    world.drain()
    assert world.drifts() == []
    assert (world.account().left, world.account().spent) == (0, 20)


@pytest.mark.parametrize(("name", "value"), [("tier", "pro"), ("zone", "Europe/Berlin"), ("status", "closed")])
def test_terms_that_were_changed_by_hand_are_those_of_the_ledger_again(busy: World, name: str, value: str) -> None:
    before = busy.account()
    busy.redis.hset(busy.key(), name, value)

    assert kinds(busy.fix()) == {"terms"}

    assert getattr(busy.account(), name) == getattr(before, name)
    assert busy.account().version > before.version


def test_an_account_that_was_deleted_by_hand_is_restored(busy: World) -> None:
    before = busy.account("bob")
    busy.redis.delete(busy.key("bob"))

    assert kinds(busy.fix()) == {"lost_account"}

    assert (busy.account("bob").left, busy.account("bob").spent) == (before.left, before.spent)


# ── what the ledger never heard ──────────────────────────────────────────────────────────────────────────────────────


def test_a_call_whose_event_was_deleted_is_recovered_as_a_row(busy: World) -> None:
    busy.call("r9", 9)
    busy.redis.delete(busy.partition("events"))
    before = busy.account()

    (found,) = [drift for drift in busy.fix() if drift.kind == "lost_event"]

    assert (found.about, found.redis) == ("r9", 9)
    after = busy.account()
    assert (after.left, after.spent, after.used_tokens) == (before.left, before.spent, before.used_tokens)
    (row,) = [row for row in usage_of(busy.system.ledger, "ada") if row["reservation_id"] == "r9"]
    assert (row["cost"], row["operation"], row["model"], row["total_tokens"]) == (9, "chat", "m1", 19)
    assert row["estimated"]


def test_a_call_that_was_recovered_is_not_recorded_twice_when_its_event_turns_up(busy: World) -> None:
    busy.call("r9", 9)
    (lost,) = busy.redis.xrange(busy.partition("events"))
    busy.redis.delete(busy.partition("events"))
    busy.fix()

    busy.redis.xadd(busy.partition("events"), lost[1])
    busy.drain()

    assert busy.drifts() == []
    assert sum(row["cost"] for row in usage_of(busy.system.ledger, "ada")) == busy.account().spent


def test_several_calls_whose_events_were_deleted_are_recovered(busy: World) -> None:
    for number, cost in enumerate((1, 0, 7, 20)):
        busy.call(f"lost-{number}", cost)
    busy.redis.delete(busy.partition("events"))
    spent = busy.account().spent

    assert sum(drift.kind == "lost_event" for drift in busy.fix()) == 4

    assert busy.account().spent == spent
    assert sum(row["cost"] for row in usage_of(busy.system.ledger, "ada")) == spent


def test_a_late_settlement_whose_event_was_deleted_is_recovered(world: World) -> None:
    from gateway.store import calls

    world.reserve("r1", 12)
    holds = world.partition("holds")
    world.redis.zadd(holds, {"r1": 1})
    world.system.runner.run(calls.expire(holds))
    world.drain()
    world.settle("r1", 8)
    world.redis.delete(world.partition("events"))

    assert "lost_event" in kinds(world.fix())

    assert world.account().spent == 8


def test_an_opening_whose_event_was_deleted_is_recovered(world: World) -> None:
    world.call("r1", 3)
    world.redis.delete(world.partition("events"))
    before = world.account()

    found = world.fix()

    assert {"lost_opening", "unknown_grant", "lost_event"} <= kinds(found)
    assert (world.account().left, world.account().granted) == (before.left, before.granted)
    entries = [(row["kind"], row["amount"]) for row in entries_of(world.system.ledger, "ada")]
    assert sorted(entries) == [("DAILY_RESET", 5), ("SIGNUP", 15), ("USAGE", -3)]


def test_a_grant_whose_event_was_deleted_is_recovered(busy: World) -> None:
    expires_s = busy.now_ms() // 1000 + 86_400
    busy.grant("t2", 70, priority=2, expires_s=expires_s)
    busy.redis.delete(busy.partition("events"))

    assert "unknown_grant" in kinds(busy.fix())

    assert busy.left()["t2"] == 70
    with busy.system.ledger.connect() as connection:
        row = connection.execute(text("SELECT amount, priority, kind FROM grants WHERE id = 't2'")).one()
    assert tuple(row) == (70, 2, "TOP_UP")


def test_what_only_redis_knows_of_older_grants_is_copied(busy: World) -> None:
    """The ledger of before revision 0006 kept neither priority nor expiry."""
    busy.grant("t2", 70, priority=2, expires_s=busy.now_ms() // 1000 + 86_400)
    busy.drain()
    with busy.system.ledger.begin() as connection:
        connection.execute(text("UPDATE grants SET priority = 0, expires_at = NULL WHERE id = 't2'"))

    assert kinds(busy.fix()) == {"grant_terms"}

    with busy.system.ledger.connect() as connection:
        row = connection.execute(text("SELECT priority, expires_at FROM grants WHERE id = 't2'")).one()
    assert row[0] == 2
    assert row[1] is not None


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_is_delivered_twice_counts_once(busy: World) -> None:
    busy.settle("open", 4)
    (entry,) = busy.redis.xrange(busy.partition("events"))
    busy.redis.xadd(busy.partition("events"), entry[1])
    busy.drain()
    busy.redis.xadd(busy.partition("events"), entry[1])

    assert busy.drifts() == []
    busy.drain()
    assert busy.drifts() == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET granted = granted + 5 WHERE id = 'ada'",
        "UPDATE accounts SET spent = 0 WHERE id = 'ada'",
        "UPDATE accounts SET used_tokens = 1 WHERE id = 'ada'",
        "UPDATE accounts SET requests = 99 WHERE id = 'ada'",
        "UPDATE account_buckets SET amount = amount + 7 WHERE account = 'ada'",
        "DELETE FROM account_buckets WHERE account = 'ada'",
        "UPDATE credit_totals SET amount = amount + 7 WHERE account = 'ada' AND kind = 'TOP_UP'",
        "DELETE FROM credit_totals WHERE account = 'ada'",
        "INSERT INTO credit_totals VALUES ('ada', 'REWARD', 5)",
    ],
)
def test_sums_that_are_not_those_of_the_rows_are_added_up_anew(busy: World, change: str) -> None:
    before = busy.account()
    with busy.system.ledger.begin() as connection:
        connection.execute(text(change))

    assert kinds(busy.fix()) == {"ledger_sums"}

    assert busy.account().left == before.left


# ── what was decided in SQL ──────────────────────────────────────────────────────────────────────────────────────────


def decided(world: World, id: str, age: timedelta) -> None:
    """Credits of an order that were granted so long ago."""
    now = datetime.now(UTC) - age
    with world.system.ledger.begin() as connection:
        payouts.owe(connection, [Due("ada", id, "TOP_UP", 40, "a package", f"order:{id}", priority=100)], now)
    payouts.pay(world.system, f"order:{id}")
    with world.system.ledger.begin() as connection:
        connection.execute(update(credits_due).values(granted_at=now))


def test_credits_that_redis_lost_before_the_ledger_heard_of_them_are_paid_again(busy: World) -> None:
    copy = copied(busy)
    decided(busy, "order:o1", timedelta(minutes=5))
    put_back(busy, copy)
    assert busy.left()["t1"] == 100
    assert "order:o1" not in busy.left()

    found = busy.fix()

    assert [(drift.kind, drift.about) for drift in found] == [("lost_credits", "order:o1")]
    assert busy.left()["order:o1"] == 40


@pytest.mark.parametrize("drained", [False, True])
def test_credits_that_either_side_knows_are_not_lost(busy: World, drained: bool) -> None:
    decided(busy, "order:o1", timedelta(minutes=5))
    if drained:
        busy.drain()
    busy.call("r9", 100)  # It takes most of what there is.

    assert busy.drifts() == []


def test_credits_that_were_made_just_now_may_be_known_in_a_moment(busy: World) -> None:
    copy = copied(busy)
    decided(busy, "order:o1", timedelta(seconds=5))
    put_back(busy, copy)

    assert busy.drifts() == []


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_units_of_a_lost_hold_go_back(busy: World) -> None:
    left = busy.account().left
    busy.redis.delete(busy.partition("hold:open"))

    assert "lost_hold" in kinds(busy.fix())

    assert (busy.account().left, busy.account().held) == (left + 6, 0)


def test_a_lost_hold_leaves_the_others_as_they_are(busy: World) -> None:
    busy.reserve("other", 8)
    left = busy.account().left
    busy.redis.delete(busy.partition("hold:open"))

    busy.fix()

    assert (busy.account().left, busy.account().held) == (left + 6, 8)
    busy.settle("other", 8)
    busy.drain()
    assert busy.drifts() == []


def test_a_hold_without_its_place_gets_one(busy: World) -> None:
    busy.redis.zrem(busy.partition("holds"), "open")

    (found,) = busy.fix()

    assert (found.kind, found.holds) == ("misplaced_hold", ("open",))
    assert busy.redis.zscore(busy.partition("holds"), "open") > busy.now_ms()
    busy.settle("open", 2)
    assert busy.drifts() == []


def test_a_hold_that_the_ledger_knows_as_ended_is_removed_without_a_charge(busy: World) -> None:
    hold = copied(busy)[busy.partition("hold:open").encode()]
    busy.settle("open", 4)
    busy.drain()
    busy.redis.restore(busy.partition("hold:open"), 0, hold)
    busy.redis.zadd(busy.partition("holds"), {"open": busy.now_ms() + 60_000})
    before = busy.account()

    assert "ended_hold" in kinds(busy.fix())

    assert (busy.account().left, busy.account().spent) == (before.left, before.spent)
    assert not busy.redis.exists(busy.partition("hold:open"))


# ── a copy from before ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_redis_from_an_older_copy_is_brought_up_to_the_ledger(busy: World) -> None:
    copy = copied(busy)
    busy.settle("open", 4)
    busy.call("r10", 25)
    busy.grant("t2", 70)
    busy.call("r11", 1, "carol")
    busy.drain()
    before = {id: busy.account(id) for id in ("ada", "bob", "carol")}
    put_back(busy, copy)

    found = busy.fix()

    assert {"balance", "lost_grant", "ended_hold", "lost_account"} <= kinds(found)
    for id, account in before.items():
        after = busy.account(id)
        assert (after.left, after.spent, after.granted, after.held) == (
            account.left, account.spent, account.granted, account.held,
        )  # fmt: skip
    left = busy.account().left
    busy.grant("t2", 70)
    assert busy.account().left == left


def test_old_events_that_come_back_with_a_copy_are_harmless(busy: World) -> None:
    busy.settle("open", 4)
    copy = copied(busy)
    busy.drain()
    busy.call("r10", 25)
    busy.drain()
    before = busy.account()
    put_back(busy, copy)

    busy.drain()
    busy.fix()

    assert (busy.account().left, busy.account().spent) == (before.left, before.spent)


def test_a_sweep_over_an_older_copy_charges_nobody_twice(busy: World) -> None:
    from gateway.store import calls

    copy = copied(busy)
    busy.settle("open", 4)
    busy.drain()
    before = busy.account()
    put_back(busy, copy)
    busy.redis.zadd(busy.partition("holds"), {"open": 1})
    busy.system.runner.run(calls.expire(busy.partition("holds")))
    busy.drain()

    busy.fix()

    assert (busy.account().left, busy.account().spent) == (before.left, before.spent)


def test_a_day_that_was_used_up_after_the_copy_does_not_open_again(world: World) -> None:
    world.grant("t1", 100)
    world.drain()
    copy = copied(world)
    world.call("r1", 5)
    world.drain()
    put_back(world, copy)

    world.fix()
    world.call("r2", 1)
    world.drain()

    assert world.left() == {"day": 0, "signup": 14, "t1": 100}
    assert world.drifts() == []


# ── mending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_at_once_is_mended_at_once(busy: World) -> None:
    busy.reserve("other", 8)
    busy.call("lost", 2)
    busy.redis.delete(busy.partition("events"))
    busy.redis.delete(busy.partition("hold:open"))
    busy.redis.hincrby(busy.of("credits"), "t1", 31)
    busy.redis.hset(busy.key(), "tier", "pro")

    busy.fix()

    # 5 of the day, 15 and 100 were given; 3, 10 and 2 were spent, 8 are held.
    assert (busy.account().left, busy.account().spent, busy.account().held) == (97, 15, 8)


def test_without_fix_nothing_is_written(busy: World) -> None:
    from tests.lua.caller import contents

    busy.redis.hincrby(busy.of("credits"), "t1", 31)
    before = contents(busy.redis)

    assert busy.drifts()

    assert contents(busy.redis) == before


def test_an_account_that_moves_while_it_is_mended_is_looked_at_again(
    busy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.accounts import reconcile as module

    busy.redis.hincrby(busy.of("credits"), "t1", 31)
    write, moves = module._write, iter(range(3))

    def moving(system: Any, finding: Any) -> bool:
        if (number := next(moves, None)) is not None:
            busy.call(f"moving-{number}", 1)
        return write(system, finding)

    monkeypatch.setattr(module, "_write", moving)

    assert all(mended for _, mended in reconcile(busy.system, fix=True))

    monkeypatch.undo()
    assert busy.drifts() == []
    assert busy.account().spent == 16


def test_mending_beside_traffic_leaves_nothing_behind(world: World) -> None:
    for name in ("ada", "bob"):
        world.grant("t1", 100_000, name)
    stop = threading.Event()

    def traffic(name: str) -> None:
        number = 0
        while not stop.wait(0.01):
            number += 1
            world.call(f"{name}-{number}", number % 4, name)

    def worker() -> None:
        while not stop.is_set():
            world.drain()

    threads = [threading.Thread(target=traffic, args=(name,)) for name in ("ada", "bob")]
    threads.append(threading.Thread(target=worker))
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            world.redis.hincrby(world.of("credits", "ada"), "t1", 1000 + number)
            assert all(mended for _, mended in reconcile(world.system, fix=True))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    world.drain()

    assert world.drifts() == []
    world.audit()


def test_what_was_mended_stands_in_the_audit_log(busy: World) -> None:
    busy.redis.hincrby(busy.of("credits"), "t1", 31)

    busy.fix()

    with busy.system.ledger.connect() as connection:
        (row,) = connection.execute(audit_log.select()).mappings()
    assert (row["actor"], row["action"], row["target"]) == ("cli:tester", "reconcile.fix", "account:ada")
    assert "credits:t1 has 131 in Redis" in json.loads(row["after"])["drifts"][0]


def test_one_account_can_be_looked_at_alone(busy: World) -> None:
    for id in ("ada", "bob"):
        busy.redis.hincrby(busy.key(id), "granted", 5)

    assert {drift.account for drift in busy.drifts(account="bob")} == {"bob"}
    assert {drift.account for drift in busy.drifts()} == {"ada", "bob"}
    assert len({found.account for found in drift(busy.system, 1)}) == 1


def test_an_account_that_nobody_knows_has_no_drift(busy: World) -> None:
    assert busy.drifts(account="nobody") == []


def test_an_account_that_redis_alone_knows_is_found(world: World) -> None:
    world.call("r1", 3)
    world.redis.delete(world.partition("events"))

    assert {drift.account for drift in world.drifts()} == {"ada"}


def test_keys_are_named_as_the_manual_names_them(world: World) -> None:
    assert world.partition("holds", "ada") == Keys.of_partition(Keys(2).partition("ada"), "holds")
