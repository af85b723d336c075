"""The command line over a data folder of the test's own, and the embedded Redis of that folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.launch.embedded import embedded_redis
from tests.cli.command import Command
from tests.cli.processes import servers_of
from tests.support.config import config_text


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The command line with no Redis running: each command that needs one brings it up for its moment."""
    for name in ("REDIS_URL", "DATABASE_URL", "QUOTAGATE_REDIS_URL", "QUOTAGATE_CONFIG", "QUOTAGATE_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    command = Command(tmp_path, capfd, monkeypatch)
    command.config.write_text(config_text())
    yield command
    assert servers_of(tmp_path) == []


@pytest.fixture
def quotagate(cold: Command) -> Iterator[Command]:
    """The command line beside a Redis that runs, as `quotagate up` has one."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(embedded_redis(cold.data))
        yield cold
