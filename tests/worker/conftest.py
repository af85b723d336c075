"""A worker's system: a real Redis, a ledger of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from gateway import config
from gateway.accounts.system import System
from tests.support.config import config_text
from tests.worker.stream import Stream
from worker import runtime


@pytest.fixture
def stream(redis_client: redis.Redis) -> Stream:
    return Stream(redis_client)


@pytest.fixture
def system(redis_client: redis.Redis, ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """What the jobs of this test work with: two partitions."""
    path = tmp_path / "config.toml"
    path.write_text(config_text(store="partitions = 2\nremember_s = 120"))
    system = System(config.load(path), redis_client, ledger)
    monkeypatch.setattr(runtime, "_system", system)
    return system
