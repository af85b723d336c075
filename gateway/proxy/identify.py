"""Who calls: API keys, and the trusted header of a backend that knows its users.

A key is looked up in Redis by the SHA-256 of its text and believed for `KEY_TTL_S`; longer while a look at the version
of all keys, once a second, shows that none was created or revoked. So a revoked key stops working within that time,
and a caller who returns after a minute is known at once. Every failure looks the same from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import time
from dataclasses import dataclass

from gateway.config import Config
from gateway.domain.errors import StoreUnavailable
from gateway.domain.principal import Principal, is_account_id
from gateway.store.keys import Keys
from gateway.store.link import Store

Headers = list[tuple[bytes, bytes]]

#: How long a looked-up key, or a look at the version of all keys, is believed, in seconds: revocation is promised
#: within 5.
KEY_TTL_S = 3.0
#: How often the version is looked at.
VERSION_EVERY_S = 1.0
#: No key is believed longer than this, whatever the version says: someone may have changed it by hand.
KEY_MAX_TTL_S = 60.0
#: A key that is not known is asked for again after this.
UNKNOWN_TTL_S = 1.0
#: Forgotten all at once beyond this, so that made-up keys cannot fill the memory.
MAX_CACHED_KEYS = 50_000
#: Longer credentials are not looked at.
MAX_CREDENTIAL_BYTES = 512

#: Where a key may stand beside Authorization, in the order in which it is looked for.
KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal | None
    #: Whatever the version says.
    believed_until: float
    #: While the version says that nothing has changed.
    believed_at_most_until: float


class Identifier:
    """Finds the principal of a call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: By the header that showed the key, so that a key is hashed when it is looked up and not for each call.
        self._known: dict[bytes, _Known] = {}
        #: The version of all keys, and until when it is believed.
        self._version = ""
        self._version_until = 0.0

    async def watch(self) -> None:
        """Looks at the version of all keys for as long as it is let run."""
        while True:
            with contextlib.suppress(StoreUnavailable):  # What is known is believed until its time is over.
                await self.look_at_version()
            await asyncio.sleep(VERSION_EVERY_S)

    async def look_at_version(self) -> None:
        """Forgets all keys when any was created or revoked. Raises StoreUnavailable."""
        asked_at = time.monotonic()
        version = (await self._store.read_hash(Keys.API_KEYS)).get("version", "0")
        if version != self._version:
            self._version = version
            self._known.clear()
        self._version_until = asked_at + KEY_TTL_S

    async def identify(self, headers: dict[bytes, bytes], config: Config) -> Principal | None:
        """The caller, or None: no credential, or none that is valid. Raises StoreUnavailable."""
        trusted = config.trusted_header
        if trusted is not None and trusted.secret_header in headers:
            if not hmac.compare_digest(headers[trusted.secret_header], trusted.secret):
                return None
            try:
                account = headers.get(trusted.header, b"").decode()
            except UnicodeDecodeError:  # Read with replacements, two accounts of a Latin-1 backend would be one.
                return None
            return Principal(account) if is_account_id(account) else None
        shown = headers.get(b"authorization")
        if shown is None or shown[:7].lower() != b"bearer ":
            credential = next((headers[name] for name in KEY_HEADERS if name in headers), None)
            shown = credential and b"key " + credential
        else:
            credential = shown[7:].strip()
        if not shown or not credential or len(shown) > MAX_CREDENTIAL_BYTES:
            return None
        known, now = self._known.get(shown), time.monotonic()
        if known is None or not (
            now < known.believed_until or (now < self._version_until and now < known.believed_at_most_until)
        ):
            known = await self._look_up(shown, credential)
        return known.principal

    async def _look_up(self, shown: bytes, credential: bytes) -> _Known:
        fields = await self._store.read_hash(Keys.api_key(hashlib.sha256(credential).hexdigest()))
        now = time.monotonic()
        if fields.get("status") == "active":
            known = _Known(Principal(fields["account"], fields["prefix"]), now + KEY_TTL_S, now + KEY_MAX_TTL_S)
        else:
            known = _Known(None, now + UNKNOWN_TTL_S, now + KEY_MAX_TTL_S)
        if len(self._known) >= MAX_CACHED_KEYS:
            self._known.clear()
        self._known[shown] = known
        return known
