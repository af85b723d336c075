"""What an account is entitled to: its tier and its zone."""

from __future__ import annotations

import contextlib
from zoneinfo import ZoneInfo

import redis

from gateway.accounts import epoch
from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Opened, Unready
from gateway.store import calls
from gateway.store.nudge import nudge


def move(system: System, account_id: str, *, tier: str | None = None, zone: str | None = None) -> Opened:
    """Puts an account on another tier, in another zone, or both; what is None stays. `zone`: an IANA name, or "" for
    its tier's. What its periods opened with stays until they end; those that open next are the new ones.

    Raises RefusedInput when there is no such account, tier or zone, StoreUnready when Redis must be restored first.
    """
    account_key = system.keys.account(look_up(account_id))
    known = system.runner.run(calls.peek(account_key))
    if known is None:
        epoch.check_known(system, account_id)
        raise RefusedInput(f"there is no account {account_id}; its first call opens it, or a key, or a grant")
    tier_name = known.tier if tier is None else tier
    if tier_name not in system.config.tiers:
        names = ", ".join(sorted(system.config.tiers))
        raise RefusedInput(f"{tier_name} is no tier of {system.config.source}: {names}")
    zone_name = known.zone if zone is None else zone
    _check_zone(zone_name)
    opened = system.runner.run(
        calls.open_account(account_key, system.config.tiers[tier_name], zone=zone_name, move=True)
    )
    if isinstance(opened, Unready):
        raise epoch.unready(account_id)
    with contextlib.suppress(redis.RedisError):  # It is moved; the worker's schedule finds its event too.
        nudge(system.redis, [system.keys.partition(account_id)])
    return opened


def _check_zone(name: str) -> None:
    try:
        if name:
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfo raises IsADirectoryError for "Asia".
        raise RefusedInput(f"{name!r} is no time zone: name one as IANA does, such as Asia/Jakarta") from None
