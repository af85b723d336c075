"""API keys as the gateway finds them: `qg:key:SHA256` → whose it is, and what it may do. The ledger's `api_keys` is the
record; only `last_used` stands nowhere else. License keys stand there alike; the record is `license_keys`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import redis

from gateway.domain.principal import Principal
from gateway.store.keys import Keys

#: Between two limits of one key. No limit has it.
LIMIT_SEPARATOR = "; "
_PUBLISHED_AT_ONCE = 1000


class PublishedKey(NamedTuple):
    """One key, without its secret."""

    digest: str
    prefix: str
    account: str
    team: str = ""
    organisation: str = ""
    scopes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    #: When it ends, in milliseconds since 1970; 0: never.
    expires_ms: int = 0
    #: Of a license key: the account it belongs to, and "trial" or "full". No call asks for them.
    owner: str = ""
    license: str = ""

    def fields(self) -> dict[str, str | int]:
        """As they stand in Redis. What is empty is left out."""
        fields: dict[str, str | int] = {
            "account": self.account,
            "prefix": self.prefix,
            "team": self.team,
            "organisation": self.organisation,
            "scopes": " ".join(self.scopes),
            "limits": LIMIT_SEPARATOR.join(self.limits),
            "expires": self.expires_ms,
            "owner": self.owner,
            "license": self.license,
        }
        return {name: value for name, value in fields.items() if value}


def principal_of(fields: Mapping[str, str], now_ms: int) -> Principal | None:
    """Who a key lets in; None: it is unknown, half-written, revoked or past its time."""
    if fields.get("status") != "active" or (expires_ms(fields) or now_ms + 1) <= now_ms:
        return None
    limits = fields.get("limits")
    return Principal(
        fields["account"],
        fields["prefix"],
        fields.get("team", ""),
        fields.get("organisation", ""),
        scopes=frozenset(fields.get("scopes", "").split()),
        limits=tuple(limits.split(LIMIT_SEPARATOR)) if limits else (),
    )


def expires_ms(fields: Mapping[str, str]) -> int | None:
    """When a key ends; None: never."""
    return int(fields["expires"]) if "expires" in fields else None


def publish(client: redis.Redis, keys: Iterable[PublishedKey]) -> None:
    """Makes keys valid, so many a round trip. One that stands there already, revoked perhaps, is left as it is."""
    waiting = iter(keys)
    while batch := list(islice(waiting, _PUBLISHED_AT_ONCE)):
        pipeline = client.pipeline(transaction=False)
        for key in batch:
            name = Keys.api_key(key.digest)
            # The status comes last: a key without one is not valid, so a half-written hash lets nobody in.
            for field, value in (key.fields() | {"status": "active"}).items():
                pipeline.hsetnx(name, field, value)
        pipeline.hincrby(Keys.API_KEYS, "version", 1)
        pipeline.execute()


def revoke(client: redis.Redis, digest: str) -> None:
    """Makes a key invalid for good. Gateways believe an older answer for a few seconds."""
    pipeline = client.pipeline(transaction=True)
    pipeline.hset(Keys.api_key(digest), "status", "revoked")
    pipeline.hincrby(Keys.API_KEYS, "version", 1)
    pipeline.execute()


def change(client: redis.Redis, digest: str, fields: Mapping[str, str | int]) -> None:
    """Sets fields of a key; one that is 0 or "" is taken away. Gateways believe an older answer for a few seconds."""
    pipeline = client.pipeline(transaction=True)
    for field, value in fields.items():
        if value:
            pipeline.hset(Keys.api_key(digest), field, str(value))
        else:
            pipeline.hdel(Keys.api_key(digest), field)
    pipeline.hincrby(Keys.API_KEYS, "version", 1)
    pipeline.execute()


def last_used_ms(client: redis.Redis, digests: Sequence[str]) -> list[int | None]:
    """When each key was used last, to about a minute; None: not yet."""
    pipeline = client.pipeline(transaction=False)
    for digest in digests:
        pipeline.hget(Keys.api_key(digest), "last_used")
    found: list[Any] = pipeline.execute()
    return [None if at_ms is None else int(at_ms) for at_ms in found]
