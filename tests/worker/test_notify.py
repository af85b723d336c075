"""Notices: made once a period, from the balance as it stands after a batch is in the ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, insert, select

from gateway.accounts import balances, notices, profile
from gateway.accounts.system import System
from gateway.config.notifications import Email, Notifications, Webhook
from gateway.domain.notice import KINDS
from gateway.ledger.tables import deliveries, license_keys, usage_events
from gateway.ledger.tables import notices as notices_table
from gateway.store import calls
from gateway.store.nudge import nudge, queue
from tests.accounts.calls_made import hold, open_account, settle
from tests.support.upstream import Upstream, json_answer
from worker import runtime
from worker.drain import drain
from worker.jobs import DELIVER

WEBHOOK = Webhook("http://127.0.0.1:9/", b"s" * 24)
EMAIL = Email("127.0.0.1", 9, "none", "", "", "quota@example.com")


@pytest.fixture
def telling(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """A system that tells everything by both ways; all accounts of it are in one partition or the other."""
    told = Notifications(KINDS, (800, 950), WEBHOOK, EMAIL)
    telling = replace(system, config=replace(system.config, notifications=told))
    monkeypatch.setattr(runtime, "_system", telling)
    return telling


def spend(system: System, id: str, cost: int, account: str = "ada") -> None:
    hold(system, id, account, cost, operation="fixed")
    settle(system, id, cost, account=account)


def drain_all(system: System) -> None:
    for partition in system.keys.all_partitions():
        drain(partition)


def told(ledger: Engine) -> list[str]:
    with ledger.connect() as connection:
        rows = connection.execute(select(notices_table.c.kind, notices_table.c.account).order_by(notices_table.c.id))
        return [f"{row.kind} {row.account}" for row in rows]


def waiting(ledger: Engine) -> list[tuple[str, str]]:
    with ledger.connect() as connection:
        rows = connection.execute(select(deliveries.c.notice, deliveries.c.channel).order_by(deliveries.c.id))
        return [(row.notice.split()[0], row.channel) for row in rows]


def test_what_an_account_is_told_grows_with_what_it_spends_and_is_told_once(telling: System) -> None:
    """The free tier: 15 at sign-up, 5 a day, low at 5."""
    open_account(telling)
    spend(telling, "r1", 3)
    drain_all(telling)
    assert told(telling.ledger) == []

    spend(telling, "r2", 1)
    drain_all(telling)
    assert told(telling.ledger) == ["threshold ada"]

    for number in range(3, 6):
        spend(telling, f"r{number}", 4)
        drain_all(telling)
    assert told(telling.ledger) == ["low_balance ada", "reset ada", "threshold ada", "threshold ada"]

    spend(telling, "r6", 4)
    drain_all(telling)
    assert told(telling.ledger) == ["exhausted ada", "low_balance ada", "reset ada", "threshold ada", "threshold ada"]


def test_a_batch_that_comes_again_tells_nothing_again(telling: System) -> None:
    open_account(telling)
    spend(telling, "r1", 20)
    events: Any = telling.redis.xrange(f"qg:{{{telling.keys.partition('ada')}}}:events")
    drain_all(telling)
    before = waiting(telling.ledger)
    assert before != []
    for _, fields in events:
        telling.redis.xadd(f"qg:{{{telling.keys.partition('ada')}}}:events", fields)

    drain_all(telling)

    assert waiting(telling.ledger) == before


def test_an_account_of_credits_is_told_again_after_each_refill(telling: System) -> None:
    open_account(telling, "bob", "payg")
    for refill in (1, 2):
        balances.grant(telling, "bob", 10, f"g{refill}", "paid")
        spend(telling, f"r{refill}a", 9, "bob")
        drain_all(telling)
        spend(telling, f"r{refill}b", 1, "bob")
        drain_all(telling)

    assert told(telling.ledger) == ["exhausted bob", "exhausted bob"]


def test_an_account_without_an_address_is_told_by_webhook_alone(telling: System) -> None:
    for account in ("ada", "bob"):
        open_account(telling, account, "payg")
        balances.grant(telling, account, 10, "g1", "paid")
    profile.set_email(telling, "bob", "bob@example.com")
    for account in ("ada", "bob"):
        spend(telling, f"r-{account}", 10, account)

    drain_all(telling)

    with telling.ledger.connect() as connection:
        ids = connection.execute(select(deliveries.c.id).order_by(deliveries.c.id)).scalars().all()
    assert [id.replace("granted:10 ", "") for id in ids] == [
        "exhausted ada webhook", "exhausted bob email", "exhausted bob webhook",
    ]  # fmt: skip


def test_a_reset_waits_until_the_day_is_over(telling: System) -> None:
    open_account(telling)
    spend(telling, "r1", 5)
    drain_all(telling)

    with telling.ledger.connect() as connection:
        is_reset = deliveries.c.notice.startswith("reset ")
        due = connection.execute(select(deliveries.c.next_try_at).where(is_reset)).scalar_one()
    assert due == datetime.fromtimestamp(balances.read(telling, "ada").resets_at_ms / 1000, UTC)


def test_a_license_is_told_to_its_owner(telling: System) -> None:
    with telling.ledger.begin() as connection:
        connection.execute(insert(license_keys).values(
            prefix="lk_AbCdEfGh", digest="d", owner="ada", trial=False, status="active", created_at=datetime.now(UTC)
        ))  # fmt: skip
    for account in ("license:lk_AbCdEfGh", "license:lk_unknown1"):
        open_account(telling, account, "payg")
        balances.grant(telling, account, 10, "g1", "paid")
        spend(telling, f"r-{account[-3:]}", 10, account)

    drain_all(telling)

    assert told(telling.ledger) == ["license_inactive ada"]
    (notice,) = notices.listed(telling, "ada")
    assert notice.facts == {"license": "lk_AbCdEfGh", "left": 0}


def test_nothing_is_looked_at_where_nothing_is_to_be_told(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    open_account(system)
    spend(system, "r1", 5)
    monkeypatch.setattr(calls, "peek", lambda *key: looked.append(key))
    drain_all(system)

    assert looked == []
    assert told(system.ledger) == []


def test_an_account_that_cannot_be_read_holds_up_no_ledger(telling: System) -> None:
    open_account(telling)
    spend(telling, "r1", 20)
    telling.redis.hset(telling.keys.account("ada"), "granted", "much")

    drain_all(telling)

    with telling.ledger.connect() as connection:
        assert connection.execute(select(usage_events.c.id)).scalars().all() == ["r1"]
    assert told(telling.ledger) == []


def test_an_account_that_cannot_be_read_keeps_no_notice_from_others(telling: System) -> None:
    keys = telling.keys
    other = next(id for n in range(99) if keys.partition(id := f"user-{n}") == keys.partition("ada"))
    for account in ("ada", other):
        open_account(telling, account, tier="free")
        balances.grant(telling, account, 10, "g1", "paid")
    drain_all(telling)
    spend(telling, "r1", 5)
    spend(telling, "r2", 30, other)
    telling.redis.hset(telling.keys.account("ada"), "granted", "no number")

    drain_all(telling)

    assert f"exhausted {other}" in told(telling.ledger)


def test_a_new_notice_asks_for_its_delivery(telling: System) -> None:
    open_account(telling)
    spend(telling, "r1", 20)

    drain_all(telling)

    jobs: Any = telling.redis.lrange("rq:queue:quotagate", 0, -1)
    assert [job.decode().partition("-")[0] for job in jobs].count("deliver") == 1
    DELIVER.ask(telling.redis)  # Asking twice is asking once.
    assert len(telling.redis.keys("rq:job:deliver-*")) <= 2


def test_what_is_told_is_kept_as_it_was(telling: System) -> None:
    open_account(telling)
    spend(telling, "r1", 20)
    drain_all(telling)

    found = {notice.kind: notice for notice in notices.listed(telling, "ada")}

    assert found["exhausted"].facts == {"left": 0, "tier": "free"}
    assert found["threshold"].facts["percent"] == "95"
    assert found["reset"].facts["amount"] == 5
    json.dumps(found["threshold"].facts)


def test_a_call_that_uses_up_a_balance_reaches_the_backend_by_the_workers_own_jobs(
    telling: System, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.script = lambda request: json_answer({})
    config = replace(telling.config, notifications=Notifications(KINDS, (), Webhook(f"{upstream.url}/hook", b"s" * 24)))
    monkeypatch.setattr(runtime, "_system", replace(telling, config=config))
    open_account(telling)
    spend(telling, "r1", 20)
    nudge(telling.redis, telling.keys.all_partitions())

    SimpleWorker([queue(telling.redis)], connection=telling.redis, serializer=JSONSerializer).work(
        burst=True, logging_level="CRITICAL"
    )

    assert [request.json()["type"] for request in upstream.requests] == ["quota.exhausted"]
    (sent,) = [notice for notice in notices.listed(telling, "ada") if notice.kind == "exhausted"]
    assert [delivery.status for delivery in sent.deliveries] == ["sent"]
