"""`quotagate sandbox`: a payment provider to try things with, which speaks Xendit's paths and moves no money."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.domain.errors import RefusedInput
from gateway.launch.places import SANDBOX_SECRET, SANDBOX_TOKEN, SANDBOX_URL

#: In the data folder.
KEYS_FILE = "sandbox-keys"


def sandbox(
    port: Annotated[int, typer.Option(help="Listen on this port of 127.0.0.1.", min=1, max=65535)] = 8090,
    webhook_url: Annotated[str, typer.Option(help="Where webhooks go; empty: nowhere.")] = "",
    secret: Annotated[
        str, typer.Option(envvar=SANDBOX_SECRET, help="The key that it wants to see; empty: one made now.")
    ] = "",
    token: Annotated[
        str, typer.Option(envvar=SANDBOX_TOKEN, help="The token that its webhooks carry; empty: one made now.")
    ] = "",
    state: Annotated[Path | None, typer.Option(help="A file that keeps its records until the next start.")] = None,
    faults: Annotated[
        list[str] | None, typer.Option("--fault", help="What goes wrong, such as duplicate=3 or late; repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing.")] = False,
) -> None:
    """Run the sandbox: a payment provider to try things with, which moves no money.

    It speaks the paths of Xendit's Payments API v3. Ctrl-C ends it.
    """
    from gateway.sandbox.app import serve

    keys = new_keys()
    secret, token = secret or keys[SANDBOX_SECRET], token or keys[SANDBOX_TOKEN]
    if not quiet:
        typer.echo(
            f"""The sandbox listens. A gateway whose [payments.xendit] has no secret_key uses it when it is started with

  {SANDBOX_URL}=http://127.0.0.1:{port}
  {SANDBOX_SECRET}={secret}
  {SANDBOX_TOKEN}={token}

Ctrl-C ends it."""
        )
    serve(port, webhook_url, secret, token, state, faults or [])


def sandbox_command(port: int, webhook_url: str, state: Path) -> list[str]:
    """How it is started as a process of its own. Its keys come by the environment: everyone can read arguments."""
    return [
        sys.executable, "-m", "gateway.cli.main", "sandbox", "--quiet", "--port", str(port),
        "--webhook-url", webhook_url, "--state", str(state),
    ]  # fmt: skip


def new_keys() -> dict[str, str]:
    """A key and a token by chance, by the variables that they are told in."""
    return {SANDBOX_SECRET: f"xnd_sandbox_{secrets.token_hex(16)}", SANDBOX_TOKEN: secrets.token_hex(16)}


def kept_keys(data: Path) -> dict[str, str]:
    """Those of a data folder, made when there are none: a restart changes nothing for who knows them."""
    kept = told_of(data)
    return kept if kept else keep(data, new_keys())


def told_of(data: Path) -> dict[str, str]:
    """What commands beside `quotagate up` are told of its sandbox, by the variables: its keys, and where it listens or
    did. Empty: this data folder has had none."""
    file = data / KEYS_FILE
    if not file.is_file():
        return {}
    try:
        kept: dict[str, str] = json.loads(file.read_text())
    except ValueError as error:
        raise RefusedInput(f"{file} cannot be read; remove it, and other keys are made") from error
    return kept


def keep(data: Path, told: dict[str, str]) -> dict[str, str]:
    """Writes that, for its owner alone."""
    with open(os.open(data / KEYS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(told, out)
    return told
