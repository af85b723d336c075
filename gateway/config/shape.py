"""The shape of `config.toml`: tables, types and ranges. Each field's description says what may stand there."""

from __future__ import annotations

import re
import ssl
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from gateway.domain.route import DIALECTS
from gateway.domain.tier import MAX_UNITS

#: It is part of holds and of ledger rows.
MAX_PATH_LENGTH = 200
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfo raises IsADirectoryError for "Asia"
        raise ValueError("no such time zone") from None
    return name


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


def _route_path(path: str) -> str:
    if (
        len(path) > MAX_PATH_LENGTH
        or not path.startswith("/")
        or "//" in path
        or ".." in path
        or "*" in path.removesuffix("/*")
        or "?" in path
    ):
        raise ValueError("not a path")
    return path


def _base_url(url: str) -> str:
    parts = urlsplit(url)  # Like `port`, it raises ValueError for what no one could connect to.
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
        raise ValueError("not a URL of HTTP")
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise ValueError("more than a host and a path")
    return url


def _ca_file(path: str) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise ValueError("no certificates") from None
    return path


def _price(value: Any) -> int | str:
    if value == "tokens":
        return "tokens"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_UNITS:
        raise ValueError("not a price")
    return value


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError("not a header name")
    return name


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("not a header value")
    return value


_UNITS_MAY = f"a whole number of units from 0 to {MAX_UNITS}"
Units = Annotated[StrictInt, Field(ge=0, le=MAX_UNITS, description=_UNITS_MAY)]
PerMillion = Annotated[
    StrictInt, Field(ge=0, le=10**15, description="a whole number of units per million tokens, 0 or more")
]
Seconds = Annotated[float, Field(gt=0, le=86_400, strict=True, description="seconds, more than 0 and at most 86400")]
Zone = Annotated[str, AfterValidator(_zone), Field(description='an IANA time zone such as "Asia/Jakarta"')]
PriceOf = Annotated[
    int | str, BeforeValidator(_price), Field(description='a whole number of units, 0 for free, or "tokens"')
]
HeaderName = Annotated[str, AfterValidator(_header_name), Field(description="the name of an HTTP header")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="1-64 letters, digits, _ . or -")]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewayShape(Shape):
    listen: Annotated[str, AfterValidator(_listen), Field(description='an address and a port, "127.0.0.1:8000"')] = (
        "127.0.0.1:8000"
    )
    timezone: Zone = "UTC"
    default_tier: Annotated[str, Field(description="the name of a tier of this file")]
    unit: Annotated[str, Field(min_length=1, max_length=32, description="1-32 characters")] = "token"
    decimals: Annotated[StrictInt, Field(ge=0, le=15, description="a whole number from 0 to 15")] = 0
    max_request_bytes: Annotated[
        StrictInt, Field(ge=1024, le=2**31, description="a whole number of bytes from 1024 to 2147483648")
    ] = 20 * 2**20
    header_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 60.0


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


class TrustedHeaderShape(Shape):
    header: HeaderName = "X-User-Id"
    secret_header: HeaderName = "X-Gateway-Secret"  # noqa: S105  a name, not a secret
    secret: Annotated[
        str, Field(pattern=r"^$|^.{16,}$", description="at least 16 characters from the environment, or empty: off")
    ] = ""


class IdentityShape(Shape):
    trusted_header: TrustedHeaderShape | None = None


class TimeoutsShape(Shape):
    connect_s: Seconds | None = None
    first_byte_s: Seconds | None = None
    idle_s: Seconds | None = None


