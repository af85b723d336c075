"""OpenTelemetry traces, sent by OTLP over HTTP from a thread of its own. Imported only when the config asks for traces.

A governed call is a server span, in the client's trace when it came with one; below it stand `reserve`, `upstream` and
`settle`. The backend is told of the `upstream` span, so that its own spans go below that.
"""

from __future__ import annotations

import time
from time import perf_counter
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from gateway.observe.observation import Observation

Headers = list[tuple[bytes, bytes]]

#: How long one sending may take, the last one at the process's end included.
EXPORT_TIMEOUT_S = 5.0

_TRACE_HEADERS = (b"traceparent", b"tracestate")


class _Trace(NamedTuple):
    """The spans of one call, and how its instants are told in nanoseconds since 1970."""

    server: Span
    context: Context
    offset_ns: int

    def at(self, instant: float) -> int:
        return self.offset_ns + round(instant * 1e9)


class Tracing:
    """Makes spans of calls."""

    def __init__(self, endpoint: str) -> None:
        # Resource.create lets OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have the last word.
        self._provider = TracerProvider(resource=Resource.create({"service.name": "quotagate"}))
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("quotagate")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, seen: Observation, headers: Headers) -> None:
        """Opens the server span, in the trace that the client names."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in _TRACE_HEADERS}
        offset_ns = time.time_ns() - round(perf_counter() * 1e9)
        server = self._tracer.start_span(
            seen.route,
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            start_time=offset_ns + round(seen.arrived_at * 1e9),
        )
        seen.trace = _Trace(server, set_span_in_context(server), offset_ns)

    def pass_on(self, seen: Observation, headers: Headers) -> Headers:
        """Opens the upstream span. Returns the headers that name it in place of the client's."""
        trace: _Trace = seen.trace
        seen.upstream_span = self._tracer.start_span(
            "upstream",
            trace.context,
            SpanKind.CLIENT,
            {"quotagate.upstream": seen.upstream},
            start_time=trace.at(seen.reserved_at),
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(seen.upstream_span))
        kept = [item for item in headers if item[0] not in _TRACE_HEADERS]
        return kept + [(name.encode(), value.encode("latin-1")) for name, value in carrier.items()]

    def end(self, seen: Observation) -> None:
        """Closes all spans of a call."""
        trace: _Trace = seen.trace
        self._step(trace, "reserve", seen.read_at, seen.reserved_at)
        if seen.upstream_span is not None:
            if seen.answering_at:
                seen.upstream_span.add_event("first byte", timestamp=trace.at(seen.answering_at))
            seen.upstream_span.end(trace.at(seen.answered_at or seen.ended_at))
        self._step(trace, "settle", seen.answered_at, seen.settled_at)
        trace.server.set_attributes(_attributes(seen))
        if seen.outcome == "upstream_failed" or seen.status >= 500:
            trace.server.set_status(StatusCode.ERROR, seen.code or None)
        trace.server.end(trace.at(seen.ended_at))

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def _step(self, trace: _Trace, name: str, begin: float, end: float) -> None:
        if begin and end:
            self._tracer.start_span(name, trace.context, start_time=trace.at(begin)).end(trace.at(end))


def _attributes(seen: Observation) -> dict[str, AttributeValue]:
    """By the semantic conventions for generative AI and HTTP where they have a word, else our own."""
    attributes: dict[str, AttributeValue] = {
        "http.route": seen.route,
        "http.response.status_code": seen.status,
        "gen_ai.request.model": seen.model,
        "error.type": seen.code,
        "quotagate.request_id": seen.request_id,
        "quotagate.account": seen.account,
        "quotagate.tier": seen.tier,
        "quotagate.outcome": seen.outcome,
        "quotagate.policy": seen.policy or "",
    }
    if seen.usage is not None:
        attributes |= {
            "gen_ai.usage.input_tokens": seen.usage.input,
            "gen_ai.usage.output_tokens": seen.usage.output,
            "gen_ai.usage.cache_read.input_tokens": seen.usage.cached,
            "gen_ai.usage.cache_creation.input_tokens": seen.usage.cache_write,
            "gen_ai.usage.reasoning.output_tokens": seen.usage.reasoning,
            "quotagate.usage.estimated": seen.usage.estimated,
            "quotagate.cost": seen.cost,
        }
    return {name: value for name, value in attributes.items() if value != ""}
