"""The sweep: a hold whose gateway fell silent ends once, by what its call wanted, and the ledger hears of it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from gateway.accounts.system import System
from gateway.domain.reservation import Account, Renewed, Reserved, Settled
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage
from gateway.ledger.queries import balance_of, usage_of
from gateway.store import calls
from gateway.store.inbox import Inbox
from gateway.store.keys import Keys
from tests.lua.caller import LEASE_MS, Caller
from tests.worker.stream import Stream
from worker import drain, sweep

TIER = Tier("free", signup=1000)
KEYS = Keys(2)


def account_of(partition: str) -> str:
    return next(f"user-{n}" for n in range(100) if KEYS.partition(f"user-{n}") == partition)


ADA, BOB = account_of("p00"), account_of("p01")


@pytest.fixture
def now_ms(system: System) -> int:
    """The server's clock: the sweep goes by it."""
    seconds, micros = system.redis.time()
    return int(seconds * 1000 + micros // 1000)


class Holder(Caller):
    """A caller whose account is in one of two partitions."""

    @property
    def key(self) -> str:
        return KEYS.account(self.id)


def hold(
    system: System, id: str, ends_ms: int, *, account: str = ADA, amount: int = 5, on_lost: str = "charge_hold"
) -> None:
    """A hold whose lease ends then."""
    caller = Holder(system.runner, TIER, account, now_ms=ends_ms - LEASE_MS)
    assert isinstance(caller.reserve(id, amount, on_lost=on_lost), Reserved)


@pytest.fixture(autouse=True)
def opened(system: System) -> None:
    """Accounts on the tier of these tests."""
    for account in (ADA, BOB):
        system.runner.run(calls.open_account(KEYS.account(account), TIER))


def standing(system: System, account: str = ADA) -> Account:
    found = system.runner.run(calls.peek(KEYS.account(account)))
    assert found is not None
    return found


@pytest.mark.parametrize(("on_lost", "charged"), [("charge_hold", 5), ("charge_counted", 2), ("release", 0)])
def test_a_hold_whose_lease_is_over_is_ended_as_its_call_wanted(
    system: System, now_ms: int, on_lost: str, charged: int
) -> None:
    hold(system, "r1", now_ms - 1000, on_lost=on_lost)
    renewed = calls.renew(KEYS.account(ADA), "r1", 1, counted=2, lease_ms=1, now_ms=now_ms - 1000)
    assert isinstance(system.runner.run(renewed), Renewed)

    assert sweep.sweep("p00") == 1
    drain.drain("p00")

    assert (standing(system).held, standing(system).spent, standing(system).left) == (0, charged, 1000 - charged)
    (event,) = usage_of(system.ledger, ADA)
    assert (event["outcome"], event["cost"], event["estimated"]) == ("lost", charged, True)
    assert balance_of(system.ledger, ADA) == 1000 - charged


def test_a_hold_whose_lease_runs_is_left(system: System, now_ms: int) -> None:
    hold(system, "over", now_ms - 1)
    hold(system, "runs", now_ms + LEASE_MS)

    assert sweep.sweep("p00") == 1

    assert standing(system).held == 5
    assert system.redis.exists(Keys.of_partition("p00", "hold:runs"))


def test_a_hold_ends_once(system: System, now_ms: int) -> None:
    hold(system, "r1", now_ms - 1)

    assert [sweep.sweep("p00") for _ in range(3)] == [1, 0, 0]
    assert standing(system).spent == 5


def test_every_overdue_hold_ends_a_batch_a_script_run(
    system: System, now_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 3)
    for number in range(7):
        hold(system, f"r{number}", now_ms - 1 - number)
    system.redis.config_resetstat()

    assert sweep.sweep("p00") == 7

    stats: Any = system.redis.info("commandstats")
    assert stats["cmdstat_zrangebyscore"]["calls"] == 3
    assert standing(system).held == 0
    assert system.redis.zcard(Keys.of_partition("p00", "holds")) == 0


def test_holds_that_fill_their_batches_are_all_ended(
    system: System, now_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 2)
    for number in range(4):
        hold(system, f"r{number}", now_ms - 1)

    assert sweep.sweep("p00") == 4


def test_only_the_jobs_partition_is_swept(system: System, now_ms: int) -> None:
    hold(system, "r1", now_ms - 1, account=ADA)
    hold(system, "r2", now_ms - 1, account=BOB)

    assert sweep.sweep("p01") == 1

    assert (standing(system, ADA).held, standing(system, BOB).held) == (5, 0)


def test_a_call_that_settles_after_all_is_charged_what_it_cost(system: System, now_ms: int) -> None:
    hold(system, "r1", now_ms - 1)
    sweep.sweep("p00")

    settled = system.runner.run(calls.settle(KEYS.account(ADA), "r1", 3, Usage(input=2, output=1)))
    drain.drain("p00")

    assert settled == Settled("r1", 3, 0, 997)
    assert [event["outcome"] for event in usage_of(system.ledger, ADA)] == ["lost", "corrected"]
    assert balance_of(system.ledger, ADA) == standing(system).left == 997


def test_the_outcome_is_remembered_for_as_long_as_the_config_says(system: System, now_ms: int) -> None:
    hold(system, "r1", now_ms - 1)
    sweep.sweep("p00")

    left_ms: Any = system.redis.pttl(Keys.of_partition("p00", "done:r1"))
    assert 60_000 < left_ms <= system.config.remember_ms == 120_000


def test_holds_that_were_ended_are_told_with_what_they_cost(
    system: System, now_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    hold(system, "r1", now_ms - 1)
    hold(system, "r2", now_ms - 1)

    sweep.sweep("p00")
    sweep.sweep("p00")

    (told,) = [record for record in caplog.records if record.name == "quotagate.worker"]
    assert told.levelno == logging.WARNING
    assert told.getMessage() == "2 hold(s) of p00 were ended, their gateway fell silent; charged 10"


def test_a_sweep_before_the_first_event_makes_the_inbox(system: System) -> None:
    system.redis.flushall()

    assert sweep.sweep("p01") == 0

    assert Stream(system.redis, "p01").pending() == []


def test_a_sweep_forgets_workers_that_are_long_gone(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    forgot: list[str] = []
    monkeypatch.setattr(Inbox, "forget_idle_consumers", lambda inbox: forgot.append(inbox.partition))

    sweep.sweep("p00")

    assert forgot == ["p00"]
