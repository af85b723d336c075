"""What calls are counted as, and that it stays bounded."""

from __future__ import annotations

import re
import timeit
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from prometheus_client.registry import Collector

import gateway.observe
from gateway.domain.usage import Usage
from gateway.observe.metrics import STORE_BOUNDS, Metrics
from gateway.observe.observation import Observation
from gateway.observe.store import StoreCollector
from gateway.observe.tally import MAX_VALUES
from tests.observe.samples import samples, value
from worker.metrics import WorkerCollector, WorkerCounts

USAGE = Usage(input=21, cached=8, cache_write=2, output=25, reasoning=5, estimated=True)


def call(model: str = "m1", tier: str = "free", usage: Usage | None = USAGE, cost: int = 7) -> Observation:
    """A call whose steps took 1 ms, 30 ms, 170 ms and 2 ms."""
    seen = Observation("r1", "/v1/chat", "main")
    seen.model, seen.tier = model, tier
    seen.read_at, seen.reserved_at, seen.answering_at = 1.0, 1.001, 1.031
    seen.answered_at, seen.settled_at = 1.201, 1.203
    seen.status, seen.usage, seen.cost = 200, usage, cost if usage else 0
    return seen


def refused(code: str, policy: str | None = None) -> Observation:
    seen = Observation("r1", "/v1/chat", "main")
    seen.refused(429, code, policy)
    return seen


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def told(metrics: Metrics, *others: Collector) -> str:
    metrics.fold()
    return metrics.render("", *others)[0].decode()


def test_a_call_is_counted_by_outcome_and_tier(metrics: Metrics) -> None:
    for tier in ("free", "free", "pro"):
        metrics.record(call(tier=tier))
    metrics.record(refused("invalid_api_key"))

    text = told(metrics)

    assert value(text, "quotagate_requests_total", outcome="served", tier="free") == 2
    assert value(text, "quotagate_requests_total", outcome="served", tier="pro") == 1
    assert value(text, "quotagate_requests_total", outcome="refused", tier="") == 1


def test_tokens_and_cost_are_counted_by_model(metrics: Metrics) -> None:
    metrics.record(call("m1"))
    metrics.record(call("m1"))
    metrics.record(call("m2", usage=None))

    text = told(metrics)

    tokens = {kind: value(text, "quotagate_tokens_total", kind=kind, model="m1") for kind in (
        "input", "cached_input", "cache_write", "output", "reasoning")}  # fmt: skip
    assert tokens == {"input": 42, "cached_input": 16, "cache_write": 4, "output": 50, "reasoning": 10}
    assert value(text, "quotagate_cost_units_total", model="m1") == 14
    assert value(text, "quotagate_estimated_answers_total", model="m1") == 2
    assert value(text, "quotagate_cost_units_total", model="m2") is None


def test_refusals_are_counted_by_code_and_denials_by_policy(metrics: Metrics) -> None:
    metrics.record(refused("insufficient_quota", "day"))
    metrics.record(refused("invalid_api_key"))

    text = told(metrics)

    assert value(text, "quotagate_denials_total", policy="day", tier="") == 1
    assert value(text, "quotagate_refusals_total", code="insufficient_quota") == 1
    assert value(text, "quotagate_refusals_total", code="invalid_api_key") == 1
    assert value(text, "quotagate_requests_total", outcome="denied", tier="") == 1


def test_what_others_tell_of_is_counted(metrics: Metrics) -> None:
    metrics.shadow_denied("burst")
    metrics.near_limit("day")
    metrics.near_limit("day")
    metrics.renewal_refused()
    cut = call()
    cut.was_cut, cut.written_off = True, 3
    metrics.record(cut)

    text = told(metrics)

    assert value(text, "quotagate_shadow_denials_total", policy="burst") == 1
    assert value(text, "quotagate_near_limit_total", policy="day") == 2
    assert value(text, "quotagate_renewals_refused_total") == 1
    assert value(text, "quotagate_cut_streams_total") == 1
    assert value(text, "quotagate_written_off_units_total") == 3


def test_the_steps_of_a_call_are_timed(metrics: Metrics) -> None:
    metrics.record(call())

    text = told(metrics)

    sums = {
        "quotagate_store_seconds_sum": {"script": "reserve"},
        "quotagate_upstream_first_byte_seconds_sum": {"upstream": "main"},
        "quotagate_upstream_seconds_sum": {"upstream": "main"},
        "quotagate_overhead_seconds_sum": {},
    }
    assert [round(value(text, name, **labels) or 0, 6) for name, labels in sums.items()] == [0.001, 0.03, 0.2, 0.003]
    assert round(value(text, "quotagate_store_seconds_sum", script="settle") or 0, 6) == 0.002


