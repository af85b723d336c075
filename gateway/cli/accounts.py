"""`quotagate accounts` and `quotagate grant`: the acts of the admin API, noted as those of this command's user."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli import show
from gateway.cli.bulk_import import import_accounts
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened

accounts_app = typer.Typer(help="Accounts: their tiers and zones.", no_args_is_help=True)
accounts_app.command("import")(import_accounts)


@accounts_app.command("set")
def accounts_set(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    tier: Annotated[str | None, typer.Option(help="The tier it is put on.")] = None,
    zone: Annotated[
        str | None, typer.Option(help='The zone its days turn in, an IANA name; "" for its tier\'s.')
    ] = None,
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Put an account on another tier, in another zone, or both. Periods that are open run to their end."""
    from gateway.accounts import lifecycle
    from gateway.accounts.noting import new_by

    if tier is None and zone is None:
        raise typer.BadParameter("name --tier, --zone, or both")
    with opened(config, data) as system:
        put = lifecycle.change(system, new_by(actor(), reason), account, tier=tier, zone=zone)
    assert put is not None
    if json:
        show.line({"account": account, "tier": put.tier, "zone": put.zone, "moved": put.how == "moved"})
    else:
        typer.echo(f"account {account} is on tier {put.tier}, in {put.zone or 'the zone of its tier'}")


@accounts_app.command("override")
def accounts_override(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    limits: Annotated[str, typer.Option(help='What its limits are multiplied by: "2x", "1.5", "1/2"; "1" ends it.')],
    until: Annotated[str, typer.Option(help='Until when: "3d", "12h", or an instant with its offset.')],
    reason: Annotated[str, typer.Option(help="For the audit log.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Stretch or narrow an account's rate and concurrency limits for a while. Its balance stays as it is."""
    from gateway.accounts import corrections
    from gateway.accounts.expiry import expiry_s
    from gateway.accounts.noting import new_by

    ends_at = datetime.fromtimestamp(expiry_s(until, int(time.time())), UTC)
    with opened(config, data) as system:
        corrections.override(system, new_by(actor(), reason), account, limits, ends_at.isoformat())
    if json:
        show.line({"account": account, "limits": limits, "until": ends_at})
    else:
        typer.echo(f"account {account}: its limits are multiplied by {limits} until {ends_at.isoformat()}")


def grant(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    amount: Annotated[int, typer.Argument(help="Units, at least 1.")],
    id: Annotated[str, typer.Option("--id", help="The grant's own id: the same id never credits twice.")],
    reason: Annotated[str, typer.Option(help="For the ledger.")],
    expires: Annotated[
        str | None, typer.Option(help="When the rest lapses: 30d, 12h, 4w, or 2026-12-31T23:59:59+07:00.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Drawn on in this order, the lowest first.")] = 0,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Credit an account once."""
    from gateway.accounts import corrections
    from gateway.accounts.corrections import GrantTerms
    from gateway.accounts.expiry import expiry_s
    from gateway.accounts.noting import new_by

    expires_at = None if expires is None else datetime.fromtimestamp(expiry_s(expires, int(time.time())), UTC)
    with opened(config, data) as system:
        terms = GrantTerms(id, amount, priority=priority, expires_at=expires_at)
        left = corrections.grant(system, new_by(actor(), reason), account, terms)
        unit = system.config.unit
    if json:
        show.line({"account": account, "grant": id, "amount": amount, "left": left})
    else:
        typer.echo(f"account {account} has {left} {unit}(s) left; grant {id} of {amount} is in it")
