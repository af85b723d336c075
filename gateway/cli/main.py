"""`quotagate`: every command, each a few lines over an act that stands elsewhere.

Exit codes: 0 done; 1 the input or the config cannot be taken, or there is no such thing; 2 the command line itself is
wrong (Typer); 3 Redis or the ledger cannot be reached.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import repair, show
from gateway.cli.accounts import accounts_app, grant
from gateway.cli.codes import codes_app
from gateway.cli.explain import explain
from gateway.cli.export import export
from gateway.cli.holds import holds_app
from gateway.cli.keys import keys_app
from gateway.cli.licenses import licenses_app
from gateway.cli.notices import notices
from gateway.cli.options import ConfigOption, DataOption, JsonOption
from gateway.cli.options import opened as _open
from gateway.cli.payments import payments_app
from gateway.cli.sandbox import sandbox
from gateway.domain.errors import ConfigError, LedgerError, QuotagateError, RefusedInput, StoreUnavailable

app = typer.Typer(
    name="quotagate",
    help="Meters, limits and bills AI and chat backends. `quotagate up` starts everything on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(keys_app, name="keys")
report_app = typer.Typer(help="Reports over all accounts, from the ledger.", no_args_is_help=True)
app.add_typer(report_app, name="report")
app.add_typer(accounts_app, name="accounts")
app.add_typer(holds_app, name="holds")
repair.register(app)
app.add_typer(licenses_app, name="licenses")
app.add_typer(payments_app, name="payments")
app.add_typer(codes_app, name="codes")

PortOption = Annotated[int | None, typer.Option(help="Listen on this port instead of the config's.", min=0, max=65535)]
HostOption = Annotated[str | None, typer.Option(help="Listen on this address instead of the config's.")]


@app.command()
def up(config: ConfigOption = None, data: DataOption = None, port: PortOption = None) -> None:
    """Start everything on this machine.

    Redis, ledger, worker, gateway, a demo backend where no upstream is named, and a sandbox where payments have no key.
    Ctrl-C ends all of it.
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


app.command()(grant)
app.command()(explain)
app.command()(export)
app.command()(notices)
app.command()(sandbox)


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


if __name__ == "__main__":
    main()
