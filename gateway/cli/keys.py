"""`quotagate keys`: API keys of accounts, and with --admin those of operators."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import admin_keys, show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, opened
from gateway.domain.errors import RefusedInput

keys_app = typer.Typer(help="Keys of accounts and of operators: made, listed, revoked.", no_args_is_help=True)


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
        list[str] | None,
        typer.Option(
            help="An operation it may be used for, or with --admin what it may do; several times.", show_default="all"
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help='"30d", "12h", or an instant with its zone.', show_default="never")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help='A limit of its own, "60 requests/minute"; several times.')
    ] = None,
    team: Annotated[str, typer.Option(help="The team whose limits count its calls too.")] = "",
    organisation: Annotated[str, typer.Option(help="The same for an organisation.")] = "",
    admin: Annotated[
        str | None, typer.Option(help="Instead: a key of the admin API, for an operator of this name.")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Make keys. The key is shown once: alone on the last line, or as `id<TAB>key` lines with --from."""
    from gateway.accounts import api_keys
    from gateway.accounts.expiry import expiry_s
    from gateway.accounts.key_terms import KeyTerms

    expires_at = None if expires is None else datetime.fromtimestamp(expiry_s(expires, int(time.time())), UTC)
    if admin is not None:
        if user or file or tier or name or limit or team or organisation:
            raise typer.BadParameter("--admin goes with --scope and --expires alone")
        with opened(config, data) as system:
            admin_keys.make(system, admin, tuple(scope or ()), expires_at, as_json=json)
        return
    if (user is None) == (file is None):
        raise typer.BadParameter("name either --user or --from, one of the two; or --admin")
    users = [user] if user is not None else _account_ids(file)
    terms = KeyTerms(name, team, organisation, tuple(scope or ()), tuple(limit or ()), expires_at)
    with opened(config, data) as system:
        keys = api_keys.create(system, users, tier, terms)
    for account, key in zip(users, keys, strict=True):
        if json:
            show.line({"account": account, "key": key, "prefix": key[:11]})
        else:
            typer.echo(key if file is None else f"{account}\t{key}")


@keys_app.command("list")
def keys_list(
    user: Annotated[str | None, typer.Option(help="Only the keys of this account.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The keys of operators instead.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List keys by their public prefixes."""
    from gateway.accounts import api_keys
    from gateway.accounts.system import look_up

    if admin:
        if user is not None:
            raise typer.BadParameter("name --user or --admin, one of them")
        with opened(config, data) as system:
            admin_keys.show_all(system, as_json=json)
        return

    if user is not None:
        look_up(user)
    with opened(config, data) as system:
        show.rows("API keys", (show.api_key(key) for key in api_keys.listed(system, user)), json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="The key's prefix, or the whole key.")],
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Revoke a key. Gateways refuse it within five seconds, and one of an operator at once."""
    from gateway.accounts import api_keys
    from gateway.accounts.admin_keys import PREFIX

    with opened(config, data) as system:
        if key.startswith(PREFIX):
            admin_keys.end(system, key, as_json=json)
            return
        revoked = api_keys.revoke(system, key)
    if json:
        show.line({"prefix": revoked.prefix, "account": revoked.account, "revoked": True})
    else:
        typer.echo(f"{revoked.prefix} of account {revoked.account} is revoked")


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
