"""Builds who is believed, and by what, from its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from gateway.config.faults import one_of
from gateway.config.shapes.identity import SECRET_ALGORITHMS, AnonymousShape, JwtShape, TrustedHeaderShape

#: Addresses that a proxy of one's own may have.
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TrustedHeader:
    """How a backend that knows its users names them. Header names in lower case."""

    header: bytes
    secret_header: bytes
    #: b"": no secret is believed, only proxies are.
    secret: bytes = field(repr=False)
    #: A trusted proxy is believed without the secret.
    trust_proxies: bool = False
    #: What else it says of the account; b"": nothing.
    tier_header: bytes = b""
    team_header: bytes = b""
    organisation_header: bytes = b""

    @property
    def names(self) -> tuple[bytes, ...]:
        """The headers that are read, each of which may stand only once."""
        optional = (self.tier_header, self.team_header, self.organisation_header)
        return (self.header, self.secret_header, *(name for name in optional if name))


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where a token says what, each a claim or a dotted path; "": it does not say."""

    account: str = "sub"
    tier: str = ""
    team: str = ""
    organisation: str = ""
    scopes: str = ""


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """Who signs tokens, and how they are checked. One of `secret`, `jwks_url` and `jwks_file` is set."""

    issuer: str
    #: One of these must stand in the token; (): the token must name none.
    audience: tuple[str, ...]
    algorithms: tuple[str, ...]
    claims: ClaimNames = field(default_factory=ClaimNames)
    leeway_s: float = 0.0
    secret: bytes = field(default=b"", repr=False)
    jwks_url: str = field(default="", repr=False)
    jwks_file: Path | None = None


def build_trusted_header(
    shape: TrustedHeaderShape | None, proxies: tuple[Network, ...], faults: list[str]
) -> TrustedHeader | None:
    """None: nobody is believed by a header."""
    if shape is None:
        return None
    if shape.trust_proxies and not proxies:
        faults.append("identity.trusted_header.trust_proxies: gateway.trusted_proxies names none")
    if not shape.secret and not shape.trust_proxies:
        return None
    return TrustedHeader(
        header=_header(shape.header),
        secret_header=_header(shape.secret_header),
        secret=shape.secret.encode(),
        trust_proxies=shape.trust_proxies,
        tier_header=_header(shape.tier_header),
        team_header=_header(shape.team_header),
        organisation_header=_header(shape.organisation_header),
    )


def build_jwt_issuers(shapes: list[JwtShape], faults: list[str]) -> tuple[JwtIssuer, ...]:
    """Those whose secret or address is set."""
    issuers = [_issuer(f"identity.jwt[{n}]", shape, faults) for n, shape in enumerate(shapes)]
    for n, shape in enumerate(shapes):
        if shape.issuer in (earlier.issuer for earlier in shapes[:n]):
            faults.append(f"identity.jwt[{n}].issuer: another table has the same; a token would belong to both")
    return tuple(issuer for issuer in issuers if issuer is not None)


def build_anonymous_tier(shape: AnonymousShape | None, tiers: Mapping[str, Any], faults: list[str]) -> str:
    """The tier of callers who show nothing; "": they are refused."""
    if shape is None:
        return ""
    if shape.tier not in tiers:
        faults.append(f'identity.anonymous.tier = "{shape.tier}": {one_of(tiers, "a tier")}')
    return shape.tier


def build_proxies(networks: list[str]) -> tuple[Network, ...]:
    return tuple(ip_network(network) for network in networks)


def _issuer(where: str, shape: JwtShape, faults: list[str]) -> JwtIssuer | None:
    given = [way for way in (shape.secret, shape.jwks_url, shape.jwks_file) if way is not None]
    if len(given) != 1:
        faults.append(f"{where}: says one of secret, jwks_url and jwks_file")
        return None
    by_secret = shape.secret is not None
    for algorithm in shape.algorithms:
        if (algorithm in SECRET_ALGORITHMS) != by_secret:
            source = "a secret" if by_secret else "a key set"
            faults.append(f"{where}.algorithms: {algorithm} is not verified with {source}")
    needed = max((SECRET_ALGORITHMS.get(algorithm, 0) for algorithm in shape.algorithms), default=0)
    secret = (shape.secret or "").encode()
    if secret and len(secret) < needed:
        faults.append(f"{where}.secret: must have at least {needed} bytes for {', '.join(shape.algorithms)}")
    if not given[0]:  # The variable of the environment is not set.
        return None
    audience = [shape.audience] if isinstance(shape.audience, str) else shape.audience
    return JwtIssuer(
        issuer=shape.issuer,
        audience=tuple(audience),
        algorithms=tuple(shape.algorithms),
        claims=ClaimNames(**shape.claims.model_dump()),
        leeway_s=shape.leeway_s,
        secret=secret,
        jwks_url=shape.jwks_url or "",
        jwks_file=Path(shape.jwks_file) if shape.jwks_file else None,
    )


def _header(name: str | None) -> bytes:
    return (name or "").lower().encode()
