"""Issuers of tokens for tests: keys of each kind, what they sign, and the sets they publish."""

from __future__ import annotations

import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.com/"
AUDIENCE = "quotagate"
SECRET = "s" * 64


@cache
def private_key(name: str) -> Any:
    """A key of its own for each name: "rsa-1", "ec-1", "ed-1"."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=1024 if "short" in name else 2048)
    if name.startswith("ec"):
        return ec.generate_private_key(ec.SECP384R1() if "384" in name else ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(name: str) -> bytes:
    pem: bytes = private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def jwk(name: str, **change: Any) -> dict[str, Any]:
    """A public key as it stands in a key set, under its name. A change to None leaves that out."""
    algorithm: Any = {"rs": RSAAlgorithm, "ec": ECAlgorithm}.get(name[:2], OKPAlgorithm)
    key = json.loads(algorithm.to_jwk(private_key(name).public_key())) | {"kid": name} | change
    return {field: value for field, value in key.items() if value is not None}


def key_set(*keys: str | dict[str, Any]) -> bytes:
    return json.dumps({"keys": [jwk(key) if isinstance(key, str) else key for key in keys]}).encode()


def claims(**change: Any) -> dict[str, Any]:
    """Those of a good token. A change to None leaves one out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600} | change
    return {name: value for name, value in said.items() if value is not None}


def token(
    key: str = "rsa-1", algorithm: str = "RS256", *, header: dict[str, Any] | None = None, **change: Any
) -> bytes:
    """A token that `key` signs, naming it as its own."""
    named = {"kid": key} | (header or {})
    headers = {name: value for name, value in named.items() if value is not None}
    return jwt.encode(claims(**change), private_key(key), algorithm, headers=headers).encode()


def secret_token(secret: str = SECRET, algorithm: str = "HS256", **change: Any) -> bytes:
    return jwt.encode(claims(**change), secret, algorithm).encode()
