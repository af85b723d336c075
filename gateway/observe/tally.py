"""Counting that costs a call almost nothing: plain numbers now, folded into Prometheus' metrics later.

A `labels(...).inc()` of prometheus_client takes one to two microseconds, and a call would need a dozen. So calls add to
dictionaries, and `fold` moves the sums on, once a second and before each scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.domain.usage import Usage

#: Values of one label that a client or an operator can make up. What comes after them is counted as OTHER.
MAX_VALUES = 200
OTHER = "other"


class Tally:
    """A counter by labels."""

    def __init__(self, registry: CollectorRegistry, name: str, what: str, labels: Sequence[str] = ()) -> None:
        self._counter = Counter(name, what, labels, registry=registry)
        self._has_labels = bool(labels)
        self._pending: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def add(self, labels: tuple[str, ...] = (), amount: int = 1) -> None:
        self._pending[labels] += amount

    def fold(self) -> None:
        for labels, amount in self._pending.items():
            (self._counter.labels(*labels) if self._has_labels else self._counter).inc(amount)
        self._pending.clear()


class Bounded:
    """The values of a label, as long as there are few of them."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= MAX_VALUES:
                return OTHER
            self._known.add(value)
        return value


class Durations:
    """A histogram of seconds by one label."""

    def __init__(
        self, registry: CollectorRegistry, name: str, what: str, buckets: tuple[float, ...], label: str | None = None
    ) -> None:
        self._bounds = buckets
        self._histogram = _SummedHistogram(name, what, [label] if label else [], buckets=buckets, registry=registry)
        self._has_label = label is not None
        #: For each value of the label: how many fell into each bucket, the boundless one included; then their sum.
        self._pending: defaultdict[str, list[float]] = defaultdict(lambda: [0] * (len(buckets) + 2))

    def add(self, seconds: float, label: str = "") -> None:
        counts = self._pending[label]
        counts[bisect_left(self._bounds, seconds)] += 1
        counts[-1] += seconds

    def fold(self) -> None:
        for label, counts in self._pending.items():
            (self._histogram.labels(label) if self._has_label else self._histogram).add(counts)
        self._pending.clear()


class _SummedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[float]) -> None:
        for bucket, count in zip(self._buckets, counts, strict=False):
            if count:
                bucket.inc(count)
        self._sum.inc(counts[-1])


class ModelUse:
    """Tokens and cost by model."""

    KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")

    def __init__(self, tokens: Tally, cost: Tally, estimated: Tally) -> None:
        self._tokens, self._cost, self._estimated = tokens, cost, estimated
        self._models = Bounded()
        #: For each model: tokens in the order of KINDS, estimated answers, cost.
        self._pending: dict[str, list[int]] = {}

    def add(self, model: str, usage: Usage, cost: int) -> None:
        sums = self._pending.get(model)
        if sums is None:
            label = self._models.label(model)
            sums = self._pending.setdefault(label, [0] * 7)
        input, cached, cache_write, output, reasoning, estimated, _, _ = usage
        sums[0] += input
        sums[1] += cached
        sums[2] += cache_write
        sums[3] += output
        sums[4] += reasoning
        sums[5] += estimated
        sums[6] += cost

    def fold(self) -> None:
        for model, sums in self._pending.items():
            for kind, tokens in zip(self.KINDS, sums, strict=False):
                self._tokens.add((kind, model), tokens)
            self._estimated.add((model,), sums[5])
            self._cost.add((model,), sums[6])
        self._pending.clear()
