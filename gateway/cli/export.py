"""`quotagate export`: usage and ledger rows as a file."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from gateway.cli.options import ConfigOption, DataOption, opened
from gateway.domain.errors import RefusedInput

if TYPE_CHECKING:
    from gateway.accounts.system import System
    from gateway.ledger.streams import Slice


class Kind(StrEnum):
    """What can be exported."""

    usage = "usage"
    ledger = "ledger"


class Form(StrEnum):
    """What it can be written as."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def export(
    kind: Annotated[Kind, typer.Argument(help="Calls with their usage, or ledger entries.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="A date (UTC) or an instant: what happened then, or later.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The same: what happened before it.", show_default="now")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    form: Annotated[Form, typer.Option("--format", help="What it is written as.")] = Form.csv,
    output: Annotated[str, typer.Option(help="The file; - for standard output. It appears when it is whole.")] = "-",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Export calls or ledger entries, however many. How far it is stands on standard error."""
    from gateway.accounts import export as acts

    part = acts.slice_of(kind, begin, end, account, datetime.now(UTC))
    with opened(config, data) as system:
        if output != "-":
            with acts.whole_file(Path(output)) as out:
                _write(system, part, form, out)
            return
        if form is Form.parquet and sys.stdout.isatty():
            raise RefusedInput("Parquet is not for a terminal: name a file with --output")
        try:
            _write(system, part, form, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # Who read it has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None


def _write(system: System, part: Slice, form: Form, out: BinaryIO) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from gateway.accounts import export as acts

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        # Counted only for who looks on.
        task = progress.add_task(part.what, total=acts.count(system, part) if console.is_terminal else None)
        rows = acts.export(system, part, form, out, lambda more: progress.advance(task, more))
    took_s = time.monotonic() - started
    typer.echo(f"{rows} row(s) in {took_s:.1f} s", err=True)
