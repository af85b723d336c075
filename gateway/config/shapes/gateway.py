"""`[gateway]` and `[store]`: the process and what it stands on."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictInt

from gateway.config.shapes.common import Hour, Seconds, Shape, Zone


def _listen(address: str) -> str:
    _, _, port = address.rpartition(":")
    if not port.isdigit() or int(port) > 65535 or ":" not in address:
        raise ValueError("no port")
    return address


def _redis_url(url: str) -> str:
    if url:
        from redis.connection import parse_url  # Here: a config without a server needs no Redis client to be read.

        # Both raise ValueError for what no one could connect to.
        address = parse_url(url)  # type: ignore[no-untyped-call]
        if urlsplit(url).port == 0 or (url.startswith("unix:") and "path" not in address):
            raise ValueError("nowhere")
    return url


def _network(network: str) -> str:
    ip_network(network)
    return network


class GatewayShape(Shape):
    listen: Annotated[str, AfterValidator(_listen), Field(description='an address and a port, "127.0.0.1:8000"')] = (
        "127.0.0.1:8000"
    )
    timezone: Zone = "UTC"
    reset_hour: Hour = 0
    default_tier: Annotated[str, Field(description="the name of a tier of this file")]
    unit: Annotated[str, Field(min_length=1, max_length=32, description="1-32 characters")] = "token"
    decimals: Annotated[StrictInt, Field(ge=0, le=15, description="a whole number from 0 to 15")] = 0
    max_request_bytes: Annotated[
        StrictInt, Field(ge=1024, le=2**31, description="a whole number of bytes from 1024 to 2147483648")
    ] = 20 * 2**20
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 60.0
    exhausted_status: Annotated[Literal[429, 402], Field(description="429 or 402")] = 429
    trusted_proxies: list[
        Annotated[
            str, AfterValidator(_network), Field(description='an address or a network such as "10.0.0.0/8", exactly')
        ]
    ] = []


class StoreShape(Shape):
    redis_url: Annotated[
        str,
        AfterValidator(_redis_url),
        Field(
            pattern=r"^$|^(redis|rediss|unix)://", description="redis://, rediss:// or unix:// and an address, or empty"
        ),
    ] = ""
    database_url: Annotated[
        str,
        Field(
            pattern=r"^$|^(postgresql|postgres|sqlite)(\+\w+)?://", description="postgresql:// or sqlite://, or empty"
        ),
    ] = ""
    partitions: Annotated[StrictInt, Field(ge=1, le=100, description="a whole number from 1 to 100")] = 1
    deadline_s: Annotated[float, Field(ge=0.1, le=60, strict=True, description="seconds, 0.1 to 60")] = 2.0
    lease_s: Annotated[float, Field(ge=1, le=3600, strict=True, description="seconds, 1 to 3600")] = 60.0
    remember_s: Annotated[StrictInt, Field(ge=60, le=30 * 86_400, description="whole seconds, 60 to 2592000")] = 172_800
