"""A system that gives rewards, on each kind of ledger, with a clock that a test sets."""

from __future__ import annotations

import pytest
import redis
from sqlalchemy import Engine

from tests.rewards.giving import Giving


@pytest.fixture
def giving(redis_client: redis.Redis, ledger: Engine) -> Giving:
    return Giving(redis_client, ledger)
