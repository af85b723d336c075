"""Limits as clients meet them: over several gateway processes, and in the words of the answers."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import http_sf
import httpx2

from tests.support.config import route
from tests.support.processes import GatewaySystem
from tests.support.upstream import Upstream, Wait, json_answer, openai_json

CONFIG = {
    "more": route("/one", "openai-chat", "one")
    + route("/claude", "anthropic-messages", "one")
    + """
[operations.one]
price = 1
[tiers.requests]
signup = 1000
limits = ["23 requests/hour"]
[tiers.tokens]
signup = 1000
limits = ["3100 output tokens/hour"]
[tiers.slots]
signup = 1000
limits = ["19 concurrent"]
[tiers.balance]
signup = 27
[tiers.all]
signup = 40
limits = ["60 requests/hour", "1700 output tokens/hour", "35 concurrent", "50 cost/hour"]
[tiers.told]
signup = 100
allowance = [{ every = "day", amount = 50 }]
limits = [
  "3 requests/hour", "9000 tokens/day", { limit = "5 concurrent", name = "slots" },
  { limit = "1 request/day", mode = "shadow" },
]
warn_at = [0.6]
[tiers.large]
signup = 1000
limits = ["100 output tokens/hour"]
"""
}
ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
#: How many of a hundred calls at once each tier lets in.
ADMITTED = {"requests": 23, "tokens": 31, "slots": 19, "balance": 27, "all": 17}


def test_five_hundred_calls_at_once_over_three_processes_are_admitted_exactly_as_the_limits_say(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    urls = [system.url, system.start_another_gateway(), system.start_another_gateway()]
    keys = {tier: system.key(f"crowd-{tier}", tier) for tier in ADMITTED}
    gate = Wait()
    shared_upstream.script = lambda request: [gate, *json_answer(openai_json())]
    arrived = len(shared_upstream.requests)
    calls = [(tier, urls[number % 3]) for tier in ADMITTED for number in range(100)]
    random.Random(7).shuffle(calls)

    async def all_at_once() -> list[tuple[str, int]]:
        limits = httpx2.Limits(max_connections=500)
        async with httpx2.AsyncClient(limits=limits, timeout=120) as client:

            async def call(tier: str, url: str) -> tuple[str, int]:
                answer = await client.post(f"{url}/one", json=ASK, headers={"x-api-key": keys[tier]})
                return tier, answer.status_code

            tasks = {asyncio.create_task(call(tier, url)) for tier, url in calls}
            open_calls = tasks
            while len(open_calls) > sum(ADMITTED.values()):
                _, open_calls = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
            gate.until.set()
            return list(await asyncio.gather(*tasks))

    outcomes = asyncio.run(all_at_once())

    assert {tier: outcomes.count((tier, 200)) for tier in ADMITTED} == ADMITTED
    assert {status for _, status in outcomes} == {200, 429}
    assert len(shared_upstream.requests) - arrived == sum(ADMITTED.values())
    for tier, admitted in ADMITTED.items():
        balance = system.balance(f"crowd-{tier}")
        assert (balance["held"], balance["spent"]) == (0, admitted)
    assert system.redis.client.zcard("qg:{p00}:holds") == 0
    assert list(system.redis.client.scan_iter("qg:{p00}:slots:*")) == []


def test_an_answer_tells_every_policy_in_fields_that_a_library_reads(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json())
    key = system.key("told", "told")
    with httpx2.Client(base_url=system.url, headers={"x-api-key": key}) as client:
        first = client.post("/one", json=ASK)
        second = client.post("/claude", json=ASK)
        client.post("/one", json=ASK)
        refused = client.post("/one", json=ASK)

    assert fields(first, "RateLimit-Policy") == {
        "balance": {"q": 50},
        "requests-per-hour": {"q": 3, "w": 3600},
        "tokens-per-day": {"q": 9000, "w": 86_400, "qu": "tokens"},
        "slots": {"q": 5, "qu": "concurrent-requests"},
    }
    states = fields(first, "RateLimit")
    assert states["requests-per-hour"] == {"r": 2, "t": 1200}
    assert states["slots"] == {"r": 4}
    assert states["balance"]["r"] == 149
    assert 8800 < states["tokens-per-day"]["r"] < 8900
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("3", "2")
    assert first.headers["x-ratelimit-reset-requests"] == "20m0s"
    assert second.headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert second.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert "x-quota-warning" not in first.headers
    assert second.headers["x-quota-warning"] == 'near;policy="requests-per-hour";used=66'

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "requests-per-hour (3 requests/hour)" in refused.json()["error"]["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 1200
    # Retry-After is not earlier than what RateLimit tells of the policy that denied.
    assert fields(refused, "RateLimit") == {"requests-per-hour": {"r": 0, "t": int(refused.headers["retry-after"])}}
    assert fields(refused, "RateLimit-Policy").keys() == fields(first, "RateLimit-Policy").keys()


def test_a_call_larger_than_its_limit_is_not_told_to_wait(system: GatewaySystem) -> None:
    key = system.key("large", "large")

    answer = httpx2.post(f"{system.url}/one", json=ASK | {"max_tokens": 101}, headers={"x-api-key": key})

    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert "larger than the limit" in answer.json()["error"]["message"]


def fields(answer: httpx2.Response, name: str) -> dict[str, dict[str, Any]]:
    """A structured field's items by their strings, as a library of RFC 9651 reads them."""
    items: Any = http_sf.parse(answer.headers[name].encode(), tltype="list")
    return {item[0]: dict(item[1]) for item in items}
