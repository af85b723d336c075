"""Settlements and releases that Redis could not take yet: repeated, with their ids, until it does.

The client does not wait for an outage: after the link's own deadline the answer goes out, and the repeats go on here.
If this process ends first, the hold's lease ends too and the sweeper closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.domain.errors import ScriptFault, StoreUnavailable
from gateway.domain.reservation import Unknown
from gateway.store.calls import Call
from gateway.store.link import Store

log = logging.getLogger("quotagate.proxy")
T = TypeVar("T")

#: What to do in place of a call whose hold Redis does not know any more.
Anew = Callable[[], Awaitable[T]]

#: Between two attempts; doubles up to the maximum.
PAUSE_S, PAUSE_MAX_S = 0.5, 15.0
#: Of calls that cost nothing, more than this are not kept through an outage.
MAX_PENDING = 10_000


class Outbox:
    """Runs calls that must not be lost."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        #: Calls that cost nothing and were never recorded, because too many waited.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._pending)

    async def run(self, call: Call[T], anew: Anew[T] | None = None, *, may_be_dropped: bool = False) -> T | None:
        """The outcome, or None when Redis cannot be asked now: the call is then repeated in the background.

        `anew` is run when the outcome is Unknown: Redis came back without the hold. `may_be_dropped`: no unit depends
        on it, so it is not repeated when MAX_PENDING wait already.
        """
        try:
            return await self._run(call, anew)
        except StoreUnavailable as error:
            if may_be_dropped and len(self._pending) >= MAX_PENDING:
                self.dropped += 1
                log.error(
                    "%s %s is dropped, call %d of that kind: %d wait for Redis",
                    call.script,
                    call.id,
                    self.dropped,
                    MAX_PENDING,
                    extra=_of(call),
                )
                return None
            log.warning("%s %s is repeated until Redis takes it: %s", call.script, call.id, error, extra=_of(call))
            self.later(call, anew)
            return None
        except ScriptFault:
            log.exception("%s %s failed; the sweeper will end its hold", call.script, call.id, extra=_of(call))
            return None

    def later(self, call: Call[T], anew: Anew[T] | None = None) -> None:
        """Runs a call in the background, as often as it takes."""
        task = asyncio.create_task(self._repeat(call, anew))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def close(self, timeout_s: float = 5.0) -> None:
        """Gives what is pending a last chance."""
        self._closing.set()
        if self._pending:
            await asyncio.wait(self._pending, timeout=timeout_s)
        for task in self._pending:
            task.cancel()

    async def _run(self, call: Call[T], anew: Anew[T] | None) -> T:
        outcome = await self._store.run(call)
        return await anew() if anew is not None and isinstance(outcome, Unknown) else outcome

    async def _repeat(self, call: Call[T], anew: Anew[T] | None) -> None:
        pause_s = PAUSE_S
        while True:
            try:
                await self._run(call, anew)
            except StoreUnavailable:
                await self._pause(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
            except ScriptFault:
                log.exception("%s %s failed; the sweeper will end its hold", call.script, call.id, extra=_of(call))
                return
            else:
                return

    async def _pause(self, pause_s: float) -> None:
        """Ends early, once, when the outbox closes: then is the last chance."""
        if self._closing.is_set():
            await asyncio.sleep(pause_s)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause_s)


def _of(call: Call[T]) -> dict[str, str]:
    """What a log line says of the call beside its words."""
    return {"request_id": call.id}
