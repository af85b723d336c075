"""Traces, as a receiver of OTLP decodes them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from gateway.domain.usage import Usage
from gateway.observe import tracing as tracing_module
from gateway.observe.observation import Observation
from gateway.observe.tracing import Tracing
from tests.observe.receiver import Receiver, attributes

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
Headers = list[tuple[bytes, bytes]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def served(tracing: Tracing, headers: Headers) -> Headers:
    """Plays a call that is served. Returns what the backend sees."""
    seen = Observation("r1", "/v1/chat", "main")
    tracing.begin(seen, headers)
    seen.identified("ada", "qg_12345678")
    seen.read("m1")
    seen.reserved("free")
    passed = tracing.pass_on(seen, headers)
    seen.answering()
    seen.answered(200, client_left=False, is_broken=False, charged=(7, Usage(21, 8, 2, 25, 5)))
    seen.settled(0)
    seen.ended_at = seen.settled_at
    tracing.end(seen)
    tracing.close()
    return passed


def test_a_call_is_a_server_span_with_its_steps_below_it(receiver: Receiver) -> None:
    before_ns = time.time_ns()
    served(Tracing(receiver.endpoint), [])

    (server,) = receiver.named("/v1/chat")
    steps = [span for name in ("reserve", "upstream", "settle") for span in receiver.named(name)]
    assert (server.kind, server.parent_span_id, len(steps)) == (Span.SPAN_KIND_SERVER, b"", 3)
    assert {span.parent_span_id for span in steps} == {server.span_id}
    assert {span.trace_id for span in steps} == {server.trace_id}
    instants = [
        server.start_time_unix_nano,
        *(at for s in steps for at in (s.start_time_unix_nano, s.end_time_unix_nano)),
    ]
    assert instants == sorted(instants)
    assert before_ns - 10**6 <= instants[0] <= instants[-1] <= server.end_time_unix_nano <= time.time_ns() + 10**6
    assert [event.name for event in steps[1].events] == ["first byte"]
    assert receiver.services == {"quotagate"}


def test_the_server_span_says_what_was_asked_and_used(receiver: Receiver) -> None:
    served(Tracing(receiver.endpoint), [])

    assert attributes(receiver.named("/v1/chat")[0]) == {
        "http.route": "/v1/chat", "http.response.status_code": 200, "gen_ai.request.model": "m1",
        "gen_ai.usage.input_tokens": 21, "gen_ai.usage.output_tokens": 25, "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_creation.input_tokens": 2, "gen_ai.usage.reasoning.output_tokens": 5,
        "quotagate.usage.estimated": False, "quotagate.cost": 7, "quotagate.request_id": "r1",
        "quotagate.account": "ada", "quotagate.tier": "free", "quotagate.outcome": "served",
    }  # fmt: skip


def test_the_clients_trace_goes_on_and_is_passed_on(receiver: Receiver) -> None:
    passed = served(Tracing(receiver.endpoint), [(b"host", b"h"), TRACEPARENT, (b"tracestate", b"vendor=1")])

    (server,), (upstream,) = receiver.named("/v1/chat"), receiver.named("upstream")
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, PARENT)
    assert dict(passed) == {
        b"host": b"h",
        b"traceparent": f"00-{TRACE}-{upstream.span_id.hex()}-01".encode(),
        b"tracestate": b"vendor=1",
    }
    assert len(passed) == 3


def test_a_call_without_a_trace_begins_one_that_the_backend_hears_of(receiver: Receiver) -> None:
    passed = dict(served(Tracing(receiver.endpoint), [(b"traceparent", b"nonsense\xff")]))

    (upstream,) = receiver.named("upstream")
    assert passed[b"traceparent"].startswith(f"00-{upstream.trace_id.hex()}-{upstream.span_id.hex()}-".encode())


def test_a_refusal_is_a_span_without_steps(receiver: Receiver) -> None:
    tracing = Tracing(receiver.endpoint)
    seen = Observation("r1", "/v1/chat", "main")
    tracing.begin(seen, [])
    seen.refused(503, "store_unavailable")
    seen.ended_at = seen.arrived_at + 0.001
    tracing.end(seen)
    tracing.close()

    (server,) = receiver.spans
    assert server.status.code == Status.STATUS_CODE_ERROR
    assert attributes(server)["error.type"] == "store_unavailable"


def test_a_receiver_that_is_away_holds_up_no_call(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.close()
    monkeypatch.setattr(tracing_module, "EXPORT_TIMEOUT_S", 0.1)
    tracing = Tracing(receiver.endpoint)
    seen = Observation("r1", "/v1/chat", "main")

    began = time.monotonic()
    tracing.begin(seen, [])
    tracing.end(seen)
    told_s = time.monotonic() - began
    tracing.close()

    assert told_s < 0.5
    assert time.monotonic() - began < 10


def test_without_traces_nothing_that_makes_them_is_imported() -> None:
    """redis-py imports parts of OpenTelemetry by itself where it is installed."""
    code = (
        "import sys, gateway.app; from gateway.config.observability import Observability\n"
        "from gateway.observe.observer import build_observer\n"
        "build_observer(Observability())\n"
        "made = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'gateway.observe.tracing')\n"
        "assert not [name for name in sys.modules if name.startswith(made)]"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
