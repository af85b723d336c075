"""The keys that tokens are verified with: a shared secret, a JSON Web Key Set in a file, or one at a URL.

A token only ever names its key by its id: `jku`, `x5u` and `jwk`, by which it would bring its own, are not read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any, Protocol

import jwt

log = logging.getLogger("quotagate.identity")
# Its lines carry whole addresses, and some issuers put a key into theirs.
logging.getLogger("httpx2").setLevel(logging.WARNING)

#: How often a key set at a URL is fetched, whoever calls.
REFRESH_S = 300.0
#: It is not fetched more often than this, however many tokens name a key that it has not.
FETCH_EVERY_S = 5.0
#: A fetch that takes longer, or brings more, is given up.
FETCH_TIMEOUT_S = 5.0
MAX_KEY_SET_BYTES = 256 * 1024

#: Type and curve of the keys that an algorithm takes. Secrets have no place in a key set.
_KINDS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


class KeysUnavailable(Exception):
    """Raised when no keys are known yet, so that nothing can be said of a token."""


class KeySource(Protocol):
    """Where the keys of one issuer come from."""

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | bytes | None:
        """The key a token names, or the only one of its algorithm when it names none. Raises KeysUnavailable."""

    def refresh(self) -> None:
        """Has the keys looked at again, if it is time. Does not wait."""

    def close(self) -> None:
        """Ends what is under way."""


class SecretKey:
    """A secret shared with the issuer."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    async def find(self, key_id: str | None, algorithm: str) -> bytes:
        return self._secret

    def refresh(self) -> None:
        """A secret changes with the config."""

    def close(self) -> None:
        """Nothing is under way."""


class KeySet:
    """Keys by their ids and algorithms. Each verifies by the algorithm it was found by, and no other."""

    def __init__(self, keys: dict[tuple[str | None, str], jwt.PyJWK]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        candidates = [key for (_, its_algorithm), key in self._keys.items() if its_algorithm == algorithm]
        return candidates[0] if len(candidates) == 1 else None


def read_key_set(text: bytes, algorithms: tuple[str, ...]) -> KeySet:
    """The keys of a JSON Web Key Set for these algorithms. Raises ValueError when there is none."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("it is no JSON Web Key Set")
    found = KeySet({
        (key.get("kid"), algorithm): jwk
        for key in document["keys"]
        if _is_for_verifying(key)
        for algorithm in algorithms
        if (jwk := _as(algorithm, key)) is not None
    })  # fmt: skip
    if not found:
        raise ValueError(f"it has no key for {', '.join(algorithms)}")
    return found


def _is_for_verifying(key: Any) -> bool:
    return (
        isinstance(key, dict)
        and isinstance(key.get("kid"), str | None)
        and key.get("use", "sig") == "sig"
        and key.get("key_ops", ["verify"]) == ["verify"]
    )


def _as(algorithm: str, key: dict[str, Any]) -> jwt.PyJWK | None:
    """A key for one algorithm; None when it, or its kind, is for another, or it is not whole."""
    kind = _KINDS.get(algorithm)
    if (key.get("kty"), key.get("crv")) != kind or key.get("alg", algorithm) != algorithm:
        return None
    try:
        return jwt.PyJWK(key, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


class FileKeys:
    """A key set in a file, read again when that changes. One that cannot be read leaves the last one in force."""

    def __init__(self, issuer: str, path: Path, algorithms: tuple[str, ...]) -> None:
        self._issuer = issuer
        self._path = path
        self._algorithms = algorithms
        self._keys = KeySet({})
        #: What the file looked like when it was read last; (): it was not read yet.
        self._seen: tuple[int, ...] | None = ()
        self.refresh()

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        key = self._keys.find(key_id, algorithm)
        if key is None:
            self.refresh()
            key = self._keys.find(key_id, algorithm)
        if not self._keys:
            raise KeysUnavailable
        return key

    def refresh(self) -> None:
        seen = _fingerprint(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = read_key_set(self._path.read_bytes(), self._algorithms)
        except (OSError, ValueError) as error:
            log.warning("the keys of %s cannot be read from %s: %s", self._issuer, self._path, error)

    def close(self) -> None:
        """Nothing is under way."""


class RemoteKeys:
    """A key set at a URL. While that is down, the keys that it had stay in force."""

    def __init__(self, issuer: str, url: str, algorithms: tuple[str, ...]) -> None:
        self._issuer = issuer
        self._url = url
        self._algorithms = algorithms
        self._keys = KeySet({})
        self._refresh_at = 0.0
        self._fetch_not_before = 0.0
        self._fetching: asyncio.Task[None] | None = None
        #: It is told once when fetching begins to fail, and once when it succeeds again.
        self._is_failing = False

    async def find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        key = self._keys.find(key_id, algorithm)
        if key is None and (fetch := self._fetch()) is not None:
            # Shielded: others wait for it too, and this caller may leave.
            await asyncio.shield(fetch)
            key = self._keys.find(key_id, algorithm)
        if not self._keys:
            raise KeysUnavailable
        return key

    def refresh(self) -> None:
        if time.monotonic() >= self._refresh_at:
            self._fetch()

    def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()

    def _fetch(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or a new one; None so soon after the last."""
        now = time.monotonic()
        if self._fetching is None and now >= self._fetch_not_before:
            self._fetch_not_before = now + FETCH_EVERY_S
            self._fetching = asyncio.create_task(self._fetch_once(), name="quotagate-jwks")
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            self._keys = read_key_set(await _get(self._url), self._algorithms)
            self._refresh_at = time.monotonic() + REFRESH_S
            if self._is_failing:
                log.info("the keys of %s are fetched again", self._issuer)
            self._is_failing = False
        except (OSError, ValueError) as error:
            if not self._is_failing:
                log.warning("the keys of %s cannot be fetched: %s", self._issuer, str(error) or type(error).__name__)
            self._is_failing = True
        finally:
            self._fetching = None


async def _get(url: str) -> bytes:
    """The body of an answer. Neither its size nor its time is left to the other side, nor where it comes from.

    Raises OSError, of which a timeout is one, or ValueError for an answer that is no key set.
    """
    import httpx2  # Here: most gateways never fetch a key, and it takes memory.

    trust = await asyncio.to_thread(ssl.create_default_context)
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT_S),
            httpx2.AsyncClient(verify=trust, trust_env=False, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"the answer has status {answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MAX_KEY_SET_BYTES:
                    raise ValueError(f"the answer has more than {MAX_KEY_SET_BYTES} bytes")
            return bytes(body)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise OSError(str(error) or type(error).__name__) from error


def _fingerprint(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
