"""Throttles as clients meet them: a stream is slowed, nobody is denied, and the call stays held and is paid."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2

from gateway.meters.estimate import tokens_of_text
from tests.support.config import route
from tests.support.processes import GatewaySystem
from tests.support.upstream import (
    DONE,
    END,
    Step,
    Upstream,
    Wait,
    chunk,
    json_answer,
    openai_chunk,
    openai_json,
    openai_usage_chunk,
    stream_head,
)
from tests.support.waiting import until

RATE, ROOM = 60, 10
LEASE_S = 5
CONFIG = {
    "store": f"lease_s = {LEASE_S}",
    "more": route("/stopped", "openai-chat", extra='on_disconnect = "stop"')
    + f"""
[tiers.slow]
signup = 1_000_000
limits = [{{ limit = "{RATE} output tokens/second burst {ROOM - 1}", mode = "throttle" }}]
[tiers.still]
signup = 1_000_000
limits = [{{ limit = "1 output token/hour burst {ROOM - 1}", mode = "throttle" }}]
""",
}
ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
#: A text of more than one token a piece, each a piece of its own for whoever waits for the one before.
TEXTS = [f"piece {number} of a text that takes a while to say; " for number in range(10)]


def test_a_stream_goes_out_whole_and_no_faster_than_its_throttle(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    gates = [Wait() for _ in TEXTS]

    def script(_: object) -> Iterator[Step]:
        yield stream_head()
        for gate, text in zip(gates, TEXTS, strict=True):
            yield gate
            yield chunk(openai_chunk(text))
        yield chunk(openai_usage_chunk(7, 200) + DONE)
        yield END

    shared_upstream.script = script
    gates[0].until.set()
    headers = {"x-api-key": system.key("slow", "slow")}
    began_s, heard, arrived_s = time.monotonic(), b"", list[float]()
    with httpx2.stream("POST", f"{system.url}/v1/chat/completions", json=ASK, headers=headers, timeout=60) as answer:
        for data in answer.iter_raw():
            heard += data
            if len(arrived_s) < len(TEXTS) and TEXTS[len(arrived_s)].encode() in heard:
                arrived_s.append(time.monotonic() - began_s)
                for gate in gates[len(arrived_s) :][:1]:
                    gate.until.set()

    assert answer.status_code == 200
    assert heard == b"".join(openai_chunk(text) for text in TEXTS) + DONE
    tokens = [tokens_of_text("".join(TEXTS[: number + 1]).encode()) for number in range(len(TEXTS))]
    # Counts are rounded up once a piece, or once in all; the loop's clock has whole milliseconds.
    earliest_s = [(count - 3 - ROOM) / RATE - 0.01 for count in tokens]
    assert earliest_s[-1] > 1
    assert [at_s >= least_s for at_s, least_s in zip(arrived_s, earliest_s, strict=True)] == [True] * len(TEXTS)
    assert (system.balance("slow")["spent"], system.balance("slow")["held"]) == (207, 0)


def test_a_stream_that_stands_still_keeps_its_lease_and_ends_with_its_client(
    system: GatewaySystem, shared_upstream: Upstream
) -> None:
    """Its next piece is due in days. Meanwhile the worker's sweeper looks for leases that ended, and an answer that is
    no stream is not slowed."""
    shared_upstream.script = lambda request: [stream_head(), *[chunk(openai_chunk("word "))] * 200, Wait()]
    stopped, headers = shared_upstream.stopped, {"x-api-key": system.key("still", "still")}

    def leases() -> list[float]:
        found: Any = system.redis.client.zrange("qg:{p00}:holds", 0, -1, withscores=True)
        return [float(ends_ms) for _, ends_ms in found]

    with httpx2.stream("POST", f"{system.url}/stopped", json=ASK, headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        (first_ms,) = leases()
        until(lambda: min(leases()) > first_ms + LEASE_S * 1000, 60, "renewals beyond the first lease")
        shared_upstream.script = lambda request: json_answer(openai_json(7, 200))
        assert httpx2.post(f"{system.url}/stopped", json=ASK | {"stream": False}, headers=headers).status_code == 200
        assert len(leases()) == 1
        assert system.balance("still")["spent"] == 207

    until(lambda: leases() == [], what="the end of the hold")
    until(lambda: shared_upstream.stopped > stopped, what="the end of the call upstream")
    balance = system.balance("still")
    assert balance["held"] == 0
    assert 207 + ROOM <= balance["spent"] < 207 + 1000
