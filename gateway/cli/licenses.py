"""`quotagate licenses`: license keys, made and changed."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened

if TYPE_CHECKING:
    from gateway.accounts.licenses import License

licenses_app = typer.Typer(help="License keys: made, topped up, passed on, suspended, revoked.", no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(help="The license's prefix, or the whole key.")]
ReasonOption = Annotated[str, typer.Option(help="For the audit log.")]


@licenses_app.command()
def create(
    owner: Annotated[str, typer.Option(help="The account it belongs to.")],
    amount: Annotated[int, typer.Option(help="Units it has, 0 or more.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    trial: Annotated[bool, typer.Option("--trial", help="One to try things with.")] = False,
    expires: Annotated[
        str | None, typer.Option(help='"30d", "12h", or an instant with its zone.', show_default="never")
    ] = None,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make a license. Its key is shown once, alone on the last line."""
    from gateway.accounts import new_licenses
    from gateway.accounts.expiry import expiry_s

    expires_at = None if expires is None else datetime.fromtimestamp(expiry_s(expires, int(time.time())), UTC)
    with opened(config, data) as system:
        made = new_licenses.create(
            system, owner, amount=amount, id=_id(), actor=actor(), name=name, trial=trial, expires_at=expires_at,
            reason=reason,
        )  # fmt: skip
    if json:
        show.line(_row(made.license) | {"key": made.key})
    else:
        typer.echo(made.key)


@licenses_app.command("list")
def list_licenses(
    owner: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    status: Annotated[
        str | None, typer.Option(help="Only these: active, trial, inactive, expired, suspended or revoked.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List licenses by their public prefixes, newest first."""
    from gateway.accounts import licenses

    def all_pages() -> Any:
        cursor = None
        while True:
            page = licenses.listed(system, owner=owner, status=status, cursor=cursor, limit=1000)
            yield from (_row(license) for license in page.items)
            if (cursor := page.next_cursor) is None:
                return

    with opened(config, data) as system:
        show.rows("licenses", all_pages(), json)


@licenses_app.command("top-up")
def top_up(
    key: KeyArgument,
    amount: Annotated[int, typer.Argument(help="Units, at least 1.")],
    id: Annotated[str, typer.Option("--id", help="The grant's own id: the same id never credits twice.")],
    reason: Annotated[str, typer.Option(help="For the ledger and the audit log.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Put more on a license, once by its id."""
    from gateway.accounts import licenses

    with opened(config, data) as system:
        _tell(licenses.top_up(system, key, amount, grant_id=id, reason=reason, actor=actor()), json)


@licenses_app.command()
def transfer(
    key: KeyArgument,
    owner: Annotated[str, typer.Argument(help="The account it shall belong to.")],
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Give a license to another account. Its key stays the same."""
    from gateway.accounts import licenses

    with opened(config, data) as system:
        _tell(licenses.transfer(system, key, owner, id=_id(), actor=actor(), reason=reason), json)


@licenses_app.command()
def suspend(
    key: KeyArgument,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Refuse every use of a license until it is resumed."""
    from gateway.accounts import licenses

    with opened(config, data) as system:
        _tell(licenses.suspend(system, key, id=_id(), actor=actor(), reason=reason), json)


@licenses_app.command()
def resume(
    key: KeyArgument,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """End a suspension."""
    from gateway.accounts import licenses

    with opened(config, data) as system:
        _tell(licenses.resume(system, key, id=_id(), actor=actor(), reason=reason), json)


@licenses_app.command()
def revoke(
    key: KeyArgument,
    reason: ReasonOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """End a license for good."""
    from gateway.accounts import licenses

    with opened(config, data) as system:
        _tell(licenses.revoke(system, key, id=_id(), actor=actor(), reason=reason), json)


def _id() -> str:
    """Of one act, for the audit log."""
    return f"cli-{secrets.token_hex(16)}"


def _tell(license: License, as_json: bool) -> None:
    if as_json:
        show.line(_row(license))
    else:
        typer.echo(f"license {license.prefix} of {license.owner} is {license.status}, with {license.left} unit(s) left")


def _row(license: License) -> dict[str, Any]:
    return {
        "prefix": license.prefix,
        "owner": license.owner,
        "name": license.name,
        "trial": license.trial,
        "status": license.status,
        "left": license.left,
        "held": license.held,
        "used": license.spent,
        "created_at": license.created_at,
        "expires_at": license.expires_at,
    }
