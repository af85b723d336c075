"""A shop that sells plans."""

from __future__ import annotations

import pytest
import redis
from sqlalchemy import Engine

from tests.payments.club import Club


@pytest.fixture
def any_club(redis_client: redis.Redis, ledger: Engine) -> Club:
    """On each kind of database, on the morning of 31 January 2027 in Jakarta."""
    return Club(redis_client, ledger)
