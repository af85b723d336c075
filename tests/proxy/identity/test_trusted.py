"""The headers of a backend: the rule itself, whoever asks."""

from __future__ import annotations

import pytest

from gateway.config import TrustedHeader
from gateway.config.identity import build_proxies
from gateway.domain.principal import Principal
from gateway.proxy.identity.trusted import principal_from_headers

PROXIES = build_proxies(["10.0.0.0/8"])


@pytest.mark.parametrize(("trust_proxies", "found"), [(True, Principal("bob")), (False, None)])
def test_a_proxy_is_believed_without_the_secret_only_where_the_config_says_so(
    trust_proxies: bool, found: Principal | None
) -> None:
    trusted = TrustedHeader(b"x-user-id", b"x-gateway-secret", b"s" * 16, trust_proxies)

    assert principal_from_headers({"client": ("10.0.0.1", 1)}, {b"x-user-id": b"bob"}, trusted, PROXIES) == found
