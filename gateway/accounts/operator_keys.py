"""Admin keys made and revoked, each noted in the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.accounts import admin_keys
from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import NotFound, RefusedInput


def create(
    system: System, by: By, name: str, scopes: tuple[str, ...], expires_at: datetime | None = None
) -> tuple[str, str]:
    """A new key, which is shown once, and its prefix. Raises RefusedInput."""
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise RefusedInput(f"a key that expires at {expires_at.isoformat()} would never be valid")
    made: list[str] = []

    def act() -> dict[str, Any]:
        made.append(admin_keys.create(system, name, scopes, expires_at))
        return {"admin_key": made[0][: admin_keys.PREFIX_LENGTH], "scopes": list(scopes), "expires_at": expires_at}

    # Only a name that a key may have is one that the log can keep.
    admin_keys.check(name, scopes)
    once(system, by, "admin_key.create", f"admin:{name}", dict, act)
    return made[0], made[0][: admin_keys.PREFIX_LENGTH]


def revoke(system: System, by: By, key_or_prefix: str) -> str:
    """Ends a key at once, named by its prefix or in full. Returns the prefix. Raises NotFound."""
    prefix = key_or_prefix[: admin_keys.PREFIX_LENGTH]
    found = admin_keys.named(system, key_or_prefix)
    if found is None:
        raise NotFound(f"there is no admin key {prefix!a}")

    def act() -> dict[str, Any]:
        admin_keys.revoke(system, prefix)
        return {"admin_key": prefix, "revoked": True}

    was = {"revoked": found.revoked_at is not None}
    once(system, by, "admin_key.revoke", f"admin:{found.name}", lambda: was, act)
    return prefix
