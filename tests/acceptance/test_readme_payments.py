"""The lines of README and docs/payments.md that try the sandbox, run as they stand under `quotagate up`."""

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


def blocks(file: str, heading: str) -> list[str]:
    """The scripts of a section."""
    text = (CHECKOUT / file).read_text()
    (section,) = re.findall(rf"^{heading}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_lines_that_try_it_all_run(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        key = re.findall(r"key +(\S+)", up.text())[0]
        told = up.environment | {
            "URL": f"http://127.0.0.1:{up.port}", "KEY": key, "PATH": os.environ["PATH"],
            "SANDBOX": up.payments().removesuffix("/pay"),
        }  # fmt: skip
        script = (
            "set -euo pipefail\n"
            'curl() { command curl -sS --fail-with-body -w "\\n" "$@"; }\n'
            f'quotagate() {{ {shlex.join(QUOTAGATE)} "$@"; }}\n'
        )

        (trying,) = blocks("README.md", "### Trying it all with the sandbox in one step")
        done = subprocess.run(
            ["bash", "-c", script + trying], env=told, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )

        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: ask(told, "/api/subscriptions/current")["state"] == "active", 30, "the subscription")
        until(lambda: ask(told, "/api/credits")["lifetime"]["refunded"] == 3_000_000, 30, "what is taken back")
        credits = ask(told, "/api/credits")
        (order,) = [each for each in ask(told, "/api/payments")["items"] if each["purpose"] == "topup"]
        _, failing = blocks("docs/payments.md", "## Trying it with the sandbox")
        failed = subprocess.run(
            ["bash", "-c", script + failing], env=told, capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
    finally:
        up.interrupt()
    assert failed.returncode == 0, failed.stdout + failed.stderr
    assert '"wrong_amount": true' in failed.stdout
    assert order["id"] in failed.stdout
    assert order["state"] == "refunded"
    assert "of 50000 IDR is " in done.stdout
    assert {"bought": 3_000_000, "given": SIGNUP + 50, "subscription": 12_000_000}.items() <= credits[
        "lifetime"
    ].items()


def ask(told: dict[str, str], path: str) -> Any:
    answer = httpx2.get(told["URL"] + path, headers={"authorization": f"Bearer {told['KEY']}"})
    assert answer.is_success, answer.text
    return json.loads(answer.text)
