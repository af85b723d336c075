"""`[observability]`, built."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from gateway.config.shapes.observability import ObservabilityShape

#: What traces need beyond the usual: the packages of the extra `quotagate[tracing]`.
_TRACING_MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


@dataclass(frozen=True, slots=True)
class Observability:
    """What the system tells its operator, and how."""

    #: Count calls, and serve /metrics.
    metrics: bool = True
    #: Whoever scrapes must send it as a Bearer token; "": nobody needs one.
    metrics_token: str = field(default="", repr=False)
    #: "text" or "json".
    log_format: str = "text"
    log_level: str = "info"
    #: One line a governed call.
    access_log: bool = False
    #: Where spans go by OTLP over HTTP; "": none are made.
    traces_endpoint: str = ""


def build_observability(shape: ObservabilityShape, faults: list[str]) -> Observability:
    if shape.traces_endpoint and not all(_is_installed(module) for module in _TRACING_MODULES):
        faults.append(
            f'observability.traces_endpoint = "{shape.traces_endpoint}" needs OpenTelemetry, which is not installed: '
            "pip install 'quotagate[tracing]'"
        )
    return Observability(**shape.model_dump())


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # Its parent is missing.
        return False
