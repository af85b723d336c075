"""The jobs that pay what is owed and reward referrals, as the schedule asks for them."""

from __future__ import annotations

import pytest
import redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import Engine

from gateway.rewards import check_ins, referrals
from gateway.store.nudge import queue
from tests.rewards.giving import Giving, away
from worker import runtime
from worker.jobs import PAY, PAY_REFUSED, REFERRALS
from worker.schedule import ALWAYS


@pytest.fixture
def giving(redis_client: redis.Redis, ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> Giving:
    made = Giving(redis_client, ledger)
    monkeypatch.setattr(runtime, "_system", made.system)
    return made


def test_the_jobs_pay_what_a_gateway_decided_before_it_died(giving: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    referrals.refer(giving.system, "bob", referrals.overview(giving.system, "ada").code)
    giving.order("bob")
    with monkeypatch.context() as dead:
        away(dead)
        check_ins.check_in(giving.system, "ada")

    for job in (PAY, PAY_REFUSED, REFERRALS):
        assert job in ALWAYS
        job.ask(giving.system.redis)
    worker = SimpleWorker([queue(giving.system.redis)], connection=giving.system.redis, serializer=JSONSerializer)
    worker.work(burst=True, logging_level="CRITICAL")

    assert queue(giving.system.redis).failed_job_registry.count == 0
    assert giving.credits("ada") == {"check_in:2026-11-20": 3, "referral:1": 20}
    assert giving.credits("bob") == {"referral:own": 10}
