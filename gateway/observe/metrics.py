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
        self.registry = CollectorRegistry(auto_describe=False)
        self._folded: list[Tally | Durations] = []
        self._requests = self._tally("requests", "Calls of governed routes that ended.", "outcome", "tier")
        self._denials = self._tally("denials", "Calls denied by a policy.", "policy", "tier")
        self._refusals = self._tally("refusals", "Calls answered with a refusal.", "code")
        self._shadow_denials = self._tally("shadow_denials", "Calls a policy in shadow mode would deny.", "policy")
        self._near_limit = self._tally("near_limit", "Answers warned of a limit coming near.", "policy")
        self._written_off = self._tally("written_off_units", "Units of cost that no balance covered.")
        self._cut = self._tally("cut_streams", "Streams cut because the balance was empty.")
        self._renewals_refused = self._tally("renewals_refused", "Renewals without balance for a larger hold.")
        self._model_use = ModelUse(
            self._tally("tokens", "Tokens charged for.", "kind", "model"),
            self._tally("cost_units", "Units charged.", "model"),
            self._tally("estimated_answers", "Answers charged by an estimate: no usage came.", "model"),
        )
        self._store = self._durations("store", "Until Redis answered a call's script.", STORE_BOUNDS, "script")
        self._overhead = self._durations("overhead", "A call's hold and settlement together.", STORE_BOUNDS)
        self._first_byte = self._durations(
            "upstream_first_byte", "Until the head of the answer came.", UPSTREAM_BOUNDS, "upstream"
        )
        self._upstream = self._durations("upstream", "Until the end of the answer came.", UPSTREAM_BOUNDS, "upstream")
        self._open = self._gauge("open_calls", "Calls under way.")
        self._outbox = self._gauge("outbox_calls", "Settlements and releases that Redis has not taken yet.")
        self._watched: tuple[Sized, Sized] = ((), ())
        self._policies = Bounded()

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
        self._model_use.fold()  # First: it adds to tallies.
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

    # ── how they are made ────────────────────────────────────────────────────────────────────────────────────────────

    def _tally(self, name: str, what: str, *labels: str) -> Tally:
        tally = Tally(self.registry, f"quotagate_{name}", what, labels)
        self._folded.append(tally)
        return tally

    def _durations(self, name: str, what: str, bounds: tuple[float, ...], label: str | None = None) -> Durations:
        durations = Durations(self.registry, f"quotagate_{name}_seconds", what, bounds, label)
        self._folded.append(durations)
        return durations

    def _gauge(self, name: str, what: str) -> Gauge:
        """Of several processes, those that live are added up."""
        return Gauge(f"quotagate_{name}", what, registry=self.registry, multiprocess_mode="livesum")


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
