"""A `Store` for tests of the gateway's own process: the scripts as they are, on a fakeredis, without a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import fakeredis

from gateway.store.calls import Call
from gateway.store.runner import Runner
from tests.support.epoch import ready

T = TypeVar("T")


class FakeStore:
    """Runs calls, keeps them for a look, and fails as a test says."""

    def __init__(self) -> None:
        self.client = ready(fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(6, 2))))
        self.runner = Runner(self.client, "6.2")
        self.calls: list[Call[Any]] = []
        #: What a script's calls raise in place of being run, by the script's name.
        self.faults: dict[str, Exception] = {}

    async def run(self, call: Call[T]) -> T:
        self.calls.append(call)
        await asyncio.sleep(0)
        if call.script in self.faults:
            raise self.faults[call.script]
        return self.runner.run(call)

    async def read_hash(self, key: str) -> dict[str, str]:
        await asyncio.sleep(0)
        if "read" in self.faults:
            raise self.faults["read"]
        return self.hash(key)

    async def read_text(self, key: str) -> str | None:
        await asyncio.sleep(0)
        if "read" in self.faults:
            raise self.faults["read"]
        found: Any = self.client.get(key)
        return None if found is None else found.decode()

    async def write_hash(self, key: str, fields: Mapping[str, str | int]) -> None:
        await asyncio.sleep(0)
        if "write" in self.faults:
            raise self.faults["write"]
        for name, value in fields.items():
            self.client.hset(key, name, value)

    def hash(self, key: str) -> dict[str, str]:
        found: Any = self.client.hgetall(key)
        return {name.decode(): value.decode() for name, value in found.items()}

    def scripts(self) -> list[str]:
        """The scripts that were called, in order."""
        return [call.script for call in self.calls]
