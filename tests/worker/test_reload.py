"""The config file changes under a running worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.accounts.system import System
from gateway.launch.changes import ConfigFile
from tests.support.config import config_text
from tests.support.waiting import until
from worker import reload as module
from worker import runtime
from worker.jobs import POLL_PAYMENTS
from worker.reload import Reload
from worker.schedule import ALWAYS, Schedule

STORE = "partitions = 2\nremember_s = 120"
SOLD = """
[payments.xendit]
[rewards.referral]
referrer = 20
referred = 10
when = "first_use"
"""

Write = Callable[[str], None]


@pytest.fixture
def schedule(system: System) -> Schedule:
    return Schedule(system.redis, ["p00"], ALWAYS)


@pytest.fixture
def write(system: System, schedule: Schedule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes the file that a worker of this system looks at."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    path = tmp_path / "config.toml"
    reload = Reload(ConfigFile(path), schedule)
    reload.start()

    def text(content: str) -> None:
        (tmp_path / "other").write_text(content)
        (tmp_path / "other").replace(path)

    yield text
    reload.stop()
    reload.join(10)
    assert not reload.is_alive()


def test_jobs_work_by_a_changed_file_and_what_is_sold_by_it_is_asked_about(schedule: Schedule, write: Write) -> None:
    write(config_text(store=STORE, more=SOLD))
    until(lambda: runtime.system().config.rewards.referral is not None, 20, "the referrals")

    assert POLL_PAYMENTS in schedule.jobs
    write(config_text(store=STORE))
    until(lambda: runtime.system().config.rewards.referral is None, 20, "no referrals")
    until(lambda: POLL_PAYMENTS not in schedule.jobs, 20, "nothing that is sold")


def test_what_only_a_start_can_change_stays_and_is_said(
    system: System, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        write(config_text(store="partitions = 4\nremember_s = 120", more=SOLD))
        until(lambda: "these take effect at the next start: partitions" in caplog.text, 20, "the warning")

    assert runtime.system().config.partitions == 2
    assert runtime.system().redis is system.redis


def test_a_bad_file_keeps_the_old_config(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    before = runtime.system()

    write("nonsense")
    until(lambda: "the config in force stays" in caplog.text, 20, "the refusal")
    assert runtime.system() is before

    write(config_text(store=STORE, more=SOLD))
    until(lambda: runtime.system().config.rewards.referral is not None, 20, "the good one")
