"""What a decision means to the client that is refused, and to the operator who watches."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from gateway.config import parse
from gateway.domain.policy import Applied, Policy, parse_rate
from gateway.domain.reservation import Reserved
from gateway.domain.route import Route
from gateway.observe.observer import Observer
from gateway.proxy.gate import Decision, Gate
from gateway.proxy.refusals import Refusal
from gateway.proxy.request import RequestFacts
from gateway.proxy.verdicts import INTERNAL, note, refusal_of
from gateway.store import calls
from tests.api.test_quota import Clocked
from tests.lua.caller import HOUR_MS, NOON_MS
from tests.proxy.pools import on_a_loop
from tests.proxy.test_gate import ADA, CHAT, FIXED
from tests.support.config import config_text

#: Its calls cost 3, whatever they use, and its limits know what they may use.
FACTS = RequestFacts("m1", counted=10, output_limit=20)


class Counter:
    """Where ada calls, on a tier of the test's own."""

    def __init__(self, tier: str, more: str = "") -> None:
        self.store = Clocked()
        text = config_text(more=f"[tiers.mine]\n{tier}").replace("[gateway]", f"[gateway]\n{more}")
        self.gate = Gate(parse(text, "config.toml", {}), self.store)
        self.account = self.gate.keys.account("ada")
        self.store.runner.run(calls.open_account(self.account, self.gate.config.tiers["mine"], now_ms=NOON_MS))

    async def hold(self, id: str | None = None, route: Route = FIXED, facts: RequestFacts = FACTS) -> Decision:
        decision = await self.gate.hold(id or self.gate.new_id(), ADA, route, facts, self.gate.config)
        assert decision is not None
        return decision

    async def refused(self, after: int = 0, dialect: str = "openai-chat", **options: Any) -> Refusal:
        """Why a call is not let in, after some that were."""
        for _ in range(after):
            assert isinstance((await self.hold()).verdict, Reserved)
        return refusal_of(await self.hold(**options), "ada", self.gate.config, dialect, self.store.now_ms)


def quota(refusal: Refusal) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in refusal.quota}


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_over_a_rate_the_client_hears_which_one_and_when_to_come_again() -> None:
    refusal = await Counter('signup = 100\nlimits = ["2 requests/minute"]').refused(after=2)

    assert dataclasses.replace(refusal, quota=()) == Refusal(
        429,
        "rate_limit_exceeded",
        "The limit requests-per-minute (2 requests/minute) does not let this call in. Try again in 30 s.",
        ("requests-per-minute",),
        30_000,
        "requests",
    )


@pytest.mark.parametrize(
    ("limit", "kind", "retry_after_ms"),
    [
        ("2 requests/minute", "requests", 30_000),
        ("60 tokens/minute", "tokens", 30_000),
        ("20 input tokens/minute", "tokens", 30_000),
        ("40 output tokens/minute", "tokens", 30_000),
        ("6 cost/minute", "tokens", 30_000),
        ("2 concurrent", "requests", 1000),
    ],
)
@on_a_loop
async def test_a_refusal_says_what_its_limit_counts(limit: str, kind: str, retry_after_ms: int) -> None:
    refusal = await Counter(f'signup = 100\nlimits = ["{limit}"]').refused(after=2)

    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert (refusal.kind, refusal.retry_after_ms) == (kind, retry_after_ms)


@pytest.mark.parametrize("limit", ["19 output tokens/hour", "29 tokens/day", "9 input tokens/minute", "2 cost/day"])
@on_a_loop
async def test_what_is_larger_than_its_limit_is_not_told_to_wait(limit: str) -> None:
    refusal = await Counter(f'signup = 100\nlimits = ["{limit}"]').refused()

    assert (refusal.status, refusal.code, refusal.retry_after_ms) == (429, "rate_limit_exceeded", None)
    assert refusal.message.endswith(
        "does not let this call in: it is larger than the limit itself. Ask for less at once."
    )


