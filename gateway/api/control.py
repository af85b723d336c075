"""What every handler works with: the gate, which knows callers, the system, which knows everything else, and the
payment providers.

Handlers are plain functions, which FastAPI runs in threads: acts wait for Redis and SQL, and the event loop belongs to
the governed calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import redis
from fastapi import Depends, Request
from sqlalchemy import Engine

from gateway.accounts.system import System
from gateway.config import Config
from gateway.payments import providers
from gateway.payments.providers import Providers
from gateway.proxy.gate import Gate


class Control:
    """One process's control plane."""

    def __init__(
        self,
        gate: Gate,
        client: redis.Redis,
        ledger: Engine,
        providers_of: Callable[[Config], Providers] = providers.of,
    ) -> None:
        self.gate = gate
        self._system = System(gate.config, client, ledger)
        self._providers_of = providers_of

    @property
    def config(self) -> Config:
        """The config in force."""
        return self.gate.config

    @property
    def system(self) -> System:
        """The system, with the config in force. A handler that needs it twice asks once."""
        if self._system.config is not self.gate.config:
            self._system = System(self.gate.config, self._system.redis, self._system.ledger)
        return self._system

    @property
    def providers(self) -> Providers:
        """The payment providers of the config in force."""
        return self._providers_of(self.gate.config)

    def close(self) -> None:
        self.providers.close()
        self._system.redis.close()
        self._system.ledger.dispose()


def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


def _system(request: Request) -> System:
    return _control(request).system


def _providers(request: Request) -> Providers:
    return _control(request).providers


ControlOf = Annotated[Control, Depends(_control)]
SystemOf = Annotated[System, Depends(_system)]
ProvidersOf = Annotated[Providers, Depends(_providers)]
