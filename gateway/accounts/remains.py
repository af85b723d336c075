"""Open holds and remembered endings of calls, found by account. Redis keeps neither by account: both are found by a
look at all of them, the endings only once, when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.accounts.recovery import Done
from gateway.accounts.system import System
from gateway.store.keys import Keys

_PAGE = 1000


class Remains:
    """What one reconciliation has found so far."""

    def __init__(self, system: System) -> None:
        self._system = system
        #: Whose each hold is: that never changes.
        self._owners: dict[str, str] = {}
        self._holds: dict[str, list[str]] = {}
        self._done: dict[str, list[Done]] | None = None
        self._strays: list[tuple[str, str]] | None = None
        #: When holds were looked at last, on the store's clock.
        self.listed_at_ms = 0

    def list_holds(self) -> None:
        """Looks at the holds that are open now."""
        if self._strays is None:
            self._strays = self._find_strays()
        self._holds = {}
        self.listed_at_ms = self._now_ms()
        for partition in self._system.keys.all_partitions():
            found: Any = self._system.redis.zrange(Keys.of_partition(partition, "holds"), 0, -1)
            ids = [id.decode() for id in found]
            self._learn(partition, ids)
            for id in {*ids, *(stray for where, stray in self._strays if where == partition)}:
                if owner := self._owners.get(id):
                    self._holds.setdefault(owner, []).append(id)

    def holds_of(self, account: str) -> list[str]:
        """Ids of the account's holds, as of the last look."""
        return sorted(self._holds.get(account, []))

    def done_of(self, account: str) -> list[Done]:
        """How the account's calls have ended, as long as Redis remembers it."""
        if self._done is None:
            self._done = self._find_done()
        return self._done.get(account, [])

    def _find_strays(self) -> list[tuple[str, str]]:
        """Holds by their keys: one may have lost its place among the others."""
        found = []
        for partition in self._system.keys.all_partitions():
            prefix = Keys.of_partition(partition, "hold:")
            ids = [key.decode().removeprefix(prefix) for key in self._scan(f"{prefix}*")]
            self._learn(partition, ids)
            found += [(partition, id) for id in ids]
        return found

    def _learn(self, partition: str, ids: list[str]) -> None:
        """Whose these holds are."""
        unknown = [id for id in ids if id not in self._owners]
        for start in range(0, len(unknown), _PAGE):
            pipeline = self._system.redis.pipeline(transaction=False)
            for id in unknown[start : start + _PAGE]:
                pipeline.hget(Keys.of_partition(partition, f"hold:{id}"), "account")
            for id, owner in zip(unknown[start : start + _PAGE], pipeline.execute(), strict=True):
                if owner is not None:
                    self._owners[id] = owner.decode()

    def _find_done(self) -> dict[str, list[Done]]:
        now_ms = self._now_ms()
        found: dict[str, list[Done]] = {}
        for partition in self._system.keys.all_partitions():
            prefix = Keys.of_partition(partition, "done:")
            page: list[bytes] = []
            for key in self._scan(f"{prefix}*"):
                page.append(key)
                if len(page) == _PAGE:
                    self._read_done(prefix, page, now_ms, found)
                    page = []
            self._read_done(prefix, page, now_ms, found)
        return found

    def _read_done(self, prefix: str, page: list[bytes], now_ms: int, found: dict[str, list[Done]]) -> None:
        pipeline = self._system.redis.pipeline(transaction=False)
        for key in page:
            pipeline.hmget(key, "account", "how", "request", "charged", "written_off")
            pipeline.pttl(key)
        replies = pipeline.execute()
        for key, fields, ttl_ms in zip(page, replies[::2], replies[1::2], strict=True):
            if fields[0] is None:
                continue
            account, how, request, charged, written_off = (b"" if word is None else word for word in fields)
            ended_at_ms = now_ms - max(self._system.config.remember_ms - max(ttl_ms, 0), 0)
            found.setdefault(account.decode(), []).append(
                Done(
                    key.decode().removeprefix(prefix), how.decode(), request.decode(), int(charged or 0),
                    int(written_off or 0), ended_at_ms,
                )
            )  # fmt: skip

    def _now_ms(self) -> int:
        seconds, micros = self._system.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _scan(self, pattern: str) -> Iterator[bytes]:
        yield from self._system.redis.scan_iter(pattern, count=_PAGE)
