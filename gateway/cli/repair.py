"""`quotagate reconcile` and `quotagate restore`: when Redis and the ledger differ, and when Redis is empty."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption


def register(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.command()(reconcile)
    app.command()(restore)


def reconcile(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what differs.")] = False,
    account: Annotated[str | None, typer.Option(help="Only this account.", show_default="all")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Compare Redis with the ledger, account by account, and say what differs.

    Calls may go on meanwhile. Exit code 0: nothing differs any more; 1: something does.
    """
    from gateway.accounts import reconcile as act
    from gateway.accounts.system import look_up
    from gateway.domain.errors import StoreUnready
    from gateway.launch.system import open_system
    from gateway.store.epoch import REMEDY
    from gateway.subscriptions import applying

    if account is not None:
        look_up(account)
    differ = 0
    with open_system(config, data) as system, _bar("comparing", None) as advance:
        if not act.is_ready(system):
            raise StoreUnready(f"Redis was emptied or never filled from the ledger: {REMEDY} first")
        found = act.reconcile(system, fix=fix, account=account, progress=lambda done: advance(done, None))
        for drift, mended in found:
            differ += not mended
            if json:
                show.line(asdict(drift) | {"mended": mended})
            else:
                state = "mended" if mended else "not mended" if fix else "differs"
                holds = f"; holds {', '.join(drift.holds)}" if drift.holds else ""
                typer.echo(f"{drift.account}: {drift.kind}: {drift.what}{holds} [{state}]")
        if fix:
            applying.reapply(system)
    if not json:
        typer.echo("Redis and the ledger agree" if not differ else f"{differ} difference(s) are left", err=bool(differ))
    if differ:
        sys.exit(1)


def restore(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Rebuild an empty Redis from the ledger.

    Accounts that Redis knows are left as they are, so it may be interrupted and repeated, and calls may go on.
    """
    from gateway.accounts.restore import restore_all
    from gateway.launch.system import open_system
    from gateway.subscriptions import applying

    with open_system(config, data) as system, _bar("restoring", 0) as advance:
        done = restore_all(system, advance)
        applying.reapply(system)
    if json:
        show.line(asdict(done))
        return
    typer.echo(
        f"{done.restored} account(s) were restored, {done.known} were known to Redis and left as they are; "
        f"{done.api_keys} API key(s) are published.\n"
        "Not in the ledger, and so not restored: calls that had not ended, and those that no worker had recorded yet "
        "when Redis lost them."
    )


@contextlib.contextmanager
def _bar(title: str, total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done, all_of_them: progress.update(task, completed=done, total=all_of_them)
