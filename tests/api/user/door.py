"""The control plane as its callers meet it, in this process: a real Redis, a SQLite of the test's own, no worker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import redis

from gateway.accounts.system import System
from gateway.api.app import build_api
from gateway.api.control import Control
from gateway.config import Config, parse
from gateway.domain.event import read_event
from gateway.ledger import database
from gateway.ledger.record import record
from gateway.payments import providers
from gateway.payments.providers import Providers
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import QuotaMiddleware
from gateway.store import api_keys
from gateway.store.api_keys import PublishedKey
from gateway.store.calls import Call
from gateway.store.runner import Runner
from tests.proxy.test_middleware import Backend
from tests.support.config import config_text

T = TypeVar("T")

SECRET = "a secret of the backend"
CRON = "a secret of the cron's own"
MORE = f"""
[api]
cron_secret = "{CRON}"
[operations.create_website]
price = 4
lease_s = 900
[operations.kept]
price = 3
on_lost = "charge_hold"
[tiers.told]
signup = 100
allowance = [{{ every = "day", amount = 50 }}]
operations = {{ create_website = 7 }}
warn_below = 140
limits = [{{ limit = "2 requests/hour", name = "uses", operations = ["token_use"] }}]
[tiers.empty]
"""
STREAM = "qg:{p00}:events"


class Store:
    """The gate's own way to the same Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.runner = Runner(client)
        #: What every call raises in place of being run.
        self.fault: Exception | None = None

    async def run(self, call: Call[T]) -> T:
        if self.fault is not None:
            raise self.fault
        return self.runner.run(call)

    async def read_hash(self, key: str) -> dict[str, str]:
        if self.fault is not None:
            raise self.fault
        found: Any = self.runner.client.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    async def read_text(self, key: str) -> str | None:
        if self.fault is not None:
            raise self.fault
        found: Any = self.runner.client.get(key)
        return None if found is None else found.decode()

    async def write_hash(self, key: str, fields: Any) -> None:
        """Nobody looks at when a key was last used."""


@contextlib.asynccontextmanager
async def no_lifespan(app: Any) -> AsyncIterator[None]:
    yield


class Door:
    """A gateway. Each request has a loop of its own; `together` sends several in one."""

    def __init__(
        self,
        client: redis.Redis,
        folder: Path,
        more: str = "",
        replace: tuple[str, str] = ("", ""),
        providers_of: Callable[[Config], Providers] = providers.of,
    ) -> None:
        self.store = Store(client)
        config = parse(config_text(more=MORE + more).replace(*replace), "config.toml", {})
        self.gate = Gate(config, self.store)
        self.ledger = database.connect(database.sqlite_url(folder))
        self.control = Control(self.gate, client, self.ledger, providers_of)
        self.app = QuotaMiddleware(Backend(), self.gate, build_api(self.control, [], no_lifespan))

    @property
    def system(self) -> System:
        return self.control.system

    def together(self, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx2.Response]:
        async def ask() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(self.app, client=("203.0.113.7", 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
                answers = await asyncio.gather(*(client.request(m, path, **more) for m, path, more in requests))
            await self.gate.close()
            return answers

        return asyncio.run(ask())

    def request(self, method: str, path: str, account: str = "ada", **more: Any) -> httpx2.Response:
        """As the trusted backend sends it for its user. Headers come on top."""
        headers = named(account) | more.pop("headers", {})
        return self.together((method, path, {"headers": headers} | more))[0]

    def get(self, path: str, account: str = "ada", status: int = 200, **more: Any) -> dict[str, Any]:
        return told(self.request("GET", path, account, **more), status)

    def post(self, path: str, body: Any = None, account: str = "ada", status: int = 200, **more: Any) -> dict[str, Any]:
        return told(self.request("POST", path, account, json=body, **more), status)

    def publish(self, account: str = "ada", key: str = "qg_AbCdEfGh" + "s" * 32, **terms: Any) -> dict[str, str]:
        """An API key. Returns the headers of whoever has it."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        api_keys.publish(self.system.redis, [PublishedKey(digest, key[:11], account, **terms)])
        return {"authorization": f"Bearer {key}"}

    def field(self, name: str, account: str = "ada") -> str:
        found: Any = self.system.redis.hget(self.system.keys.account(account), name)
        return (found or b"").decode()

    def suspend(self, account: str = "ada") -> None:
        self.system.redis.hset(self.system.keys.account(account), mapping={"status": "suspended", "version": 99})

    def drain(self) -> None:
        """What the worker does: the stream's events become rows."""
        found: Any = self.system.redis.xrange(STREAM)
        events = [
            read_event({name.decode(): value.decode() for name, value in fields.items()}, id.decode())
            for id, fields in found
        ]
        record(self.ledger, events)

    def close(self) -> None:
        self.ledger.dispose()


def named(account: str) -> dict[str, str]:
    return {"x-gateway-secret": SECRET, "x-user-id": account}


def told(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    found: dict[str, Any] = json.loads(answer.text, parse_float=lambda text: f"no float may be told: {text}")
    return found
