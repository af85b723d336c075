"""API keys.

A key is looked up in Redis by the SHA-256 of its text and believed for `KEY_TTL_S`; longer while a look at the version
of all keys, once a second, shows that none was created or revoked. So a revoked key stops working within that time,
and a caller who returns after a minute is known at once.

A key that Redis does not know is refused for good only where Redis says that it knows what the ledger knows: after it
was emptied, every key looks unknown, and a client that heard 401 would throw a good one away.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from gateway.domain.errors import StoreUnready
from gateway.domain.principal import Principal
from gateway.proxy.identity.credential import text_of
from gateway.store import api_keys as published
from gateway.store import epoch
from gateway.store.keys import Keys
from gateway.store.link import Store

#: How long a looked-up key, or a look at the version of all keys, is believed, in seconds: revocation is promised
#: within 5.
KEY_TTL_S = 3.0
#: No key is believed longer than this, whatever the version says: someone may have changed it by hand.
KEY_MAX_TTL_S = 60.0
#: A key that is not known is asked for again after this.
UNKNOWN_TTL_S = 1.0
#: Forgotten all at once beyond this, so that made-up keys cannot fill the memory.
MAX_CACHED_KEYS = 50_000
#: A longer one is not looked at.
MAX_SHOWN_BYTES = 512
#: The use of a key is noted as often as this.
NOTE_EVERY_S = 60.0
#: So many uses are written at a time, so that the look at the version does not wait for many more.
NOTES_AT_ONCE = 1000


@dataclass(slots=True)
class Known:
    """What is believed of one key."""

    #: None: the key lets nobody in.
    principal: Principal | None
    #: Where Redis has the key.
    name: str
    #: Whatever the version says.
    believed_until: float
    #: While the version says that nothing has changed.
    believed_at_most_until: float
    #: The next use after this is noted.
    note_after: float


class ApiKeys:
    """Finds the principal of a key, and notes when it was used."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        #: By what showed the key, so that it is taken out and hashed when it is looked up and not for each call.
        self._known: dict[bytes, Known] = {}
        #: The version of all keys, and until when it is believed.
        self._version = ""
        self._version_until = 0.0
        #: When keys were used, by where Redis has them: what `write_last_used` has to do.
        self._used_ms: dict[str, int] = {}

    async def look_at_version(self) -> None:
        """Forgets all keys when any was created or revoked. Raises StoreUnavailable."""
        asked_at = time.monotonic()
        version = (await self._store.read_hash(Keys.API_KEYS)).get("version", "0")
        if version != self._version:
            self._version = version
            self._known.clear()
        self._version_until = asked_at + KEY_TTL_S

    async def write_last_used(self) -> None:
        """Writes what was noted. Raises StoreUnavailable; what is lost by it is noted again within a minute."""
        names = list(islice(self._used_ms, NOTES_AT_ONCE))
        await asyncio.gather(*(self._store.write_hash(name, {"last_used": self._used_ms.pop(name)}) for name in names))

    def believed(self, shown: bytes) -> Known | None:
        """What is known of the key in `shown`, while it is believed."""
        known = self._known.get(shown)
        if known is None:
            return None
        now = time.monotonic()
        if now < known.believed_until or (now < self._version_until and now < known.believed_at_most_until):
            if now >= known.note_after:
                known.note_after = now + NOTE_EVERY_S
                self._used_ms[known.name] = _now_ms()
            return known
        return None

    async def look_up(self, shown: bytes) -> Known:
        """What Redis knows of the key in `shown`, from now on believed. Raises StoreUnavailable; StoreUnready when the
        key is unknown, and Redis must be restored first."""
        if len(shown) > MAX_SHOWN_BYTES:
            return _NOBODY
        name = Keys.api_key(hashlib.sha256(text_of(shown)).hexdigest())
        fields = await self._store.read_hash(name)
        if "status" not in fields:  # A lost key that was in use may stand there again, with `last_used` alone.
            await self._check_ready()
        known = _known(name, fields, time.monotonic(), _now_ms())
        if len(self._known) >= MAX_CACHED_KEYS:
            self._known.clear()
        self._known[shown] = known
        return self.believed(shown) or known

    async def _check_ready(self) -> None:
        """For a key that Redis does not know. Raises StoreUnready when that says nothing about the ledger."""
        for partition in self._keys.all_partitions():
            if epoch.is_unready(await self._store.read_text(Keys.of_partition(partition, "epoch"))):
                raise StoreUnready(
                    f"an API key is unknown to Redis, which was emptied or never filled from the ledger: {epoch.REMEDY}"
                )


def _known(name: str, fields: Mapping[str, str], now: float, now_ms: int) -> Known:
    """What a look into Redis tells, and how long that is believed."""
    principal = published.principal_of(fields, now_ms)
    if principal is None:
        return Known(None, name, now + UNKNOWN_TTL_S, now + KEY_MAX_TTL_S, math.inf)
    ends_ms = published.expires_ms(fields)
    ends = math.inf if ends_ms is None else now + (ends_ms - now_ms) / 1000
    # Another process, or this one before it forgot the key, has noted a use perhaps.
    noted_before_s = (now_ms - int(fields.get("last_used", 0))) / 1000
    return Known(
        principal,
        name,
        believed_until=min(now + KEY_TTL_S, ends),
        believed_at_most_until=min(now + KEY_MAX_TTL_S, ends),
        note_after=now + NOTE_EVERY_S - noted_before_s,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_NOBODY = Known(None, "", 0.0, 0.0, math.inf)
