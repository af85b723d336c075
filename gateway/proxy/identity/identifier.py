"""Asks each way of knowing a caller in turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from gateway.config import Config, JwtIssuer
from gateway.domain.errors import StoreUnavailable
from gateway.domain.principal import ANONYMOUS, Principal
from gateway.proxy.client_ip import client_ip
from gateway.proxy.identity.api_keys import ApiKeys
from gateway.proxy.identity.credential import shown_in
from gateway.proxy.identity.refusals import UNAUTHENTICATED, UNKNOWN_TIER
from gateway.proxy.identity.trusted import principal_from_headers
from gateway.proxy.refusals import CallRefused
from gateway.store.keys import Keys
from gateway.store.link import Store

if TYPE_CHECKING:
    from gateway.proxy.identity.tokens import Tokens

log = logging.getLogger("quotagate.identity")

#: How often the version of all keys is looked at, and what else waits for its time.
WATCH_EVERY_S = 1.0
#: So many names of unknown tiers are told; more than that, and all are told again.
_MAX_TOLD = 1000


class Identifier:
    """Finds the principal of a call."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self.api_keys = ApiKeys(store, keys)
        self._tokens: Tokens | None = None
        #: Tiers that the operator has been told of.
        self._told: set[str] = set()

    async def watch(self) -> None:
        """Does what is due beside the calls, for as long as it is let run."""
        try:
            while True:
                with contextlib.suppress(StoreUnavailable):  # What is known is believed until its time is over.
                    await self.api_keys.look_at_version()
                    await self.api_keys.write_last_used()
                if self._tokens is not None:
                    self._tokens.refresh_keys()
                await asyncio.sleep(WATCH_EVERY_S)
        finally:
            if self._tokens is not None:
                self._tokens.close()

    async def identify(self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], config: Config) -> Principal:
        """The caller. Raises CallRefused for one that is not believed, and StoreUnavailable; StoreUnready for a
        key that Redis may have lost."""
        principal = None
        trusted = config.trusted_header
        if trusted is not None and (trusted.secret_header in headers or trusted.trust_proxies):
            principal = principal_from_headers(scope, headers, trusted, config.trusted_proxies)
        if principal is None:
            shown = shown_in(headers)
            if not shown:
                principal = _anonymous(scope, config)
            elif config.jwt_issuers and shown.count(b".") == 2:
                principal = await self._tokens_of(config.jwt_issuers).find(shown)
            else:
                known = self.api_keys.believed(shown) or await self.api_keys.look_up(shown)
                principal = known.principal
        if principal is None:
            raise CallRefused(UNAUTHENTICATED)
        if principal.tier and principal.tier not in config.tiers:
            self._tell_unknown_tier(principal.tier, config)
            raise CallRefused(UNKNOWN_TIER)
        return principal

    def _tokens_of(self, issuers: tuple[JwtIssuer, ...]) -> Tokens:
        """What checks the tokens of these issuers. When the config names others, nothing of before is believed."""
        if self._tokens is None or self._tokens.issuers != issuers:
            from gateway.proxy.identity.tokens import Tokens

            self._tokens = Tokens(issuers)
        return self._tokens

    def _tell_unknown_tier(self, tier: str, config: Config) -> None:
        if tier in self._told:
            return
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told.add(tier)
        known = ", ".join(sorted(config.tiers))
        log.error("calls are refused: a credential names the tier %r, and %s has %s", tier, config.source, known)


def _anonymous(scope: MutableMapping[str, Any], config: Config) -> Principal | None:
    """Who shows nothing is known by the address, where the config lets such callers in."""
    if not config.anonymous_tier:
        return None
    address = client_ip(scope, config.trusted_proxies) or "unknown"
    return Principal(ANONYMOUS + address, tier=config.anonymous_tier)
