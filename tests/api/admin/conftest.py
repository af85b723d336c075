"""The control plane in the test's own process: a real Redis, a SQLite, an admin with a key for each scope."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from gateway.accounts import admin_keys
from gateway.accounts.system import System
from gateway.api.app import build_api
from gateway.api.control import Control
from gateway.config import parse
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.ledger.record import record
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import QuotaMiddleware
from gateway.store.inbox import Inbox
from gateway.store.runner import Runner
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import Backend
from tests.support.config import config_text
from worker.drain import drain_inbox

CONFIG = config_text()


class RealStore(FakeStore):
    """The same over a real server."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self.client = client
        self.runner = Runner(client)


@contextlib.asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[None]:
    yield


class Desk:
    """Where an operator sits. Each request has a loop of its own."""

    def __init__(self, client: redis.Redis, url: str, config: str = CONFIG) -> None:
        settings = parse(config, "config.toml", {})
        engine = database.connect(url)
        migrate(engine)
        self.system = System(settings, client, engine)
        self.gate = Gate(settings, RealStore(client))
        self.app = QuotaMiddleware(Backend(), self.gate, build_api(Control(self.gate, client, engine), [], no_lifespan))
        self.key = self.key_for("*")

    def key_for(self, *scopes: str, name: str = "root", expires_at: datetime | None = None) -> str:
        return admin_keys.create(self.system, name, scopes, expires_at)

    def ask(
        self, method: str, path: str, *, key: str | None = None, again: str = "", **options: Any
    ) -> httpx2.Response:
        """`again`: the request's Idempotency-Key."""
        headers = {"authorization": f"Bearer {self.key if key is None else key}"} | options.pop("headers", {})
        if again:
            headers["idempotency-key"] = again

        async def ask() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app, client=("203.0.113.7", 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
                answer = await client.request(method, path, headers=headers, **options)
            await self.gate.close()
            return answer

        return asyncio.run(ask())

    def get(self, path: str, **params: Any) -> Any:
        """A JSON answer that must be there."""
        answer = self.ask("GET", f"/api/admin/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def do(self, method: str, path: str, body: Any = None, *, again: str = "", **params: Any) -> Any:
        """A write that must succeed."""
        answer = self.ask(method, f"/api/admin/{path}", again=again, params=params, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, **params: Any) -> tuple[int, str, str]:
        """A request that must not succeed: its status, code and sentence."""
        answer = self.ask(method, f"/api/admin/{path}", params=params, json=body)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        said = answer.json()
        assert said["status"] == answer.status_code
        return answer.status_code, said["code"], said["detail"]

    def open(self, id: str = "ada", **more: Any) -> Any:
        return self.do("POST", "accounts", {"id": id} | more)

    def drain(self) -> None:
        """What the worker does."""
        inbox = Inbox(self.system.redis, "p00", "test")
        inbox.open()
        drain_inbox(inbox, lambda events: record(self.system.ledger, events))

    def acts(self, **filters: str) -> list[tuple[str, str, str]]:
        """The audit log, oldest first: actor, action, target."""
        found = self.get("audit", **filters)["items"]
        return [(act["actor"], act["action"], act["target"]) for act in reversed(found)]


@pytest.fixture
def desk(redis_client: redis.Redis, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(redis_client, database.sqlite_url(tmp_path))
    yield made
    made.system.ledger.dispose()
