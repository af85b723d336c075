"""The job that keeps subscriptions in time, and what their owners read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from gateway.config import parse
from gateway.domain.notice import KINDS
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.ledger.notices import Delivery
from tests.payments.club import Club
from tests.support.config import config_text
from worker import messages, renewals, runtime
from worker.schedule import jobs_of

FACTS = {
    "subscription": "sub_1", "plan": "pro", "ends_at": "2027-02-28T00:00:00Z", "ended_at": "2027-02-28T00:00:00Z",
    "days": 3,
}  # fmt: skip


def test_the_job_does_what_is_due(redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = database.connect(database.sqlite_url(tmp_path))
    migrate(engine)
    club = Club(redis_client, engine)
    club.join("strict")
    monkeypatch.setattr(runtime, "_system", club.system)

    assert (renewals.renew(), renewals.renew()) == (1, 0)
    club.at("2027-02-28 00:00")
    assert (renewals.renew(), club.row().state) == (1, "ended")
    assert "worker.renewals.renew" in [job.function for job in jobs_of(club.system.config)]
    engine.dispose()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "subscription" in kind or "renewal" in kind])
def test_each_notice_names_the_plan_and_when(kind: str) -> None:
    now = datetime(2027, 2, 25, tzinfo=UTC)
    delivery = Delivery("id", "email", 1, "notice", kind, "ada", now, FACTS, "ada@example.com")

    written = messages.email(delivery, "Quota <quota@example.com>", parse(config_text(), "config.toml", {}), now)

    assert "pro" in f"{written['Subject']}"
    assert "2027-02-28T00:00:00Z" in written.get_content()
    assert "Account: ada" in written.get_content()
