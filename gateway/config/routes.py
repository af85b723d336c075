"""Builds upstreams and routes from their shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.config.faults import one_of
from gateway.config.prices import build_multiplier
from gateway.config.shapes.routes import OperationShape, RouteShape, UpstreamShape
from gateway.domain.operation import Holding
from gateway.domain.price import FREE, Price
from gateway.domain.route import Route, Timeouts, Upstream
from gateway.domain.tier import Tier

#: What an openai-audio route that does not say more holds for a recording.
DEFAULT_AUDIO_SECONDS = 60


def build_upstream(name: str, shape: UpstreamShape) -> Upstream:
    return Upstream(
        name=name,
        base_url=shape.base_url.rstrip("/"),
        headers=tuple((header.lower().encode(), value.encode()) for header, value in shape.headers.items()),
        timeouts=Timeouts(**shape.timeouts.model_dump(exclude_none=True)),
        keepalive_s=shape.keepalive_s,
        max_connections=shape.max_connections,
        ca_file=shape.ca_file,
    )


def build_route(
    n: int, shape: RouteShape, upstreams: Mapping[str, Upstream], operations: Mapping[str, Price], faults: list[str]
) -> Route | None:
    where = f"routes[{n}]"
    if shape.upstream not in upstreams:
        faults.append(f'{where}.upstream = "{shape.upstream}": {one_of(upstreams, "an upstream")}')
    if shape.operation not in operations:
        faults.append(f'{where}.operation = "{shape.operation}": {one_of(operations, "an operation")}')
    if (shape.dialect is None) == (shape.usage_path is None):
        faults.append(f"{where}: says either dialect or usage_path, one of the two")
    if shape.upstream not in upstreams:
        return None
    default = upstreams[shape.upstream].timeouts
    chosen = shape.timeouts.model_dump(exclude_none=True)
    return Route(
        path=shape.path,
        upstream=shape.upstream,
        operation=shape.operation,
        dialect=shape.dialect or "path",
        methods=frozenset(shape.methods),
        usage_path=shape.usage_path,
        default_output_tokens=shape.default_output_tokens,
        default_input_tokens=shape.default_input_tokens,
        default_audio_seconds=_audio_seconds(shape),
        max_hold=shape.max_hold,
        multiplier=build_multiplier(shape.multiplier),
        include_usage=shape.include_usage,
        on_disconnect=shape.on_disconnect,
        drain_s=shape.drain_s,
        on_lost=shape.on_lost,
        on_missing_usage=shape.on_missing_usage,
        on_store_outage=shape.on_store_outage,
        on_renewal_outage=shape.on_renewal_outage,
        stream_balance=shape.stream_balance,
        timeouts=Timeouts(
            connect_s=chosen.get("connect_s", default.connect_s),
            first_byte_s=chosen.get("first_byte_s", default.first_byte_s),
            idle_s=chosen.get("idle_s", default.idle_s),
        ),
    )


def build_holding(shape: OperationShape) -> Holding:
    return Holding(shape.lease_s * 1000, shape.on_lost)


def _audio_seconds(shape: RouteShape) -> int:
    if shape.default_audio_seconds is not None:
        return shape.default_audio_seconds
    return DEFAULT_AUDIO_SECONDS if shape.dialect == "openai-audio" else 0


def outage_warnings(
    shapes: Sequence[RouteShape], operations: Mapping[str, Price], tiers: Mapping[str, Tier]
) -> list[str]:
    """Routes that would serve free calls while Redis is away, and have none that is free."""
    return [
        f'routes[{n}].on_store_outage = "allow" never applies: every tier prices the operation "{shape.operation}"'
        for n, shape in enumerate(shapes)
        if shape.on_store_outage == "allow"
        and shape.operation in operations
        and not any(
            tier.operations.get(shape.operation, operations[shape.operation]) == FREE for tier in tiers.values()
        )
    ]