def test_a_call_that_was_not_charged_is_released(metrics: Metrics) -> None:
    metrics.record(call(usage=None))

    text = told(metrics)

    assert value(text, "quotagate_store_seconds_count", script="release") == 1
    assert value(text, "quotagate_store_seconds_count", script="settle") is None


def test_a_histogram_is_the_same_as_if_each_value_had_been_observed(metrics: Metrics) -> None:
    for reserve_s in (0.0, 0.0001, 0.0003, 0.004, 7.0):
        seen = call(usage=None)
        seen.read_at, seen.reserved_at = 1.0, 1.0 + reserve_s
        metrics.record(seen)
        metrics.fold()

    text = told(metrics)

    buckets = {
        dict(labels)["le"]: found
        for (name, labels), found in samples(text).items()
        if name == "quotagate_store_seconds_bucket" and ("script", "reserve") in labels
    }
    assert [buckets[str(bound)] for bound in STORE_BOUNDS[:6]] == [2, 3, 3, 3, 4, 4]
    assert (buckets["5.0"], buckets["+Inf"]) == (4, 5)
    assert value(text, "quotagate_store_seconds_count", script="reserve") == 5


def test_folding_twice_counts_once(metrics: Metrics) -> None:
    metrics.record(call())

    assert told(metrics) == told(metrics)


def test_the_gauges_are_the_sizes_of_what_is_under_way(metrics: Metrics) -> None:
    open_calls: dict[str, int] = {"r1": 1, "r2": 2}
    metrics.watch(open_calls, [1])

    assert (value(told(metrics), "quotagate_open_calls"), value(told(metrics), "quotagate_outbox_calls")) == (2, 1)
    open_calls.clear()
    assert value(told(metrics), "quotagate_open_calls") == 0


def test_models_beyond_the_bound_are_counted_as_other(metrics: Metrics) -> None:
    for number in range(MAX_VALUES + 50):
        metrics.record(call(f"m{number}"))
        metrics.fold()
    metrics.record(call("m3"))

    text = told(metrics)

    models = {dict(labels)["model"] for name, labels in samples(text) if name == "quotagate_cost_units_total"}
    assert len(models) == MAX_VALUES + 1
    assert value(text, "quotagate_cost_units_total", model="other") == 50 * 7
    assert value(text, "quotagate_cost_units_total", model="m3") == 2 * 7


def test_policies_beyond_the_bound_are_counted_as_other(metrics: Metrics) -> None:
    for number in range(MAX_VALUES + 5):
        metrics.shadow_denied(f"p{number}")

    assert value(told(metrics), "quotagate_shadow_denials_total", policy="other") == 5


def test_a_models_name_cannot_add_a_sample(metrics: Metrics) -> None:
    name = 'm"} 9\nquotagate_store_up 1\nx{y="\\'
    metrics.record(call(name))

    text = told(metrics)

    assert value(text, "quotagate_store_up") is None
    assert value(text, "quotagate_cost_units_total", model=name) == 7


def test_open_metrics_are_spoken_to_those_who_ask_for_them(metrics: Metrics) -> None:
    body, content_type = metrics.render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_counting_a_call_takes_microseconds(metrics: Metrics) -> None:
    """A guard against what is ten times too slow; on a quiet machine it is 2 µs."""
    seen = call()

    seconds = min(timeit.repeat(lambda: metrics.record(seen), number=2000, repeat=5)) / 2000

    assert seconds < 20e-6


# ── the table in the README ──────────────────────────────────────────────────────────────────────────────────────────


def documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    readme = Path(gateway.observe.__file__).with_name("README.md").read_text(encoding="utf-8")
    for name, kind, labels in re.findall(r"^\| `(quotagate_\w+)` \| (\w+) \|([^|]*)\|", readme, re.MULTILINE):
        yield name, kind, frozenset(re.findall(r"`(\w+)`", labels))


def test_the_readme_lists_every_metric_with_its_type_and_labels(metrics: Metrics) -> None:
    metrics.record(call())
    metrics.record(refused("insufficient_quota", "day"))
    metrics.shadow_denied("burst")
    metrics.near_limit("day")
    metrics.fold()
    with fakeredis.FakeRedis(version=(6, 2)) as client:
        collectors = (metrics.registry, StoreCollector(client, ["p00"]), WorkerCollector(WorkerCounts()))
        families = [family for collector in collectors for family in collector.collect()]

    served = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels if label != "le"),
        )
        for family in families
    }
    assert served == set(documented())
