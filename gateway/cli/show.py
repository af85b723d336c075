"""How things are printed: tables for people, JSON lines for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Every command imports this file: none waits for what another one needs.
    from gateway.accounts.api_keys import ApiKey
    from gateway.config import Config
    from gateway.domain.balance import Balance
    from gateway.domain.reservation import Bucket

#: Columns of a table that is not for a terminal: wider than any row of the ledger.
_NO_WIDTH = 100_000


def line(item: Mapping[str, Any]) -> None:
    """One JSON object on a line."""
    sys.stdout.write(json.dumps(item, default=_plain, ensure_ascii=False) + "\n")


def rows(title: str, items: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    """Many things of one shape."""
    if as_json:
        for item in items:
            line(item)
        return
    from rich.table import Table

    table: Table | None = None
    for item in items:
        if table is None:
            table = Table(title=shown(title), title_justify="left")
            for name, value in item.items():
                table.add_column(name, justify="right" if isinstance(value, int) else "left", overflow="fold")
        table.add_row(*(shown(value) for value in item.values()))
    put(table if table is not None else f"{shown(title)}: none")


def api_key(key: ApiKey) -> dict[str, Any]:
    """A key as a row: all that is known of it."""
    terms = key.terms
    return {
        "prefix": key.prefix,
        "account": key.account,
        "name": terms.name,
        "team": terms.team,
        "organisation": terms.organisation,
        "scopes": " ".join(terms.scopes),
        "limits": ", ".join(terms.limits),
        "created_at": key.created_at,
        "expires_at": terms.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def balance(found: Balance, redis_keys: Sequence[str], config: Config, as_json: bool) -> None:
    """An account's balance."""
    account = found.account
    if as_json:
        line(
            {
                "account": account.id,
                "tier": account.tier,
                "zone": account.zone or config.tiers[account.tier].zone.key
                if account.tier in config.tiers
                else account.zone,
                "status": account.status,
                "left": account.left,
                "held": account.held,
                "spent": account.spent,
                "granted": account.granted - account.lapsed,
                "available": found.available,
                "used_tokens": account.used_tokens,
                "requests": account.requests,
                "resets_at": _at(found.resets_at_ms),
                "override": account.override,
                "buckets": [_bucket(bucket, is_open=True) for bucket in account.buckets]
                + [_bucket(bucket, is_open=False) for bucket in found.due],
                "redis_keys": list(redis_keys),
            }
        )
        return
    from rich.table import Table

    table = Table(title=f"{account.id} ({account.tier}, {account.status})", title_justify="left")
    for name in ("bucket", "left", "held", "of", "until"):
        table.add_column(name, justify="right" if name in ("left", "held", "of") else "left", overflow="fold")
    for bucket in account.buckets:
        table.add_row(*_bucket_row(bucket, config))
    for bucket in found.due:
        table.add_row(*_bucket_row(bucket, config), style="dim")
    table.add_section()
    table.add_row("all", amount(found.available, config), amount(account.held, config), "", "")
    put(table)
    put(
        f"spent {amount(account.spent, config)} in {account.requests} call(s), {account.used_tokens} tokens; "
        f"the next reset is {_at(found.resets_at_ms).isoformat()}"
    )
    if found.due:
        put("what is dim is opened by the next call", style="dim")
    put("in redis-cli: " + "  ".join(redis_keys))


def amount(units: int, config: Config) -> str:
    """Units for people: the point where `decimals` puts it, no float on the way."""
    if config.decimals == 0:
        return str(units)
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(config.decimals + 1, "0")
    return f"{sign}{digits[: -config.decimals]}.{digits[-config.decimals :]}"


def _bucket(bucket: Bucket, *, is_open: bool) -> dict[str, Any]:
    return {
        "kind": bucket.kind,
        "id": bucket.id,
        "amount": bucket.amount,
        "left": bucket.left,
        "held": bucket.held,
        "ends_at": None if bucket.ends_at_ms is None else _at(bucket.ends_at_ms),
        "open": is_open,
    }


def _bucket_row(bucket: Bucket, config: Config) -> list[str]:
    held = "" if bucket.held is None else amount(bucket.held, config)
    until = "" if bucket.ends_at_ms is None else _at(bucket.ends_at_ms).isoformat()
    return [f"{bucket.kind}:{bucket.id}", amount(bucket.left, config), held, amount(bucket.amount, config), until]


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def shown(value: Any) -> str:
    """A value as a cell of a table. What a terminal would obey is marked: model names come from clients."""
    if value is None:
        return ""
    text = value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def put(renderable: Any, style: str | None = None) -> None:
    """Prints a table or a line for people."""
    console().print(renderable, style=style)


def console() -> Any:
    """Rich, on standard output. Values are no markup and no names of emoji. What goes into a pipe or a file is read by
    programs too, so no cell is folded there."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _NO_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
