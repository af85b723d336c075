"""The headers of a backend that knows its users: believed by a shared secret, or from a trusted proxy."""

from __future__ import annotations

import hmac
from collections.abc import MutableMapping
from typing import Any

from gateway.config import Network, TrustedHeader
from gateway.domain.principal import Principal, is_account_id, is_named
from gateway.proxy.client_ip import is_from_trusted_proxy
from gateway.proxy.identity.refusals import UNAUTHENTICATED
from gateway.proxy.refusals import CallRefused


def principal_from_headers(
    scope: MutableMapping[str, Any],
    headers: dict[bytes, bytes],
    trusted: TrustedHeader,
    proxies: tuple[Network, ...],
) -> Principal | None:
    """Whom a backend names; None when no backend speaks.

    Raises CallRefused for a wrong secret, and for a name that cannot be one.
    """
    if trusted.secret_header in headers and trusted.secret:
        if not hmac.compare_digest(headers[trusted.secret_header], trusted.secret):
            raise CallRefused(UNAUTHENTICATED)
    elif not (trusted.trust_proxies and trusted.header in headers and is_from_trusted_proxy(scope, proxies)):
        return None
    account = _name(headers, trusted.header)
    if not is_named(account):
        raise CallRefused(UNAUTHENTICATED)
    return Principal(
        account,
        tier=_name(headers, trusted.tier_header),
        team=_name(headers, trusted.team_header),
        organisation=_name(headers, trusted.organisation_header),
    )


def _name(headers: dict[bytes, bytes], header: bytes) -> str:
    """What a header names; "" when it is not there, or empty."""
    try:
        name = headers.get(header, b"").decode()
    except UnicodeDecodeError:  # Read with replacements, two accounts of a Latin-1 backend would be one.
        raise CallRefused(UNAUTHENTICATED) from None
    if name and not is_account_id(name):
        raise CallRefused(UNAUTHENTICATED)
    return name