@on_a_loop
async def test_while_others_run_the_client_waits_for_one_of_them() -> None:
    refusal = await Counter('signup = 100\nlimits = ["2 concurrent"]').refused(after=2)

    assert refusal.violated == ("concurrent",)
    assert refusal.message == (
        "The limit concurrent (2 at a time) does not let this call in while others are running. "
        "Wait for one of them to end."
    )


@on_a_loop
async def test_of_several_limits_all_are_named_and_the_longest_wait_counts() -> None:
    refusal = await Counter('signup = 100\nlimits = ["2 requests/hour", "2 requests/minute", "9 concurrent"]').refused(
        2
    )

    assert refusal.violated == ("requests-per-hour", "requests-per-minute")
    assert refusal.retry_after_ms == HOUR_MS // 2
    assert "The limit requests-per-hour " in refusal.message


@pytest.mark.parametrize(
    ("by", "said"), [('"account"', "hour)"), ('"key"', "hour by key)"), ('["key", "model"]', "hour by key and model)")]
)
@on_a_loop
async def test_a_limit_of_others_too_says_whose_it_is(by: str, said: str) -> None:
    text = f'signup = 100\nlimits = [{{ limit = "1 request/hour", name = "mine", by = {by} }}]'

    refusal = await Counter(text).refused(after=1)

    assert f"The limit mine (1 requests/{said} does not" in refusal.message


@on_a_loop
async def test_a_long_wait_is_told_in_plain_digits() -> None:
    refusal = await Counter('signup = 100\nlimits = ["1 request/hour"]').refused(after=1)

    assert refusal.message.endswith("Try again in 3600 s.")


@on_a_loop
async def test_a_refusal_tells_the_quota_as_it_stands() -> None:
    told = 'signup = 100\nallowance = [{ every = "day", amount = 50 }]\nlimits = ["2 requests/minute", "19 cost/hour"]'

    # RateLimit speaks of what denied the call, so the limit that would do is not in it.
    assert quota(await Counter(told).refused(after=2)) == {
        "x-quota-remaining": "144",
        "ratelimit-policy": '"balance";q=50, "requests-per-minute";q=2;w=60, "cost-per-hour";q=19;w=3600;qu="cost"',
        "ratelimit": '"requests-per-minute";r=0;t=30',
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }


@on_a_loop
async def test_a_refusal_tells_the_quota_in_the_words_of_its_dialect() -> None:
    refusal = await Counter('signup = 100\nlimits = ["2 requests/minute"]').refused(2, "anthropic-messages")

    assert quota(refusal)["anthropic-ratelimit-requests-remaining"] == "0"
    assert quota(refusal)["anthropic-ratelimit-requests-reset"] == "2026-11-20T05:01:00Z"
    assert "x-ratelimit-limit-requests" not in quota(refusal)


# ── the balance ──────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_an_empty_balance_that_fills_up_says_when() -> None:
    refusal = await Counter('allowance = [{ every = "day", amount = 5 }]').refused(after=1)

    assert dataclasses.replace(refusal, quota=()) == Refusal(
        429,
        "insufficient_quota",
        "This call may cost up to 3 token(s), and 2 are left. Wait for the reset, or top up.",
        ("day",),
        12 * HOUR_MS,
    )
    assert quota(refusal) == {
        "x-quota-remaining": "2",
        "ratelimit-policy": '"balance";q=5',
        "ratelimit": '"balance";r=2;t=43200',
    }


@on_a_loop
async def test_credits_that_are_spent_do_not_come_back_by_waiting() -> None:
    refusal = await Counter("signup = 5").refused(after=1)

    assert (refusal.code, refusal.violated, refusal.retry_after_ms) == ("insufficient_quota", ("credits",), None)
    assert refusal.message == "This call may cost up to 3 token(s), and 2 are left. Top up to go on."
    assert quota(refusal) == {"x-quota-remaining": "2"}


