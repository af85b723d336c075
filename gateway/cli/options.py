"""What many commands take, and what all of them work with."""

from __future__ import annotations

import getpass
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.accounts.system import System

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Config file.", show_default="QUOTAGATE_CONFIG, else config.toml")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder.", show_default="QUOTAGATE_DATA, else data")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def opened(config: Path | None, data: Path | None) -> AbstractContextManager[System]:
    """The system that a command works with."""
    from gateway.launch.system import open_system

    return open_system(config, data)


def actor() -> str:
    """Who runs this command, for the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # A container's user may have no name.
        return "cli:unknown"
