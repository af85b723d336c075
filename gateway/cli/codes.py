"""`quotagate codes`: redemption codes, made, listed, exported and voided by the batch."""

from __future__ import annotations

import dataclasses
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened

if TYPE_CHECKING:
    from gateway.rewards.batches import Batch

codes_app = typer.Typer(help="Redemption codes: made, listed, exported, voided.", no_args_is_help=True)

BatchArgument = Annotated[str, typer.Argument(help="The batch's id.")]
ReasonOption = Annotated[str, typer.Option(help="For the audit log.")]


@codes_app.command()
def create(
    name: Annotated[str, typer.Option(help="What the codes are for.")],
    amount: Annotated[int, typer.Option(help="Units that each redemption gives.")],
    count: Annotated[int, typer.Option(help="How many codes are made up.")] = 1,
    code: Annotated[str, typer.Option(help="The one code, such as WELCOME2026, in place of those.")] = "",
    max_uses: Annotated[int, typer.Option(help="How often each code can be redeemed.")] = 1,
    per_account: Annotated[int, typer.Option(help="How often by one account.")] = 1,
    valid_days: Annotated[int, typer.Option(help="What was redeemed lapses so many days later; 0: never.")] = 0,
    expires: Annotated[
        str | None,
        typer.Option(help='Until when they are taken: "30d", "12h", or an instant with its zone.', show_default="ever"),
    ] = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make a batch of codes. `quotagate codes export` writes them."""
    from gateway.accounts.expiry import expiry_s
    from gateway.accounts.noting import new_by
    from gateway.rewards import batches

    expires_at = None if expires is None else datetime.fromtimestamp(expiry_s(expires, int(time.time())), UTC)
    terms = batches.BatchTerms(name, amount, count, code, max_uses, per_account, valid_days, expires_at)
    with opened(config, data) as system:
        _tell(batches.create(system, new_by(actor(), reason), terms), json)


@codes_app.command("list")
def list_batches(config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List batches, newest first, and how often their codes were redeemed."""
    from gateway.rewards import batches

    def all_pages() -> Any:
        cursor = None
        while True:
            page = batches.listed(system, cursor, limit=1000)
            yield from map(dataclasses.asdict, page.items)
            if (cursor := page.next_cursor) is None:
                return

    with opened(config, data) as system:
        show.rows("batches of codes", all_pages(), json)


@codes_app.command()
def export(
    batch: BatchArgument,
    out: Annotated[Path | None, typer.Option(help="Where to write to.", show_default="standard output")] = None,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write a batch's codes as CSV, each with how often it was redeemed."""
    from gateway.accounts.export import whole_file
    from gateway.rewards import batches

    with opened(config, data) as system:
        parts = batches.as_csv(system, batch)
        if out is None:
            for part in parts:
                sys.stdout.buffer.write(part)
            return
        with whole_file(out) as file:
            file.writelines(parts)


@codes_app.command()
def void(
    batch: BatchArgument,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Take a batch's codes no more. What was redeemed stays."""
    from gateway.accounts.noting import new_by
    from gateway.rewards import batches

    with opened(config, data) as system:
        _tell(batches.void(system, new_by(actor(), reason), batch), json)


def _tell(batch: Batch, as_json: bool) -> None:
    if as_json:
        show.line(dataclasses.asdict(batch))
        return
    state = "is void" if batch.voided_at is not None else "is taken"
    typer.echo(f"{batch.id}: {batch.codes} code(s) of {batch.amount} unit(s) each; it {state}")
