"""The metrics of one gateway process. `README.md` beside this file lists them all; a test holds it true."""

from __future__ import annotations

import os
from collections.abc import Sized
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics, multiprocess
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from gateway.observe.observation import Observation
from gateway.observe.tally import Bounded, Durations, ModelUse, Tally

#: Bounds in seconds. A store answers within a millisecond; a model thinks for minutes.
STORE_BOUNDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
UPSTREAM_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

#: Where several processes keep their numbers for one another (prometheus_client looks at it when it is imported).
_SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """Counts calls as they end, and renders everything for a scrape."""

    def __init__(self) -> None:
        if folder := os.environ.get(_SHARED_FOLDER):
            Path(folder).mkdir(parents=True, exist_ok=True)
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each counter that no one reads.
        self.registry = registry = CollectorRegistry(auto_describe=False)
        self._requests = Tally(
            registry, "quotagate_requests", "Calls of governed routes that ended.", ["outcome", "tier"]
        )
        self._denials = Tally(registry, "quotagate_denials", "Calls denied by a policy.", ["policy", "tier"])
        self._refusals = Tally(registry, "quotagate_refusals", "Calls answered with a refusal.", ["code"])
        self._shadow_denials = Tally(
            registry, "quotagate_shadow_denials", "Calls that a policy in shadow mode would have denied.", ["policy"]
        )
        self._near_limit = Tally(registry, "quotagate_near_limit", "Answers warned of a limit coming near.", ["policy"])
        self._tokens = Tally(registry, "quotagate_tokens", "Tokens charged for.", ["kind", "model"])
        self._cost = Tally(registry, "quotagate_cost_units", "Units charged.", ["model"])
        self._estimated = Tally(
            registry, "quotagate_estimated_answers", "Answers charged by an estimate: no usage came.", ["model"]
        )
        self._written_off = Tally(registry, "quotagate_written_off_units", "Units of cost that no balance covered.")
        self._cut = Tally(registry, "quotagate_cut_streams", "Streams cut because the balance was empty.")
        self._renewals_refused = Tally(
            registry, "quotagate_renewals_refused", "Renewals that found no balance for a larger hold."
        )
        self._store = Durations(
            registry, "quotagate_store_seconds", "Until Redis answered, by script.", STORE_BOUNDS, "script"
        )
        self._overhead = Durations(
            registry,
            "quotagate_overhead_seconds",
            "What the gateway added to a call: hold and settlement, and all between them and the backend.",
            STORE_BOUNDS,
        )
        self._first_byte = Durations(
            registry,
            "quotagate_upstream_first_byte_seconds",
            "Until the head of the answer came.",
            UPSTREAM_BOUNDS,
            "upstream",
        )
        self._upstream = Durations(
            registry, "quotagate_upstream_seconds", "Until the end of the answer came.", UPSTREAM_BOUNDS, "upstream"
        )
        self._model_use = ModelUse(self._tokens, self._cost, self._estimated)
        self._policies = Bounded()
        self._open = Gauge("quotagate_open_calls", "Calls under way.", registry=registry, multiprocess_mode="livesum")
        self._outbox = Gauge(
            "quotagate_outbox_calls",
            "Settlements and releases that Redis has not taken yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._watched: tuple[Sized, Sized] = ((), ())
        self._folded = (
            self._model_use, self._requests, self._denials, self._refusals, self._shadow_denials, self._near_limit,
            self._tokens, self._cost, self._estimated, self._written_off, self._cut, self._renewals_refused,
            self._store, self._overhead, self._first_byte, self._upstream,
        )  # fmt: skip

    def watch(self, open_calls: Sized, outbox: Sized) -> None:
        """Names what the gauges of this process are the sizes of."""
        self._watched = (open_calls, outbox)

    # ── what happened ────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, seen: Observation) -> None:
        """Counts a call that has ended. It is on the way of every call: see `tally.py`."""
        outcome, tier = seen.outcome, seen.tier
        self._requests.add((outcome, tier))
        if seen.code:
            self._refusals.add((seen.code,))
        if seen.policy is not None:
            self._denials.add((self._policies.label(seen.policy), tier))
        if outcome == "cut":
            self._cut.add()
        reserved_at, answered_at = seen.reserved_at, seen.answered_at
        if reserved_at:
            reserve_s = reserved_at - seen.read_at
            self._store.add(reserve_s, "reserve")
            if answered_at:
                self._upstream.add(answered_at - reserved_at, seen.upstream)
                if seen.answering_at:
                    self._first_byte.add(seen.answering_at - reserved_at, seen.upstream)
                if seen.settled_at:
                    settle_s = seen.settled_at - answered_at
                    self._store.add(settle_s, "settle" if seen.usage is not None else "release")
                    self._overhead.add(reserve_s + settle_s)
        if seen.usage is not None:
            self._model_use.add(seen.model, seen.usage, seen.cost)
        if seen.written_off:
            self._written_off.add((), seen.written_off)

    def shadow_denied(self, policy: str) -> None:
        self._shadow_denials.add((self._policies.label(policy),))

    def near_limit(self, policy: str) -> None:
        self._near_limit.add((self._policies.label(policy),))

    def renewal_refused(self) -> None:
        self._renewals_refused.add()

    # ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────

    def fold(self) -> None:
        """Moves on what was counted since the last time."""
        for metric in self._folded:
            metric.fold()
        open_calls, outbox = self._watched
        self._open.set(len(open_calls))
        self._outbox.set(len(outbox))

    def render(self, accept: str, *others: Collector) -> tuple[bytes, str]:
        """Everything that was folded, and what the other collectors find, in the form that the scraper accepts."""
        whole = CollectorRegistry(auto_describe=False)
        folder = os.environ.get(_SHARED_FOLDER)
        if folder:
            _forget_the_dead(Path(folder))
            multiprocess.MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
        else:
            whole.register(self.registry)
        for other in others:
            whole.register(other)
        encode, content_type = choose_encoder(accept)
        return encode(whole), content_type


def leave() -> None:
    """This process ends: its calls and its outbox are no longer counted among those under way."""
    if os.environ.get(_SHARED_FOLDER):
        multiprocess.mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _forget_the_dead(folder: Path) -> None:
    """A process that was killed could not say that it has left."""
    for file in folder.glob("gauge_live*_*.db"):
        process_id = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(process_id)  # type: ignore[no-untyped-call]
        except PermissionError:
            continue  # It lives, and is another user's.
