"""Looks after calls that last: renews their leases, and notices when their clients leave.

A call costs one dictionary entry; only those that outlive a tick cost more. A hold lives `lease_ms`; it is renewed
three times as often, each time with what was counted so far, so that a gateway that dies leaves an honest bill.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

log = logging.getLogger("quotagate.proxy")

TICK_S = 0.25


def renewal_s(lease_ms: int) -> float:
    """How long after a lease began, or was renewed, it is to be renewed: two renewals may fail before it ends."""
    return lease_ms / 3000


class Leased(Protocol):
    """Whatever has a lease."""

    #: When it is to be renewed next, on the loop's clock.
    renew_at: float

    async def renew(self) -> None: ...


class Lasting(Leased, Protocol):
    """A call as the keeper sees it."""

    #: Whether someone watches for its client to leave.
    watched: bool

    async def watch(self) -> None: ...


class LeaseKeeper:
    """One task a process that walks over the open calls."""

    def __init__(self) -> None:
        self.open: dict[str, Lasting] = {}
        #: Claims on an Idempotency-Key, by their calls' ids.
        self.claims: dict[str, Leased] = {}
        self._task: asyncio.Task[None] | None = None
        #: Renewals and watches under way; held here so that they are not collected.
        self._running: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="quotagate-leases")

    async def close(self) -> None:
        tasks = [*self._running, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._task = None

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        seen: set[str] = set()
        while True:
            await asyncio.sleep(TICK_S)
            now = loop.time()
            for id, call in list(self.open.items()):
                if not call.watched and id in seen:
                    call.watched = True
                    self._spawn(call.watch())
            for leased in (*self.open.values(), *self.claims.values()):
                if leased.renew_at <= now:
                    self._spawn(leased.renew())
            seen = set(self.open)

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a renewal or a watch failed", exc_info=error)
