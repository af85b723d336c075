"""Keys of operators, for the admin API. Each has a name, by which the audit log knows who acted, and scopes.

Like an API key, one is a public prefix and a secret, of which only the SHA-256 is stored. They stand in SQL alone:
operators act rarely, and no key of theirs lets a governed call in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from gateway.accounts.keys import PREFIX_SECRET, digest, new_key
from gateway.accounts.system import System
from gateway.domain.errors import NotFound, RefusedInput
from gateway.ledger.tables import admin_keys

PREFIX = "qga_"
PREFIX_LENGTH = len(PREFIX) + PREFIX_SECRET

#: What a key may be allowed to do; "*" is everything.
SCOPES = (
    "accounts:read", "accounts:write", "credits:write", "keys:write", "licenses:write", "ledger:read", "payments:read",
    "payments:write", "rewards:read", "rewards:write", "system:read", "system:write",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A key as it can be shown: never the secret."""

    prefix: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def create(system: System, name: str, scopes: tuple[str, ...], expires_at: datetime | None = None) -> str:
    """A new key, which is shown once. Raises RefusedInput."""
    check(name, scopes)
    prefix, key = new_key(PREFIX)
    row = {
        "prefix": prefix, "digest": digest(key), "name": name, "scopes": " ".join(scopes),
        "created_at": datetime.now(UTC), "expires_at": expires_at,
    }  # fmt: skip
    with system.ledger.begin() as connection:
        connection.execute(insert(admin_keys).values(row))
    return key


def check(name: str, scopes: tuple[str, ...]) -> None:
    """Raises RefusedInput for a name or scopes that no key can have."""
    if not 1 <= len(name) <= 100 or not name.isprintable() or any(c.isspace() for c in name):
        raise RefusedInput("an admin key needs a name of 1-100 printable characters without white space")
    unknown = sorted(set(scopes) - {*SCOPES, "*"})
    if unknown or not scopes:
        what = f"{unknown[0]!r} is no scope" if unknown else "an admin key needs a scope"
        raise RefusedInput(f"{what}: name some of {', '.join(SCOPES)}, or * for all")


def find(system: System, key: str) -> AdminKey | None:
    """Whose key it is; None: nobody's, or it is revoked or past its time."""
    found = named(system, key) if len(key) > PREFIX_LENGTH else None
    if found is None or found.revoked_at is not None:
        return None
    return found if found.expires_at is None or found.expires_at > datetime.now(UTC) else None


def named(system: System, key_or_prefix: str) -> AdminKey | None:
    """The key of this prefix, revoked or not; None: there is none, or its secret is another than the one given."""
    prefix = key_or_prefix[:PREFIX_LENGTH]
    with system.ledger.connect() as connection:
        row = connection.execute(select(admin_keys).where(admin_keys.c.prefix == prefix)).one_or_none()
    if row is None:
        return None
    is_whole = len(key_or_prefix) > PREFIX_LENGTH
    return None if is_whole and not secrets.compare_digest(row.digest, digest(key_or_prefix)) else _shown(row)


def listed(system: System) -> list[AdminKey]:
    """All of them, oldest first."""
    with system.ledger.connect() as connection:
        found = connection.execute(select(admin_keys).order_by(admin_keys.c.created_at, admin_keys.c.prefix)).all()
    return [_shown(row) for row in found]


def revoke(system: System, prefix: str) -> None:
    """Ends a key at once. Raises NotFound."""
    with system.ledger.begin() as connection:
        is_it = admin_keys.c.prefix == prefix
        if connection.execute(select(admin_keys.c.prefix).where(is_it)).one_or_none() is None:
            raise NotFound(f"there is no admin key {prefix}")
        ends = update(admin_keys).where(is_it & admin_keys.c.revoked_at.is_(None))
        connection.execute(ends.values(revoked_at=datetime.now(UTC)))


def _shown(row: Row[Any]) -> AdminKey:
    return AdminKey(row.prefix, row.name, tuple(row.scopes.split()), row.created_at, row.expires_at, row.revoked_at)
