"""`/metrics`, `/healthz` and `/readyz` of a gateway whose Redis is away."""

from __future__ import annotations

import signal

import httpx2
import pytest
import uvicorn

from gateway import app, server
from gateway.config import parse
from gateway.observe.endpoints import may_scrape
from gateway.observe.health import Readiness
from tests.observe.samples import value
from tests.proxy.pools import on_a_loop
from tests.support.config import config_text
from tests.support.servers import free_port

TOKEN = "a token for those who scrape"


async def get(path: str, table: str = "", readiness: Readiness | None = None) -> httpx2.Response:
    redis_url = f"redis://127.0.0.1:{free_port()}/0"
    text = config_text(redis_url=redis_url, database_url="sqlite://", more=f"[observability]\n{table}")
    transport = httpx2.ASGITransport(app.build(parse(text, "config.toml", {}), None, readiness))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path)


@on_a_loop
async def test_metrics_are_served_without_redis() -> None:
    answer = await get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert value(answer.text, "quotagate_store_up") == 0
    assert value(answer.text, "quotagate_open_calls") == 0


@on_a_loop
async def test_metrics_that_are_off_are_not_there() -> None:
    assert (await get("/metrics", "metrics = false")).status_code == 404


@on_a_loop
async def test_a_gateway_without_redis_lives_and_is_not_ready() -> None:
    alive, ready = await get("/healthz"), await get("/readyz")

    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    assert (ready.status_code, ready.json()["status"]) == (503, "degraded")
    assert ready.json()["checks"] == {
        "link": "not connected to Redis", "store": "Redis cannot be reached (ConnectionError)",
    }  # fmt: skip


@on_a_loop
async def test_a_process_that_is_asked_to_stop_is_not_ready() -> None:
    readiness = Readiness()
    stopping = server._Server(uvicorn.Config(app=None), readiness.stop)  # type: ignore[arg-type]

    stopping.handle_exit(signal.SIGTERM, None)

    answer = await get("/readyz", readiness=readiness)
    assert (answer.status_code, answer.json()["checks"]) == (503, {"process": "shutting down"})
    assert stopping.should_exit


@pytest.mark.parametrize(
    ("authorization", "token", "may"),
    [
        ("", "", True),
        ("Bearer anything", "", True),
        (f"Bearer {TOKEN}", TOKEN, True),
        ("", TOKEN, False),
        (TOKEN, TOKEN, False),
        (f"Bearer {TOKEN}x", TOKEN, False),
        ("Bearer \xff", TOKEN, False),
    ],
)
def test_only_who_has_the_token_may_scrape(authorization: str, token: str, may: bool) -> None:
    assert may_scrape(authorization, token) is may
