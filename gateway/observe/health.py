"""Whether this process can serve calls, and why not. `/healthz` says that it lives, `/readyz` asks here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Nobody is asked more often than this, however often the page is read.
FRESH_S = 1.0
OK = "ok"

#: Returns what is wrong, or None. Runs in a thread.
Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Health:
    """What the checks found."""

    #: True when calls can be served, be it with a warning.
    is_ready: bool
    #: Check → "ok", or what is wrong.
    checks: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return OK if all(found == OK for found in self.checks.values()) else "degraded"


class Readiness:
    """Asks its checks. Without `required` no call can be served; `warnings` are told, and calls go on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.required: dict[str, Check] = {}
        self.warnings: dict[str, Check] = {}
        self._clock = clock
        self._is_stopping = False
        self._found: Health | None = None
        self._found_at = 0.0
        self._asking = asyncio.Lock()

    def stop(self) -> None:
        """The process is asked to end: whoever balances load is to look elsewhere. Safe in a signal handler."""
        self._is_stopping = True

    async def health(self) -> Health:
        if self._is_stopping:
            return Health(False, {"process": "shutting down"})
        async with self._asking:
            if self._found is None or self._clock() - self._found_at >= FRESH_S:
                self._found = await asyncio.to_thread(self._ask)
                self._found_at = self._clock()
            return self._found

    def _ask(self) -> Health:
        required = {name: check() or OK for name, check in self.required.items()}
        is_ready = all(found == OK for found in required.values())
        warnings = {name: check() or OK for name, check in self.warnings.items()} if is_ready else {}
        return Health(is_ready, required | warnings)
