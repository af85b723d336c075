"""API keys as the gateway finds them: `qg:key:SHA256` → account, prefix, status. The ledger's `api_keys` is the
record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import redis

from gateway.store.keys import Keys


class PublishedKey(NamedTuple):
    """One key, without its secret."""

    digest: str
    prefix: str
    account: str


def publish(client: redis.Redis, keys: Iterable[PublishedKey]) -> None:
    """Makes keys valid. One that stands there already, revoked perhaps, is left as it is."""
    pipeline = client.pipeline(transaction=False)
    if not (keys := list(keys)):
        return
    for key in keys:
        name = Keys.api_key(key.digest)
        # The status comes last: a key without one is not valid, so a half-written hash lets nobody in.
        pipeline.hsetnx(name, "account", key.account)
        pipeline.hsetnx(name, "prefix", key.prefix)
        pipeline.hsetnx(name, "status", "active")
    pipeline.hincrby(Keys.API_KEYS, "version", 1)
    pipeline.execute()


def revoke(client: redis.Redis, digest: str) -> None:
    """Makes a key invalid for good. Gateways believe an older answer for a few seconds."""
    pipeline = client.pipeline(transaction=True)
    pipeline.hset(Keys.api_key(digest), "status", "revoked")
    pipeline.hincrby(Keys.API_KEYS, "version", 1)
    pipeline.execute()
