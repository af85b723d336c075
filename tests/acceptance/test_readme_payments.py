"""The lines of README's "Trying it all with the sandbox in one step", run as they stand under `quotagate up`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import httpx2

from tests.acceptance.test_up import Up
from tests.support.processes import CHECKOUT, QUOTAGATE
from tests.support.waiting import until

SIGNUP = 15


def block() -> str:
    (found,) = re.findall(
        r"^### Trying it all with the sandbox in one step\n.*?^```sh\n(.*?)^```$",
        (CHECKOUT / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert isinstance(found, str)
    return found


def test_the_lines_that_try_it_all_run(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        key = re.findall(r"key +(\S+)", up.text())[0]
        told = up.environment | {"URL": f"http://127.0.0.1:{up.port}", "KEY": key, "PATH": os.environ["PATH"]}
        script = (
            "set -euo pipefail\n"
            'curl() { command curl -sS --fail-with-body -w "\\n" "$@"; }\n'
            f'quotagate() {{ {shlex.join(QUOTAGATE)} "$@"; }}\n'
        )

        done = subprocess.run(
            ["bash", "-c", script + block()], env=told, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )

        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: ask(told, "/api/subscriptions/current")["state"] == "active", 30, "the subscription")
        until(lambda: ask(told, "/api/credits")["lifetime"]["refunded"] == 3_000_000, 30, "what is taken back")
        credits = ask(told, "/api/credits")
        (order,) = [each for each in ask(told, "/api/payments")["items"] if each["purpose"] == "topup"]
    finally:
        up.interrupt()
    assert order["state"] == "refunded"
    assert "of 50000 IDR is " in done.stdout
    assert {"bought": 3_000_000, "given": SIGNUP + 50, "subscription": 12_000_000}.items() <= credits[
        "lifetime"
    ].items()


def ask(told: dict[str, str], path: str) -> Any:
    answer = httpx2.get(told["URL"] + path, headers={"authorization": f"Bearer {told['KEY']}"})
    assert answer.is_success, answer.text
    return json.loads(answer.text)
