"""`quotagate`: every command, each a few lines over an act that stands elsewhere.

Exit codes: 0 done; 1 the input or the config cannot be taken, or there is no such thing; 2 the command line itself is
wrong (Typer); 3 Redis or the ledger cannot be reached.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import show
from gateway.cli.bulk_import import import_accounts
from gateway.cli.explain import explain
from gateway.cli.export import export
from gateway.cli.holds import holds_app
from gateway.cli.notices import notices
from gateway.cli.options import ConfigOption, DataOption, JsonOption
from gateway.cli.options import opened as _open
from gateway.domain.errors import ConfigError, LedgerError, QuotagateError, RefusedInput, StoreUnavailable

app = typer.Typer(
    name="quotagate",
    help="Meters, limits and bills AI and chat backends. `quotagate up` starts everything on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys: made, listed, revoked.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
report_app = typer.Typer(help="Reports over all accounts, from the ledger.", no_args_is_help=True)
app.add_typer(report_app, name="report")
accounts_app = typer.Typer(help="Accounts: their tiers and zones.", no_args_is_help=True)
app.add_typer(accounts_app, name="accounts")
app.add_typer(holds_app, name="holds")

PortOption = Annotated[int | None, typer.Option(help="Listen on this port instead of the config's.", min=0, max=65535)]
HostOption = Annotated[str | None, typer.Option(help="Listen on this address instead of the config's.")]


@app.command()
def up(config: ConfigOption = None, data: DataOption = None, port: PortOption = None) -> None:
    """Start everything on this machine.

    Redis, ledger, worker, gateway, and a demo backend where no upstream is named. Ctrl-C ends all of it.
    """
    from gateway.cli.up import Supervisor

    Supervisor(config, data, port).run()


@app.command()
def serve(
    config: ConfigOption = None, data: DataOption = None, host: HostOption = None, port: PortOption = None
) -> None:
    """Run one gateway process."""
    from gateway.cli.serve import serve as run

    run(config, data, host, port)


@app.command()
def worker(
    config: ConfigOption = None,
    data: DataOption = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve metrics on this port.", min=0, max=65535)] = None,
    metrics_host: Annotated[str, typer.Option(help="Serve them on this address.")] = "127.0.0.1",
) -> None:
    """Run one worker process: events into the ledger, lost holds ended."""
    from gateway.cli.serve import worker as run

    run(config, data, metrics_host, metrics_port)


@app.command()
def check(file: Annotated[Path, typer.Argument(help="The config file to check.")]) -> None:
    """Say what is wrong with a config file, and exit with 1; or that it can be used."""
    from gateway import config as config_files

    config = config_files.load(file)
    for warning in config.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{file}: good; {len(config.tiers)} tier(s), {len(config.upstreams)} upstream(s)")


@keys_app.command("create")
def keys_create(
    user: Annotated[str | None, typer.Option(help="The account the key belongs to.")] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="A file of account ids, one a line: a key for each.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="The tier a new account is opened on.", show_default="default_tier")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="An operation it may be used for; several times.", show_default="all")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help='"30d", "12h", or an instant with its zone.', show_default="never")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help='A limit of its own, "60 requests/minute"; several times.')
    ] = None,
    team: Annotated[str, typer.Option(help="The team whose limits count its calls too.")] = "",
    organisation: Annotated[str, typer.Option(help="The same for an organisation.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make keys. The key is shown once: alone on the last line, or as `id<TAB>key` lines with --from."""
    from gateway.accounts import api_keys
    from gateway.accounts.expiry import expiry_s
    from gateway.accounts.key_terms import KeyTerms

    if (user is None) == (file is None):
        raise typer.BadParameter("name either --user or --from, one of the two")
    users = [user] if user is not None else _account_ids(file)
    expires_at = None if expires is None else datetime.fromtimestamp(expiry_s(expires, int(time.time())), UTC)
    terms = KeyTerms(name, team, organisation, tuple(scope or ()), tuple(limit or ()), expires_at)
    with _open(config, data) as system:
        keys = api_keys.create(system, users, tier, terms)
    for account, key in zip(users, keys, strict=True):
        if json:
            show.line({"account": account, "key": key, "prefix": key[:11]})
        else:
            typer.echo(key if file is None else f"{account}\t{key}")


