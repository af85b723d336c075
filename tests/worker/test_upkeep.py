"""The ledger's upkeep: as the config says, and never more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import select, update

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.ledger.queries import entries_of, usage_of
from gateway.ledger.record import record
from gateway.ledger.sales import credits_due
from gateway.store.nudge import queue
from tests.ledger.events import grant, usage
from worker import runtime
from worker.jobs import UPKEEP
from worker.upkeep import upkeep


def fill(system: System) -> None:
    """A call of today, one of two months ago and one of ten."""
    for days in (0, 62, 310):
        at = datetime.now(UTC) - timedelta(days=days)
        record(system.ledger, [usage(f"r{days}", at_ms=int(at.timestamp() * 1000))])


def test_usage_is_kept_for_ever_unless_the_config_says_otherwise(system: System) -> None:
    fill(system)

    assert upkeep() == 0

    assert [row["id"] for row in usage_of(system.ledger, "alice")] == ["r310", "r62", "r0"]


def test_months_beyond_those_that_are_kept_are_dropped(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(system)
    short = System(replace(system.config, keep_usage_months=6), system.redis, system.ledger)
    monkeypatch.setattr(runtime, "_system", short)

    assert upkeep() == 1

    assert [row["id"] for row in usage_of(system.ledger, "alice")] == ["r62", "r0"]
    assert len(list(entries_of(system.ledger, "alice"))) == 3
    assert upkeep() == 0


def test_credits_that_the_ledger_never_heard_of_are_owed_again_once_it_ought_to_have(system: System) -> None:
    """What it knows is not, nor what was granted just now; older ones are for `reconcile`, as this walks each day."""
    now = datetime.now(UTC)
    due = [Due("alice", f"order:o{n}", "TOP_UP", 40, "a package", f"order:o{n}") for n in range(4)]
    with system.ledger.begin() as connection:
        payouts.owe(connection, due, now)
        for one, hours in zip(due, (2, 2, 0, 24 * 30), strict=True):
            at = now - timedelta(hours=hours)
            connection.execute(update(credits_due).where(credits_due.c.id == one.id).values(granted_at=at))
    record(system.ledger, [grant("order:o0", "alice", 40)])

    upkeep()

    with system.ledger.connect() as connection:
        owed = select(credits_due.c.id).where(credits_due.c.granted_at.is_(None))
        assert list(connection.execute(owed).scalars()) == ["order:o1"]


def test_the_schedule_asks_for_it_once_a_day_and_rq_runs_it(system: System) -> None:
    for _ in range(2):
        UPKEEP.ask(system.redis)
    (job,) = queue(system.redis).get_jobs()
    assert (job.func_name, job.timeout) == ("worker.upkeep.upkeep", 3600)

    SimpleWorker([queue(system.redis)], connection=system.redis, serializer=JSONSerializer).work(
        burst=True, logging_level="CRITICAL"
    )

    assert queue(system.redis).failed_job_registry.count == 0
    assert queue(system.redis).get_jobs() == []
