"""The one object that the proxy tells of its calls. What is switched on hears of it: metrics, access log, traces."""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.config.observability import Observability
from gateway.observe import access
from gateway.observe.metrics import Metrics, leave
from gateway.observe.observation import Observation

if TYPE_CHECKING:
    from gateway.observe.tracing import Tracing

#: How often counts are folded, for another process of the same host to be asked about them.
FOLD_S = 1.0

Headers = list[tuple[bytes, bytes]]


class Observer:
    """One a process. `start` and `close` belong to the gate's event loop."""

    def __init__(
        self, metrics: Metrics | None = None, *, access_log: bool = False, tracing: Tracing | None = None
    ) -> None:
        self.metrics = metrics
        self.tracing = tracing
        self._access_log = access_log
        self._folder: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.metrics is not None and self._folder is None:
            self._folder = asyncio.create_task(self._fold(self.metrics), name="quotagate-metrics")

    async def close(self) -> None:
        if self._folder is not None and self.metrics is not None:
            self._folder.cancel()
            await asyncio.gather(self._folder, return_exceptions=True)
            self._folder = None
            self.metrics.fold()
            leave()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)

    def watch(self, open_calls: Sized, outbox: Sized) -> None:
        """Names what is under way in this process."""
        if self.metrics is not None:
            self.metrics.watch(open_calls, outbox)

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def arrived(self, request_id: str, route: str, upstream: str, headers: Headers) -> Observation:
        seen = Observation(request_id, route, upstream)
        if self.tracing is not None:
            self.tracing.begin(seen, headers)
        return seen

    def pass_on(self, seen: Observation, headers: Headers) -> Headers:
        """The request's headers as the backend is to see them: with the span that it works for."""
        return headers if self.tracing is None else self.tracing.pass_on(seen, headers)

    def ended(self, seen: Observation) -> None:
        seen.ended_at = perf_counter()
        if self.metrics is not None:
            self.metrics.record(seen)
        if self._access_log:
            access.write(seen)
        if self.tracing is not None:
            self.tracing.end(seen)

    # ── what is no call's end ────────────────────────────────────────────────────────────────────────────────────────

    def shadow_denied(self, policy: str) -> None:
        """A policy in shadow mode would have denied a call."""
        if self.metrics is not None:
            self.metrics.shadow_denied(policy)

    def near_limit(self, policy: str) -> None:
        """An answer warned of a policy's limit coming near."""
        if self.metrics is not None:
            self.metrics.near_limit(policy)

    def renewal_refused(self) -> None:
        """A renewal found no balance for a larger hold."""
        if self.metrics is not None:
            self.metrics.renewal_refused()

    async def _fold(self, metrics: Metrics) -> None:
        while True:
            await asyncio.sleep(FOLD_S)
            metrics.fold()


def build_observer(observability: Observability) -> Observer:
    """The observer that the config asks for. Without traces nothing of OpenTelemetry is imported."""
    tracing = None
    if observability.traces_endpoint:
        from gateway.observe.tracing import Tracing

        tracing = Tracing(observability.traces_endpoint)
    metrics = Metrics() if observability.metrics else None
    return Observer(metrics, access_log=observability.access_log, tracing=tracing)
