"""What every act needs: config, Redis, ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import redis
from sqlalchemy import Engine

from gateway.config import Config
from gateway.domain.errors import NotFound
from gateway.domain.principal import is_account_id
from gateway.domain.tier import Tier
from gateway.store.keys import Keys
from gateway.store.runner import Runner


@dataclass(frozen=True)
class System:
    """One running system."""

    config: Config
    redis: redis.Redis
    ledger: Engine
    #: Of tests: what they say the time is, for SQL and for Redis alike. None: each has its own.
    clock: Callable[[], datetime] | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) if self.clock is None else self.clock()

    @property
    def script_ms(self) -> int | None:
        """What scripts are told the time is: None, their own server's, but in tests."""
        return None if self.clock is None else int(self.clock().timestamp() * 1000)

    @property
    def keys(self) -> Keys:
        return Keys(self.config.partitions)

    @cached_property
    def runner(self) -> Runner:
        return Runner(self.redis)

    def tier(self, name: str) -> Tier:
        """A tier by its name; the default one when this config no longer has it."""
        return self.config.tier(name)

    def nudge(self, account_id: str | None = None) -> None:
        """Tells the worker of an account's event, or of any accounts'. It is written already: the worker's schedule
        finds it too."""
        from gateway.store.nudge import nudge  # RQ, which most acts never need.

        partitions = self.keys.all_partitions() if account_id is None else [self.keys.partition(account_id)]
        with contextlib.suppress(redis.RedisError):
            nudge(self.redis, partitions)


def look_up(account_id: str) -> str:
    """The id of an account that is asked about, as it is. Raises NotFound when no account can have it."""
    if not is_account_id(account_id):
        raise NotFound(f"there is no account {account_id!r}: an id is 1-200 printable characters without white space")
    return account_id


def never_opened(account_id: str) -> NotFound:
    """To be raised where an act needs an account that is open already."""
    return NotFound(f"there is no account {account_id}; its first call opens it, or a key, or a grant")
