"""A system that makes licenses, and what tests ask of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from gateway.accounts import new_licenses
from gateway.accounts.new_licenses import NewLicense
from gateway.accounts.system import System
from gateway.config import Config, parse
from gateway.ledger.tables import audit_log, license_keys
from gateway.store.keys import Keys
from tests.support.config import config_text

LICENSES = """
[tiers.license]
operations = { chat = 2 }
[licenses]
tier = "license"
"""
ACTOR = "admin:eve"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def config(more: str = LICENSES) -> Config:
    return parse(config_text(more=more), "config.toml", {})


def made(system: System, amount: int = 10, owner: str = "ada", id: str = "make", **terms: Any) -> NewLicense:
    return new_licenses.create(system, owner, amount=amount, id=id, actor=ACTOR, **terms)


def expire(system: System, prefix: str) -> None:
    """As time does."""
    with system.ledger.begin() as connection:
        is_it = license_keys.c.prefix == prefix
        connection.execute(update(license_keys).where(is_it).values(expires_at=YESTERDAY))


def published(system: System, key: str) -> dict[str, str]:
    """What a gateway finds of a key."""
    found: Any = system.redis.hgetall(Keys.api_key(hashlib.sha256(key.encode()).hexdigest()))
    return {name.decode(): value.decode() for name, value in found.items()}


def audited(system: System) -> list[tuple[str, str, str]]:
    with system.ledger.connect() as connection:
        found = connection.execute(select(audit_log).order_by(audit_log.c.occurred_at, audit_log.c.id)).all()
    return [(row.action, row.actor, row.target) for row in found]
