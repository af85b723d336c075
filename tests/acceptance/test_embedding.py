"""The middleware over an app of one's own: no proxy, no upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.app import govern
from gateway.domain.reservation import Account
from gateway.store import calls
from gateway.store.keys import Keys
from gateway.store.runner import Runner
from tests.support.config import config_text
from tests.support.servers import RedisServer
from tests.support.upstream import openai_json

SECRET = {"X-Gateway-Secret": "a secret of the backend", "X-User-Id": "ana"}


def test_a_starlette_app_is_governed_by_one_line(tmp_path: Path, real_redis: RedisServer) -> None:
    async def chat(request: Request) -> Response:
        asked = await request.json()
        return JSONResponse(openai_json() | {"model": asked["model"]})

    async def fails(request: Request) -> Response:
        return JSONResponse({"error": "no"}, 500)

    async def home(request: Request) -> Response:
        return JSONResponse({"home": True})

    config = tmp_path / "config.toml"
    config.write_text(config_text(redis_url=real_redis.url))
    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/fixed", fails, methods=["POST"]),
        Route("/", home),
    ]

    async def story() -> tuple[list[Any], Account | None]:
        app = govern(Starlette(routes=routes), config)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://backend") as client:
            body = {"model": "m", "messages": []}
            answers = [
                await client.post("/v1/chat/completions", json=body, headers=SECRET),
                await client.post("/fixed", json=body, headers=SECRET),
                await client.post("/v1/chat/completions", json=body),
                await client.get("/"),
            ]
        account = await app.gate.store.run(calls.peek(Keys().account("ana")))
        await app.gate.close()
        return answers, account

    answers, account = asyncio.run(story())

    assert [answer.status_code for answer in answers] == [200, 500, 401, 200]
    assert answers[0].json()["usage"]["total_tokens"] == 46
    assert answers[0].headers["x-quota-remaining"] == "19"
    assert answers[3].json() == {"home": True}
    assert account is not None
    assert (account.spent, account.held) == (1, 0)
    assert Runner(real_redis.client).run(calls.peek(Keys().account("nobody"))) is None
