"""What an account is entitled to: its tier and its zone."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from gateway.accounts import epoch
from gateway.accounts.system import System, look_up, never_opened
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Opened
from gateway.domain.tier import Tier
from gateway.store import calls


def move(system: System, account_id: str, *, tier: str | None = None, zone: str | None = None) -> Opened:
    """Puts an account on another tier, in another zone, or both; what is None stays. `zone`: an IANA name, or "" for
    its tier's. What its periods opened with stays until they end; those that open next are the new ones. A tier that is
    named here is the account's for good, or until a subscription is paid again.

    Raises NotFound when there is no such account, RefusedInput when there is no such tier or zone, StoreUnready when
    Redis must be restored first.
    """
    account_key = system.keys.account(look_up(account_id))
    known = system.runner.run(calls.peek(account_key))
    if known is None:
        epoch.check_known(system, account_id)
        raise never_opened(account_id)
    to = tier_named(system, known.tier if tier is None else tier)
    zone_name = known.zone if zone is None else zone
    check_zone(zone_name)
    ends_ms = None if tier is None else 0
    opened = system.runner.run(
        calls.open_account(
            account_key, to, zone=zone_name, move=True, tier_ends_ms=ends_ms, now_ms=system.script_ms
        )
    )  # fmt: skip
    system.nudge(account_id)
    return opened


def tier_named(system: System, name: str) -> Tier:
    """Raises RefusedInput when the config has no such tier."""
    if name not in system.config.tiers:
        names = ", ".join(sorted(system.config.tiers))
        raise RefusedInput(f"{name!r} is no tier of {system.config.source}: {names}")
    return system.config.tiers[name]


def check_zone(name: str) -> None:
    """Raises RefusedInput for what is neither a zone's name nor empty."""
    try:
        if name:
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfo raises IsADirectoryError for "Asia".
        raise RefusedInput(f"{name!r} is no time zone: name one as IANA does, such as Asia/Jakarta") from None
