"""The caller's address: never what a client can write for itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.identity import build_proxies
from gateway.domain.principal import is_account_id
from gateway.proxy.client_ip import client_ip

PROXIES = build_proxies(["10.0.0.0/8", "192.0.2.10", "2001:db8:ffff::/48"])


def address_of(peer: str | None, *forwarded: str | bytes, header: bytes = b"x-forwarded-for") -> str:
    lines = [line.encode() if isinstance(line, str) else line for line in forwarded]
    scope: dict[str, Any] = {"client": peer and (peer, 5000), "headers": [(header, line) for line in lines]}
    return client_ip(scope, PROXIES)


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002:FFFF::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        (None, ""),
        ("", ""),
        ("testclient", ""),
        ("/run/quotagate.sock", ""),
        ("x" * 10_000, ""),
    ],
)
def test_a_peer_is_known_by_its_address_and_ipv6_by_the_network_of_one_customer(peer: str | None, shown: str) -> None:
    assert address_of(peer) == shown


@pytest.mark.parametrize("peer", ["203.0.113.7", "11.0.0.1", "192.0.2.11", "2001:db8:fffe::1", None])
def test_who_is_no_trusted_proxy_forwards_nothing(peer: str | None) -> None:
    assert address_of(peer, "198.51.100.1") == address_of(peer)


@pytest.mark.parametrize(
    ("forwarded", "shown"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1,198.51.100.1 , 10.2.3.4"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1, 10.2.3.4, 192.0.2.10, 2001:db8:ffff::9"], "198.51.100.1"),
        (["1.1.1.1", "198.51.100.1", "10.2.3.4"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["[2001:db8:1:2::9]:4711"], "2001:db8:1:2::/64"),
        (["[2001:db8:1:2::9]"], "2001:db8:1:2::/64"),
        (["2001:db8:1:2::9"], "2001:db8:1:2::/64"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        # All are proxies: a caller among them.
        (["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
        # What cannot be read says nothing, and nothing beyond it does.
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["198.51.100.1, "], "10.0.0.1"),
        (["198.51.100.1, _hidden"], "10.0.0.1"),
        (["198.51.100.1, garbage, 10.2.3.4"], "10.0.0.1"),
        (["198.51.100.256"], "10.0.0.1"),
        (["198.51.100.01"], "10.0.0.1"),
        (["[198.51.100.1"], "198.51.100.1"),
        ([b"198.51.100.\xff"], "10.0.0.1"),
        (["1" * 100_000], "10.0.0.1"),
    ],
    ids=str,
)
def test_the_nearest_address_that_is_no_proxy_of_ours_counts(forwarded: list[str], shown: str) -> None:
    assert address_of("10.0.0.1", *forwarded) == shown


def test_a_proxy_that_forwards_nothing_is_the_caller() -> None:
    assert address_of("10.0.0.1") == "10.0.0.1"


def test_forwarded_is_not_read() -> None:
    """A proxy that writes X-Forwarded-For passes it on as the client wrote it."""
    assert address_of("10.0.0.1", "for=198.51.100.1", header=b"forwarded") == "10.0.0.1"


@given(st.lists(st.binary(max_size=60), max_size=4), st.sampled_from(["10.0.0.1", "203.0.113.7", "2001:db8:ffff::1"]))
def test_whatever_is_forwarded_the_address_is_one(forwarded: list[bytes], peer: str) -> None:
    assert is_account_id("ip:" + address_of(peer, *forwarded))
    assert "/" not in address_of(peer, *forwarded).removesuffix("/64")
