"""What the jobs of this process work with. RQ calls a job by its name, so it finds these here."""

from __future__ import annotations

from gateway.accounts.system import System
from gateway.store.inbox import consumer_name

_system: System | None = None


def use(system: System) -> None:
    """Sets what the jobs of this process work with."""
    global _system
    _system = system


def system() -> System:
    if _system is None:
        raise RuntimeError("jobs run inside `quotagate worker`, which sets their system first")
    return _system


_consumer: str | None = None


def consumer() -> str:
    """This process's name in the consumer group, the same for all its jobs."""
    global _consumer
    if _consumer is None:
        _consumer = consumer_name()
    return _consumer
