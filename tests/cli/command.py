"""`quotagate`, run in the test's own process: the same entry as the installed command, without its start."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.domain.event import Event, read_event
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.ledger.record import record


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> list[dict[str, Any]]:
        """What it printed, an object a line."""
        assert self.code == 0, self.err
        return [json.loads(line) for line in self.out.splitlines()]

    def only(self) -> dict[str, Any]:
        (found,) = self.json()
        return found


class Command:
    """Runs commands. An error that reaches the test is a traceback that a person would have seen."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.config = folder / "quotagate.toml"
        self.data = folder / "data"
        self._capture = capture
        self._patch = patch

    def __call__(self, *arguments: str) -> Done:
        """A command with this folder's --config and --data."""
        return self.plain(*arguments, "--config", str(self.config), "--data", str(self.data))

    def plain(self, *arguments: str) -> Done:
        """A command with nothing but these words."""
        self._capture.readouterr()
        self._patch.setattr(sys, "argv", ["quotagate", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        out, err = self._capture.readouterr()
        return Done(code, out, err)

    def key(self, user: str, *arguments: str) -> str:
        """A new key of an account."""
        done = self("keys", "create", "--user", user, *arguments)
        assert done.code == 0, done.err
        return done.out.strip()

    def records(self, *events: Event) -> None:
        """Puts events into the ledger, as the worker does."""
        self.data.mkdir(exist_ok=True)
        engine = database.connect(database.sqlite_url(self.data.resolve()))
        try:
            migrate(engine)
            record(engine, events)
        finally:
            engine.dispose()


def call_event(number: int, account: str = "ada", **change: str) -> Event:
    """A settled call of 7 units, the later the higher its number."""
    return read_event(
        {
            "kind": "usage", "id": f"r{number}", "account": account, "at": str(10**12 + number * 1000 + 250),
            "entries": "USAGE credits:signup -7", "reservation": f"r{number}", "outcome": "settled",
            "operation": "chat", "model": "gpt-4o", "route": "/v1/chat", "key": "qg_12345678", "price_version": "p1",
            "day": "2001-09-09", "input": "11", "cached": "5", "cache_write": "3", "output": "6", "reasoning": "2",
            "cost": "7", "written_off": "0", "estimated": "0", "status": "200",
            "started_at": str(10**12 + number * 1000),
        } | change
    )  # fmt: skip


def grant_event(number: int, account: str = "ada", reason: str = "paid") -> Event:
    return read_event(
        {
            "kind": "grant", "id": f"grant:{account} t{number}", "account": account, "at": str(10**12 + number * 1000),
            "entries": f"TOP_UP credits:t{number} 50", "reason": reason,
        }
    )  # fmt: skip


#: In-process, the embedded Redis is started beside pytest-xdist's threads.
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
