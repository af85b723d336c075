"""JSON Web Tokens of configured issuers.

Imported when the first one is shown: cryptography takes time and memory that a gateway without issuers need not spend.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import jwt

from gateway.config import JwtIssuer
from gateway.domain.principal import Principal
from gateway.proxy.identity.claims import principal_of
from gateway.proxy.identity.credential import text_of
from gateway.proxy.identity.key_sets import FileKeys, KeySource, KeysUnavailable, RemoteKeys, SecretKey
from gateway.proxy.identity.refusals import KEYS_UNAVAILABLE, UNAUTHENTICATED
from gateway.proxy.refusals import CallRefused

log = logging.getLogger("quotagate.identity")

#: A verified token is believed so long without another look, and never past its end.
TOKEN_TTL_S = 60.0
#: Forgotten all at once beyond this.
MAX_CACHED_TOKENS = 50_000
#: Longer ones are not looked at.
MAX_TOKEN_BYTES = 8192


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    believed_until: float


class Tokens:
    """Finds the principals of the tokens of some issuers."""

    def __init__(self, issuers: tuple[JwtIssuer, ...]) -> None:
        self.issuers = issuers
        self._verifiers = {issuer.issuer: _Verifier(issuer) for issuer in issuers}
        #: By the SHA-256 of what showed the token: no credential is kept.
        self._known: dict[bytes, _Known] = {}

    async def find(self, shown: bytes) -> Principal:
        """Whose token it is. Raises CallRefused."""
        if len(shown) > MAX_TOKEN_BYTES:
            raise CallRefused(UNAUTHENTICATED)
        digest = hashlib.sha256(shown).digest()
        known = self._known.get(digest)
        if known is None or time.monotonic() >= known.believed_until:
            known = await self._verify(text_of(shown))
            if len(self._known) >= MAX_CACHED_TOKENS:
                self._known.clear()
            self._known[digest] = known
        return known.principal

    def refresh_keys(self) -> None:
        """Has keys fetched or read again whose time it is."""
        for verifier in self._verifiers.values():
            verifier.keys.refresh()

    def close(self) -> None:
        for verifier in self._verifiers.values():
            verifier.keys.close()

    async def _verify(self, token: bytes) -> _Known:
        try:
            # What it says before it is verified decides only who has to verify it.
            said = jwt.decode_complete(token, options={"verify_signature": False})
            issuer = said["payload"].get("iss")
            verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
            if verifier is None:
                raise jwt.InvalidIssuerError
            claims = await verifier.verify(token, said["header"])
        except jwt.PyJWTError as error:
            log.debug("a token is not believed: %s", type(error).__name__)
            raise CallRefused(UNAUTHENTICATED) from None
        except KeysUnavailable:
            raise CallRefused(KEYS_UNAVAILABLE) from None
        now_s = time.time()
        lasts_s = min(int(claims["exp"]), now_s + TOKEN_TTL_S) - now_s
        return _Known(principal_of(claims, verifier.issuer.claims), time.monotonic() + lasts_s)


class _Verifier:
    """Checks the tokens of one issuer."""

    def __init__(self, issuer: JwtIssuer) -> None:
        self.issuer = issuer
        self.keys = _key_source(issuer)

    async def verify(self, token: bytes, header: dict[str, Any]) -> dict[str, Any]:
        """The claims of a token. Raises PyJWTError when it is not valid, and KeysUnavailable."""
        issuer = self.issuer
        if header.get("alg") not in issuer.algorithms:
            raise jwt.InvalidAlgorithmError
        if "crit" in header:  # It demands what no token needs here.
            raise jwt.InvalidTokenError
        key = await self.keys.find(header.get("kid"), header["alg"])
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            key,
            algorithms=issuer.algorithms,
            audience=issuer.audience or None,
            issuer=issuer.issuer,
            leeway=issuer.leeway_s,
            options={"require": ["exp", "iss"], "enforce_minimum_key_length": True},
        )


def _key_source(issuer: JwtIssuer) -> KeySource:
    if issuer.jwks_url:
        return RemoteKeys(issuer.issuer, issuer.jwks_url, issuer.algorithms)
    if issuer.jwks_file is not None:
        return FileKeys(issuer.issuer, issuer.jwks_file, issuer.algorithms)
    return SecretKey(issuer.secret)
