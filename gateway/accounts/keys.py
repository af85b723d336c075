"""How keys are made: a public prefix, then a secret of 190 random bits. Only the SHA-256 of the whole is stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import string

_ALPHABET = string.ascii_letters + string.digits
#: Characters of a key's public prefix after its word, and of its secret.
PREFIX_SECRET = 8
_SECRET = 32
_WHOLE_KEY = re.compile(rf"\b((?:qg[a-z]*|lic)_[A-Za-z0-9]{{{PREFIX_SECRET}}})[A-Za-z0-9]{{{_SECRET}}}\b")


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


def shortened(text: str) -> str:
    """A text in which every whole key is its public prefix."""
    return _WHOLE_KEY.sub(r"\1…", text)


def expanded(text: str, source: str) -> str:
    """The other way round, for the keys that stand whole in `source`."""
    for found in _WHOLE_KEY.finditer(source):
        text = text.replace(f"{found[1]}…", found[0])
    return text


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
