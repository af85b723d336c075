"""`reconcile --fix` and `restore` when something else happens too: months that were dropped, replies that were lost, a
Redis that is emptied in the middle, backlogs of many events, openings that nobody recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from gateway.ledger import partitions
from gateway.ledger.tables import usage_events
from tests.accounts.world import World


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
