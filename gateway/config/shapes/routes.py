"""`[upstreams]`, `[[routes]]` and `[operations]`: what may be called, where it goes, and what it is."""

from __future__ import annotations

import ssl
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt

from gateway.config.shapes.common import HeaderName, MultiplierText, PriceOf, Seconds, Shape, Units, host_and_path
from gateway.domain.route import DIALECTS

#: It is part of holds and of ledger rows.
MAX_PATH_LENGTH = 200
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


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


def _ca_file(path: str) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise ValueError("no certificates") from None
    return path


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("not a header value")
    return value


class TimeoutsShape(Shape):
    connect_s: Seconds | None = None
    first_byte_s: Seconds | None = None
    idle_s: Seconds | None = None


class UpstreamShape(Shape):
    base_url: Annotated[
        str,
        AfterValidator(host_and_path),
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
    default_input_tokens: Annotated[
        StrictInt, Field(ge=0, le=10**9, description="a whole number of tokens, 0 or more")
    ] = 1600
    default_audio_seconds: (
        Annotated[StrictInt, Field(ge=0, le=10**6, description="a whole number of seconds from 0 to 1000000")] | None
    ) = None
    max_hold: Units | None = None
    multiplier: MultiplierText = "1"
    include_usage: Annotated[StrictBool, Field(description="true or false")] = True
    on_disconnect: Annotated[Literal["drain", "stop"], Field(description='"drain" or "stop"')] = "drain"
    drain_s: Seconds = 10.0
    on_lost: Annotated[
        Literal["charge_counted", "charge_hold", "release"],
        Field(description='"charge_counted", "charge_hold" or "release"'),
    ] = "charge_counted"
    on_missing_usage: Annotated[
        Literal["estimate", "charge_hold"], Field(description='"estimate" or "charge_hold"')
    ] = "estimate"
    on_store_outage: Annotated[Literal["deny", "allow"], Field(description='"deny" or "allow"')] = "deny"
    on_renewal_outage: Annotated[Literal["cut", "stream"], Field(description='"cut" or "stream"')] = "cut"
    stream_balance: Annotated[StrictBool, Field(description="true or false")] = False
    timeouts: TimeoutsShape = TimeoutsShape()


class OperationShape(Shape):
    price: PriceOf
    lease_s: Annotated[StrictInt, Field(ge=1, le=86_400, description="whole seconds, 1 to 86400")] = 600
    on_lost: Annotated[Literal["release", "charge_hold"], Field(description='"release" or "charge_hold"')] = "release"
