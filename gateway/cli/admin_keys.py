"""Keys of operators, as `quotagate keys … --admin` handles them. What is done is noted in the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import typer

from gateway.cli import show
from gateway.cli.options import actor

if TYPE_CHECKING:
    from gateway.accounts.system import System


def make(system: System, name: str, scopes: tuple[str, ...], expires_at: datetime | None, *, as_json: bool) -> None:
    """Makes a key and shows it, this once: alone on a line."""
    from gateway.accounts import operator_keys
    from gateway.accounts.noting import new_by

    key, prefix = operator_keys.create(system, new_by(actor()), name, scopes, expires_at)
    if as_json:
        show.line({"admin": name, "key": key, "prefix": prefix, "scopes": " ".join(scopes)})
    else:
        typer.echo(key)


def show_all(system: System, *, as_json: bool) -> None:
    from gateway.accounts import admin_keys

    rows = (
        {
            "prefix": key.prefix,
            "admin": key.name,
            "scopes": " ".join(key.scopes),
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "revoked_at": key.revoked_at,
        }
        for key in admin_keys.listed(system)
    )
    show.rows("admin keys", rows, as_json)


def end(system: System, key_or_prefix: str, *, as_json: bool) -> None:
    """Revokes a key, named by its prefix or in full."""
    from gateway.accounts import operator_keys
    from gateway.accounts.noting import new_by

    prefix = operator_keys.revoke(system, new_by(actor()), key_or_prefix)
    if as_json:
        show.line({"prefix": prefix, "revoked": True})
    else:
        typer.echo(f"admin key {prefix} is revoked")
