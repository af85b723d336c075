"""`quotagate report holds`."""

from __future__ import annotations

import time

from tests.cli.command import FORKS, Command, call_event

pytestmark = FORKS


def recent(days: int = 0, **change: str) -> dict[str, str]:
    """What makes of a call one of some days ago."""
    at_ms = time.time_ns() // 1_000_000 - days * 86_400_000
    return {"at": str(at_ms), "started_at": str(at_ms), "held": "10", "first_held": "10"} | change


def test_holds_are_compared_with_costs_an_object_a_group(quotagate: Command) -> None:
    quotagate.records(call_event(1, **recent()), call_event(2, "bob", **recent(first_held="6", output="70")))

    assert quotagate("report", "holds", "--json").only() == {
        "group": "/v1/chat", "calls": 2, "mean_held": 10, "mean_cost": 7, "used_p50_percent": 70,
        "used_p95_percent": 70, "used_p99_percent": 70, "outgrew_percent": 50, "suggested_default_output_tokens": 128,
        "suggested_max_hold": 7,
    }  # fmt: skip


def test_a_report_looks_back_as_far_as_it_is_asked_to(quotagate: Command) -> None:
    quotagate.records(call_event(1, **recent()), call_event(2, model="m2", **recent(days=9)))

    assert [row["group"] for row in quotagate("report", "holds", "--by", "model", "--json").json()] == ["gpt-4o"]
    assert len(quotagate("report", "holds", "--by", "model", "--since", "10", "--json").json()) == 2


def test_a_report_of_nothing_says_so(quotagate: Command) -> None:
    assert quotagate("report", "holds", "--by", "tier").out == "holds of 7 day(s) by tier: none\n"


def test_an_unknown_group_is_refused(quotagate: Command) -> None:
    done = quotagate("report", "holds", "--by", "moon")

    assert done.code == 2
    assert "route" in done.err