@keys_app.command("list")
def keys_list(
    user: Annotated[str | None, typer.Option(help="Only the keys of this account.")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List keys by their public prefixes."""
    from gateway.accounts import api_keys
    from gateway.accounts.system import look_up

    if user is not None:
        look_up(user)
    with _open(config, data) as system:
        show.rows("API keys", (show.api_key(key) for key in api_keys.listed(system, user)), json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's prefix, or the whole key.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a key. Gateways refuse it within five seconds."""
    from gateway.accounts import api_keys

    with _open(config, data) as system:
        revoked = api_keys.revoke(system, key)
    if json:
        show.line({"prefix": revoked.prefix, "account": revoked.account, "revoked": True})
    else:
        typer.echo(f"{revoked.prefix} of account {revoked.account} is revoked")


@accounts_app.command("set")
def accounts_set(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    tier: Annotated[str | None, typer.Option(help="The tier it is put on.")] = None,
    zone: Annotated[
        str | None, typer.Option(help='The zone its days turn in, an IANA name; "" for its tier\'s.')
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Put an account on another tier, in another zone, or both. Periods that are open run to their end."""
    from gateway.accounts import terms

    if tier is None and zone is None:
        raise typer.BadParameter("name --tier, --zone, or both")
    with _open(config, data) as system:
        opened = terms.move(system, account, tier=tier, zone=zone)
    if json:
        show.line({"account": account, "tier": opened.tier, "zone": opened.zone, "moved": opened.how == "moved"})
    else:
        typer.echo(f"account {account} is on tier {opened.tier}, in {opened.zone or 'the zone of its tier'}")


@accounts_app.command("override")
def accounts_override(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    limits: Annotated[str, typer.Option(help='What its limits are multiplied by: "2x", "1.5", "1/2"; "1" ends it.')],
    until: Annotated[str, typer.Option(help='Until when: "3d", "12h", or an instant with its offset.')],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Stretch or narrow an account's rate and concurrency limits for a while. Its balance stays as it is."""
    from gateway.accounts import overrides

    with _open(config, data) as system:
        until_ms = overrides.override(system, account, limits, until)
    ends_at = datetime.fromtimestamp(until_ms / 1000, UTC)
    if json:
        show.line({"account": account, "limits": limits, "until": ends_at})
    else:
        typer.echo(f"account {account}: its limits are multiplied by {limits} until {ends_at.isoformat()}")


@app.command()
def balance(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Show what an account has: buckets, held, the next reset, and the Redis keys behind it."""
    from gateway.accounts import balances

    with _open(config, data) as system:
        found = balances.read(system, account)
        show.balance(found, balances.redis_keys(system, found.account), system.config, json)


@app.command()
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
    from gateway.accounts import balances
    from gateway.accounts.expiry import expiry_s

    expires_s = expiry_s(expires, int(time.time())) if expires is not None else 0
    with _open(config, data) as system:
        left = balances.grant(system, account, amount, id, reason, priority=priority, expires_s=expires_s)
        unit = system.config.unit
    if json:
        show.line({"account": account, "grant": id, "amount": amount, "left": left})
    else:
        typer.echo(f"account {account} has {left} {unit}(s) left; grant {id} of {amount} is in it")


@app.command()
def usage(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List an account's calls, oldest first."""
    from gateway.accounts.system import look_up
    from gateway.ledger import queries

    columns = (
        "reservation_id", "operation", "model", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens",
        "reasoning_tokens", "total_tokens", "audio_ms", "images", "held", "cost", "estimated", "outcome", "status",
        "latency_ms", "occurred_at",
    )  # fmt: skip
    with _open(config, data) as system:
        show.rows(
            f"calls of {account}",
            ({name: row[name] for name in columns} for row in queries.usage_of(system.ledger, look_up(account))),
            json,
        )


@app.command()
def ledger(
    account: Annotated[str, typer.Argument(help="The account's id.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List an account's ledger entries, oldest first."""
    from gateway.accounts.system import look_up
    from gateway.ledger import queries

    columns = ("id", "kind", "bucket", "amount", "reservation_id", "reason", "occurred_at")
    with _open(config, data) as system:
        show.rows(
            f"ledger of {account}",
            ({name: row[name] for name in columns} for row in queries.entries_of(system.ledger, look_up(account))),
            json,
        )


class HoldGroup(StrEnum):
    """What the report of holds can be grouped by."""

    route = "route"
    model = "model"
    operation = "operation"
    tier = "tier"


@report_app.command("holds")
def report_holds(
    by: Annotated[HoldGroup, typer.Option(help="How calls are grouped.")] = HoldGroup.route,
    since: Annotated[int, typer.Option(help="How many days to look back.", min=1, max=3650)] = 7,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Compare what calls held with what they cost.

    Suggested are default_output_tokens, which covers what 95 in 100 calls generated, and max_hold, which covers what 99
    in 100 calls cost. Free calls and calls that never settled are left out.
    """
    from gateway.ledger import reports

    begin = datetime.now(UTC) - timedelta(days=since)
    with _open(config, data) as system:
        found = reports.holds(system.ledger, by, begin)
        show.rows(f"holds of {since} day(s) by {by}", (report._asdict() for report in found), json)


@app.command()
def top(
    limit: Annotated[int, typer.Option(help="How many accounts, those last seen first.", min=1, max=1000)] = 20,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Watch live balances. Ctrl-C ends it."""
    from gateway.cli.top import watch

    with _open(config, data) as system:
        watch(system, limit, every, once=once, json=json)


accounts_app.command("import")(import_accounts)
app.command()(explain)
app.command()(export)
app.command()(notices)


def main() -> None:
    """The command's entry: errors become one sentence and an exit code."""
    try:
        app()
    except (ConfigError, RefusedInput) as error:
        _fail(error, 1)
    except (StoreUnavailable, LedgerError) as error:
        _fail(error, 3)
    except QuotagateError as error:
        _fail(error, 3)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    typer.echo(f"quotagate: {error}", err=True)
    sys.exit(code)


def _account_ids(file: Path | None) -> list[str]:
    assert file is not None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedInput(f"{file} cannot be read: {error}") from error
    users = [line.strip() for line in lines if line.strip()]
    if not users:
        raise RefusedInput(f"{file} names no account")
    return users


if __name__ == "__main__":
    main()
