"""`[identity]`: who calls."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool

from gateway.config.shapes.common import HeaderName, Shape

#: Those whose key is a secret, with the bytes that it must have.
SECRET_ALGORITHMS = {"HS256": 32, "HS384": 48, "HS512": 64}
_ALGORITHMS = (
    *SECRET_ALGORITHMS, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip


def _secret(secret: str) -> str:
    if secret and len(secret.encode()) < SECRET_ALGORITHMS["HS256"]:
        raise ValueError("too short")
    return secret


def _jwks_url(url: str) -> str:
    parts = urlsplit(url)  # Like `port`, it raises ValueError for what no one could connect to.
    if not url:
        return url
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise ValueError("not https")
    if not parts.hostname or parts.port == 0 or "@" in parts.netloc or parts.fragment:
        raise ValueError("not an address alone")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("not a URL")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _jwks_file(path: str) -> str:
    if path:
        try:
            found = json.loads(Path(path).read_bytes())
        except (OSError, RecursionError):
            raise ValueError("unreadable") from None
        if not isinstance(found, dict) or not isinstance(found.get("keys"), list):
            raise ValueError("no key set")
    return path


def _audience(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("no audience")
    return value


_Claim = Annotated[str, Field(max_length=200, description='a claim or a dotted path to one, such as "sub"')]


class TrustedHeaderShape(Shape):
    header: HeaderName = "X-User-Id"
    secret_header: HeaderName = "X-Gateway-Secret"  # noqa: S105  a name, not a secret
    secret: Annotated[
        str, Field(pattern=r"^$|^.{16,}$", description="at least 16 characters from the environment, or empty: off")
    ] = ""
    trust_proxies: Annotated[StrictBool, Field(description="true or false")] = False
    tier_header: HeaderName | None = None
    team_header: HeaderName | None = None
    organisation_header: HeaderName | None = None


class ClaimsShape(Shape):
    account: Annotated[str, Field(min_length=1, max_length=200, description='a claim or a dotted path, "sub"')] = "sub"
    tier: _Claim = ""
    team: _Claim = ""
    organisation: _Claim = ""
    scopes: _Claim = ""


class JwtShape(Shape):
    issuer: Annotated[str, Field(min_length=1, max_length=500, description="the tokens' iss, 1-500 characters")]
    audience: Annotated[
        str | list[str],
        BeforeValidator(_audience),
        Field(description="the tokens' aud, a text or a list of texts; []: they name none"),
    ]
    algorithms: Annotated[
        list[Annotated[Literal[_ALGORITHMS], Field(description=f"one of {', '.join(_ALGORITHMS)}")]],  # type: ignore[valid-type]
        Field(min_length=1, description="a list of algorithms"),
    ]
    secret: (
        Annotated[
            str,
            AfterValidator(_secret),
            Field(description="at least 32 bytes from the environment, or empty: this issuer is off"),
        ]
        | None
    ) = None
    jwks_url: (
        Annotated[
            str,
            AfterValidator(_jwks_url),
            Field(description="https:// (http:// on this machine only) and an address, or empty: this issuer is off"),
        ]
        | None
    ) = None
    jwks_file: (
        Annotated[
            str,
            AfterValidator(_jwks_file),
            Field(description="the path of a JSON Web Key Set, or empty: this issuer is off"),
        ]
        | None
    ) = None
    leeway_s: Annotated[float, Field(ge=0, le=300, strict=True, description="seconds, 0 to 300")] = 0.0
    claims: ClaimsShape = ClaimsShape()


class AnonymousShape(Shape):
    tier: Annotated[str, Field(description="the name of a tier of this file")]


class IdentityShape(Shape):
    trusted_header: TrustedHeaderShape | None = None
    jwt: list[JwtShape] = []
    anonymous: AnonymousShape | None = None
