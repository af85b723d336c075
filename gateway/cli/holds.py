"""`quotagate holds`: open holds, listed and given back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened

if TYPE_CHECKING:
    from gateway.store.reservations import OpenHold

holds_app = typer.Typer(help="Open holds: what calls under way have set aside.", invoke_without_command=True)


@holds_app.callback()
def holds(
    context: typer.Context,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 100,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List open holds, the oldest lease first."""
    if context.invoked_subcommand is not None:
        return
    from gateway.accounts import holds as acts

    with opened(config, data) as system:
        show.rows("open holds", (_row(hold) for hold in acts.open_holds(system, account, limit)), json)


@holds_app.command()
def release(
    id: Annotated[str, typer.Argument(help="The reservation's id.")],
    reason: Annotated[str, typer.Option(help="For the audit log.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give a hold back in full. A call that still runs ends without a charge."""
    from gateway.accounts import holds as acts

    with opened(config, data) as system:
        hold = acts.release(system, id, actor(), reason)
    if json:
        show.line({"reservation": id, "account": hold.account, "amount": hold.amount, "released": True})
    else:
        typer.echo(f"hold {id} is released: {hold.amount} unit(s) went back to account {hold.account}")


def _row(hold: OpenHold) -> dict[str, Any]:
    return {
        "reservation": hold.id,
        "account": hold.account,
        "amount": hold.amount,
        "parts": " ".join(f"{bucket}={amount}" for bucket, amount in hold.parts),
        "since": datetime.fromtimestamp(hold.opened_at_ms / 1000, UTC),
        "lease_until": datetime.fromtimestamp(hold.lease_until_ms / 1000, UTC),
        "operation": hold.operation,
        "model": hold.model,
    }
