"""The worker's own metrics: `quotagate worker --metrics-port N` serves them at /metrics.

Jobs run in this process one after the other and add to plain numbers, which are read at a scrape.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.observe.endpoints import may_scrape
from gateway.observe.store import StoreCollector

log = logging.getLogger("quotagate.worker")


@dataclass
class WorkerCounts:
    """What the jobs of this process have done since it started."""

    batches: int = 0
    events: int = 0
    poisoned: int = 0
    swept_holds: int = 0
    swept_units: int = 0


COUNTS = WorkerCounts()


class WorkerCollector(Collector):
    """Reads the counts at each scrape."""

    def __init__(self, counts: WorkerCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        counts = self._counts
        for name, what, value in (
            ("quotagate_worker_drain_batches", "Batches taken from the ledger's inbox.", counts.batches),
            ("quotagate_worker_drained_events", "Events committed to the ledger.", counts.events),
            ("quotagate_worker_poison_events", "Events set aside: they cannot be recorded.", counts.poisoned),
            ("quotagate_worker_swept_holds", "Holds ended because their gateway fell silent.", counts.swept_holds),
            ("quotagate_worker_swept_units", "Units charged for those.", counts.swept_units),
        ):
            yield CounterMetricFamily(name, what, value=value)


def serve(system: System, host: str, port: int) -> int:
    """Serves metrics from a thread for as long as this process lives. Returns the port.

    Raises RefusedInput when the port cannot be had.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkerCollector(COUNTS))
    registry.register(StoreCollector(system.redis, system.keys.all_partitions()))
    try:
        server = make_server(
            host, port, _guarded(make_wsgi_app(registry), system.config.observability.metrics_token),
            handler_class=_QuietHandler,
        )  # fmt: skip
    except OSError as error:
        raise RefusedInput(f"metrics cannot be served on {host}:{port}: {error.strerror or error}") from error
    threading.Thread(target=server.serve_forever, name="quotagate-metrics", daemon=True).start()
    log.info("metrics on http://%s:%d/metrics", host, server.server_port)
    return server.server_port


def _guarded(app: Any, token: str) -> Any:
    def guarded(environ: dict[str, Any], start_response: Any) -> Any:
        if may_scrape(environ.get("HTTP_AUTHORIZATION", ""), token):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
        return [b""]

    return guarded


class _QuietHandler(WSGIRequestHandler):
    """A scrape every few seconds is no news."""

    timeout = 10  # One connection that says nothing must not hold up the scrapes for ever.

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
