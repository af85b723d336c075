"""Calls as a gateway holds and ends them, and the worker's drain, for tests of acts."""

from __future__ import annotations

from typing import Any

from gateway.accounts import balances
from gateway.accounts.system import System
from gateway.domain.event import read_event
from gateway.domain.reservation import Reserved
from gateway.domain.schedule import schedule
from gateway.domain.usage import Usage
from gateway.ledger.record import record
from gateway.store import calls
from gateway.store.keys import Keys


def open_account(system: System, account: str = "ada", tier: str = "free") -> None:
    system.runner.run(calls.open_account(system.keys.account(account), system.config.tiers[tier]))


def hold(system: System, id: str, account: str = "ada", amount: int = 3, **change: Any) -> None:
    """Holds units for a call of "chat", as its gateway would."""
    view = balances.read(system, account).account
    tier = system.tier(view.tier)
    version = change.pop("price_version", system.config.prices.version)
    operation = change.pop("operation", "chat")
    route = change.pop("route", "/v1/chat/completions")
    policies = change.pop("policies", ())
    terms = calls.terms(operation, route, version, tier, schedule(tier, view.now_ms), policies=policies)
    call = calls.reserve(
        system.keys.account(account), id, amount, terms, version=view.version, **{"model": "gpt-4o"} | change
    )
    assert isinstance(system.runner.run(call), Reserved)


def settle(system: System, id: str, cost: int, usage: Usage = Usage(), account: str = "ada") -> None:  # noqa: B008
    system.runner.run(calls.settle(system.keys.account(account), id, cost, usage))


def expire(system: System, now_ms: int) -> None:
    for partition in system.keys.all_partitions():
        system.runner.run(calls.expire(Keys.of_partition(partition, "holds"), now_ms=now_ms))


def drain(system: System) -> None:
    """What waits in the streams goes into the ledger, and out of them."""
    for partition in system.keys.all_partitions():
        stream = Keys.of_partition(partition, "events")
        found: Any = system.redis.xrange(stream)
        read = [read_event({k.decode(): v.decode() for k, v in fields.items()}, id.decode()) for id, fields in found]
        record(system.ledger, read)
        if found:
            system.redis.xdel(stream, *(id for id, _ in found))
