"""The address a call came from, as far as it can be believed.

Only `X-Forwarded-For` is read, and only from a trusted proxy. `Forwarded` says the same, but a proxy that writes the
one passes the other on as the client sent it: who reads both believes whoever forges the one that is not written.
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from gateway.config import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: A provider gives each customer at least this much of IPv6: all of it is one caller.
IPV6_PREFIX = 64
#: Addresses are read again and again; so many are remembered.
_REMEMBERED = 8192
#: An IPv6 address with its zone and brackets has at most this many characters; longer ones are not remembered.
_LONGEST = 80


def client_ip(scope: MutableMapping[str, Any], proxies: tuple[Network, ...]) -> str:
    """The caller's address: "203.0.113.7", "2001:db8:1:2::/64", or "" when the peer has none, as on a Unix socket.

    It is the peer's own, or, where that is a trusted proxy, the nearest one that was forwarded and is no trusted proxy
    itself: what stands further left was written by the client.
    """
    peer = _peer(scope)
    if peer is None:
        return ""
    if _is_trusted(peer, proxies):
        return _shown(_forwarded(scope, proxies) or peer)
    return _shown(peer)


def is_from_trusted_proxy(scope: MutableMapping[str, Any], proxies: tuple[Network, ...]) -> bool:
    peer = _peer(scope)
    return peer is not None and _is_trusted(peer, proxies)


def _peer(scope: MutableMapping[str, Any]) -> Address | None:
    client = scope.get("client")
    return _address(client[0]) if client else None


def _forwarded(scope: MutableMapping[str, Any], proxies: tuple[Network, ...]) -> Address | None:
    """The nearest forwarded address that is no trusted proxy, else the furthest; None when one cannot be read."""
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    hops = b",".join(lines).decode("latin-1").split(",")
    address = None
    for hop in reversed(hops):
        address = _address(_without_port(hop.strip()))
        if address is None or not _is_trusted(address, proxies):
            return address
    return address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> Address | None:
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(_REMEMBERED)
def _read(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # On a socket that serves both, IPv4 callers come as ::ffff:203.0.113.7.
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(_REMEMBERED)
def _is_trusted(address: Address, proxies: tuple[Network, ...]) -> bool:
    return any(address in network for network in proxies)


@lru_cache(_REMEMBERED)
def _shown(address: Address) -> str:
    if address.version == 4:
        return str(address)
    # By number: an address of one link carries a zone, which a network has not.
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
