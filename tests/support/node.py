"""The JavaScript clients of tests/clients: installed by npm into a folder of the test run, run as processes of Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.processes import CHECKOUT
from tests.support.servers import missing

CLIENTS = CHECKOUT / "tests" / "clients"


class NodeClients:
    """Installed clients."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("node") is None or shutil.which("npm") is None:
            missing("node and npm are not on PATH")
        self._folder = folder / "clients"
        shutil.copytree(CLIENTS, self._folder, ignore=shutil.ignore_patterns("node_modules"))
        done = subprocess.run(["npm", "ci"], cwd=self._folder, capture_output=True, text=True, timeout=150)
        if done.returncode != 0:
            missing(f"npm cannot install the clients: {done.stderr[-500:]}")

    def ask(self, client: str, url: str, key: str = "k") -> dict[str, Any]:
        """What a client made of one call."""
        asked = json.dumps({"client": client, "url": url, "key": key})
        done = subprocess.run(
            ["node", "ask.mjs", asked], cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def ask_in_a_row(self, client: str, url: str, key: str, calls: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """What a client made of the last of several calls, each with headers of its own."""
        asked = json.dumps({"client": client, "url": url, "key": key, "calls": calls})
        done = subprocess.run(
            ["node", "ask.mjs", asked], cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said