class UpstreamShape(Shape):
    base_url: Annotated[
        str,
        AfterValidator(_base_url),
        Field(
            description="http:// or https:// and a host, without user, query and fragment; or empty: the demo backend"
        ),
    ]
    headers: dict[
        HeaderName, Annotated[str, AfterValidator(_header_value), Field(description="printable ASCII text")]
    ] = {}
    timeouts: TimeoutsShape = TimeoutsShape()
    keepalive_s: Seconds = 4.0
    max_connections: Annotated[StrictInt, Field(ge=1, le=100_000, description="a whole number from 1 to 100000")] = 1000
    ca_file: (
        Annotated[str, AfterValidator(_ca_file), Field(description="the path of a PEM file with certificates")] | None
    ) = None


class RouteShape(Shape):
    path: Annotated[
        str,
        AfterValidator(_route_path),
        Field(description='a path that begins with /, exact or with "/*" at its end, of at most 200 characters'),
    ]
    methods: Annotated[
        list[Annotated[Literal[_METHODS], Field(description=f"one of {', '.join(_METHODS)}")]],  # type: ignore[valid-type]
        Field(min_length=1, description="a list of HTTP methods"),
    ] = ["POST"]
    upstream: Annotated[str, Field(description="the name of an upstream of this file")]
    dialect: Annotated[Literal[DIALECTS[:-1]], Field(description=f"one of {', '.join(DIALECTS[:-1])}")] | None = None  # type: ignore[valid-type]
    usage_path: (
        Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$", description='names joined by dots, such as "data.usage"')]
        | None
    ) = None
    operation: Annotated[str, Field(description="the name of an operation of this file")]
    default_output_tokens: Annotated[
        StrictInt, Field(ge=1, le=10**9, description="a whole number of tokens, 1 or more")
    ] = 1024
    include_usage: Annotated[StrictBool, Field(description="true or false")] = True
    on_disconnect: Annotated[Literal["drain", "stop"], Field(description='"drain" or "stop"')] = "drain"
    drain_s: Seconds = 10.0
    on_lost: Annotated[
        Literal["charge_counted", "charge_hold", "release"],
        Field(description='"charge_counted", "charge_hold" or "release"'),
    ] = "charge_counted"
    stream_balance: Annotated[StrictBool, Field(description="true or false")] = False
    timeouts: TimeoutsShape = TimeoutsShape()


class OperationShape(Shape):
    price: PriceOf


class TokenPriceShape(Shape):
    input: PerMillion
    output: PerMillion
    cached_input: PerMillion | None = None
    cache_write: PerMillion | None = None
    reasoning: PerMillion | None = None


class AllowanceShape(Shape):
    every: Annotated[Literal["day", "month"], Field(description='"day" or "month"')]
    amount: Annotated[
        StrictInt, Field(ge=1, le=MAX_UNITS, description=f"a whole number of units from 1 to {MAX_UNITS}")
    ]


class TierShape(Shape):
    signup: Units = 0
    allowance: list[AllowanceShape] = []
    burn_order: (
        Annotated[
            list[Annotated[Literal["day", "month", "credits"], Field(description='"day", "month" or "credits"')]],
            Field(min_length=1, description='a list of "day", "month" and "credits"'),
        ]
        | None
    ) = None
    timezone: Zone | None = None
    warn_below: Units | None = None
    operations: dict[Name, PriceOf] = {}
    limits: list[Annotated[str, Field(description='a limit such as "20 requests/minute"')]] = []


class ConfigShape(Shape):
    gateway: GatewayShape
    store: StoreShape = StoreShape()
    identity: IdentityShape = IdentityShape()
    upstreams: Annotated[dict[Name, UpstreamShape], Field(min_length=1, description="at least one [upstreams.NAME]")]
    routes: Annotated[list[RouteShape], Field(min_length=1, description="at least one [[routes]]")]
    operations: Annotated[dict[Name, OperationShape], Field(min_length=1, description="at least one [operations.NAME]")]
    prices: dict[
        Annotated[str, Field(min_length=1, max_length=200, description="a model name or glob")], TokenPriceShape
    ] = {}
    tiers: Annotated[dict[Name, TierShape], Field(min_length=1, description="at least one [tiers.NAME]")]