@on_a_loop
async def test_an_empty_balance_says_where_it_is_topped_up_and_a_limit_does_not() -> None:
    shop = '[payments]\ntopup_url = "https://shop.example/topup?for={account}"'

    empty = await Counter(f"signup = 2\n{shop}").refused()
    until_midnight = await Counter(f'allowance = [{{ every = "day", amount = 5 }}]\n{shop}').refused(after=1)
    limited = await Counter(f'signup = 100\nlimits = ["2 requests/minute"]\n{shop}').refused(after=2)

    url = "https://shop.example/topup?for=ada"
    assert (empty.topup_url, until_midnight.topup_url, limited.topup_url) == (url, url, "")
    assert empty.message.endswith(f"2 are left. Top up to go on: {url}")
    assert until_midnight.message.endswith(f"2 are left. Wait for the reset, or top up: {url}")
    assert url not in limited.message


@on_a_loop
async def test_the_operator_chooses_the_status_of_an_empty_balance() -> None:
    assert (await Counter("signup = 2", "exhausted_status = 402").refused()).status == 402


@on_a_loop
async def test_a_limit_and_an_empty_balance_are_both_named() -> None:
    refusal = await Counter('signup = 7\nlimits = ["2 requests/minute"]').refused(after=2)

    assert set(refusal.violated) == {"requests-per-minute", "credits"}
    assert (refusal.code, refusal.retry_after_ms) == ("insufficient_quota", None)


# ── what is neither ──────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_suspended_account_is_sent_to_the_operator() -> None:
    counter = Counter("signup = 100")
    counter.store.client.hset(counter.account, "status", "suspended")

    refusal = await counter.refused()

    assert refusal == Refusal(403, "account_suspended", "This account is suspended. Ask the operator.")


@on_a_loop
async def test_an_id_that_stands_for_another_call_is_no_fault_of_the_client(caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter("signup = 100")
    await counter.hold("r1")

    refusal = await counter.refused(id="r1", route=CHAT)

    assert refusal is INTERNAL
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["request_id"]) == (logging.ERROR, "r1")


# ── what the operator hears ──────────────────────────────────────────────────────────────────────────────────────────


class Ear(Observer):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def shadow_denied(self, policy: str) -> None:
        self.heard.append(f"shadow {policy}")

    def near_limit(self, policy: str) -> None:
        self.heard.append(f"near {policy}")


def limit(name: str, mode: str = "enforce", *warn_at: int) -> Policy:
    return Policy(name, parse_rate("10 requests/minute"), mode=mode, warn_at=warn_at)


@pytest.mark.parametrize(
    ("policy", "state", "heard"),
    [
        (limit("trial", "shadow"), (0, 60_000, 10, 1), ["shadow trial"]),
        (limit("trial", "shadow"), (0, 60_000, 10, 0), []),
        (limit("trial", "shadow", 600), (1, 60_000, 10, 0), []),
        (limit("line", "enforce", 600), (4, 36_000, 10, 0), ["near line"]),
        (limit("line", "enforce", 600, 900), (0, 60_000, 10, 0), ["near line"]),
        (limit("line", "enforce", 600), (5, 30_000, 10, 0), []),
        (limit("line"), (0, 60_000, 10, 0), []),
        (limit("line", "enforce", 600), (0, 0, -1, 0), []),
        (limit("trial", "shadow"), (0, 0, -1, 1), []),
    ],
)
def test_shadow_denials_and_near_limits_are_counted(
    policy: Policy, state: tuple[int, int, int, int], heard: list[str]
) -> None:
    ear = Ear()

    note(Applied((limit("other"), policy)), (9, 6_000, 10, 0, *state), ear)

    assert ear.heard == heard


def test_a_call_that_no_policy_looked_at_counts_nothing() -> None:
    ear = Ear()

    note(Applied((limit("trial", "shadow"),)), (), ear)

    assert ear.heard == []


@on_a_loop
async def test_a_shadow_lets_in_what_it_would_have_denied() -> None:
    limits = (
        'limits = [{ limit = "1 request/day", name = "trial", mode = "shadow" }, "4 requests/day"]\nwarn_at = [0.75]'
    )
    counter, ear = Counter(f"signup = 100\n{limits}"), Ear()

    for _ in range(3):
        decision = await counter.hold()
        assert isinstance(decision.verdict, Reserved)
        note(decision.applied, decision.verdict.states, ear)

    assert ear.heard == ["shadow trial", "shadow trial", "near requests-per-day"]
