"""How keys are made: a public prefix, then a secret of 190 random bits. Only the SHA-256 of the whole is stored."""

from __future__ import annotations

import hashlib
import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
#: Characters of a key's public prefix after its word, and of its secret.
PREFIX_SECRET = 8
_SECRET = 32


def new_key(word: str) -> tuple[str, str]:
    """A prefix and a whole key that begin with `word`, such as "qg_"."""
    prefix = word + _random(PREFIX_SECRET)
    return prefix, new_secret(prefix)


def new_secret(prefix: str) -> str:
    """A whole key of this prefix."""
    return prefix + _random(_SECRET)


def digest(key: str) -> str:
    """What is stored of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
