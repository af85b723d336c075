"""`quotagate notices`: what owners of accounts were told."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, opened

if TYPE_CHECKING:
    from gateway.accounts.notices import Delivery, Notice


def notices(
    account: Annotated[str | None, typer.Option(help="Only to this account.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that could not be delivered, or not yet.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 100,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List what owners of accounts were told of their balances, the newest first, and how it was delivered."""
    from gateway.accounts import notices as acts

    with opened(config, data) as system:
        found = acts.listed(system, account, failed=failed, limit=limit)
    if json:
        for notice in found:
            show.line(dataclasses.asdict(notice))
    else:
        show.rows("notices", (_row(notice) for notice in found), False)


def _row(notice: Notice) -> dict[str, Any]:
    return {
        "created_at": notice.created_at,
        "kind": notice.kind,
        "account": notice.account,
        "told": " ".join(f"{name}={value}" for name, value in notice.facts.items()),
        "deliveries": "; ".join(_fares(delivery) for delivery in notice.deliveries) or "none",
    }


def _fares(delivery: Delivery) -> str:
    if delivery.status == "sent":
        return f"{delivery.channel} sent"
    error = f", last: {delivery.last_error}" if delivery.last_error else ""
    if delivery.status == "failed":
        return f"{delivery.channel} failed after {delivery.tries} tries{error}"
    return f"{delivery.channel} waits until {delivery.next_try_at.isoformat(timespec='seconds')}{error}"
