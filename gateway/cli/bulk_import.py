"""`quotagate accounts import`: many accounts from a CSV file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened
from gateway.domain.errors import RefusedInput


def import_accounts(
    file: Annotated[
        Path, typer.Argument(help="CSV: id, and any of tier, zone, email, credits, grant_id, reason, expires.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and say what it would do.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Open, move and credit the accounts of a file. Nothing is written unless every line is good.

    A file can be imported again: no line credits twice. A grant without a grant_id is known by its credits, reason and
    expires; to give an account as much once more, give another reason, or an id.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gateway.accounts.bulk_import import bulk_import

    try:
        content = file.read_bytes()
    except OSError as error:
        raise RefusedInput(f"{file} cannot be read: {error}") from error
    console = Console(stderr=True)
    lines = content.count(b"\n") + 1
    with opened(config, data) as system, Progress(console=console, disable=not console.is_terminal) as progress:
        tasks = {}

        def told(stage: str, more: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=lines)
            progress.advance(tasks[stage], more)

        done = bulk_import(system, content, actor(), dry_run=dry_run, told=told)
        unit = system.config.unit
    if json:
        show.line(dataclasses.asdict(done) | {"dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    typer.echo(
        f"{done.accounts} account(s): {done.opened} {would}opened, {done.moved} {would}moved, {done.credited} "
        f"{would}credited with {done.units} {unit}(s), {done.credited_before} were credited before, "
        f"{done.emails} address(es) {would}set"
    )
