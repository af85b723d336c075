"""`quotagate up`, as a newcomer meets it: one command, an address, a key and a curl line that works; Ctrl-C; again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import httpx2
import pytest

from gateway.launch.places import SANDBOX_SECRET
from tests.support.processes import CHECKOUT, QUOTAGATE
from tests.support.servers import free_port
from tests.support.waiting import until


class Up:
    """One run of `quotagate up`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("REDIS_URL", "DATABASE_URL", "UPSTREAM_URL", "XENDIT_SECRET_KEY")
        } | {"QUOTAGATE_DATA": str(folder / "data"), "PYTHONPATH": str(CHECKOUT)}
        with open(folder / "up.log", "wb") as log:
            self.process = subprocess.Popen(
                [*QUOTAGATE, "up", "--port", str(self.port)], env=self.environment, stdout=log, stderr=log, cwd=folder
            )
        until(lambda: "Ctrl-C ends all of it" in self.printed(), 90, "the greeting")

    def printed(self) -> str:
        assert self.process.poll() is None, self.text()
        return self.text()

    def text(self) -> str:
        return (self.folder / "up.log").read_text()

    def curl(self) -> dict[str, object]:
        """Runs the printed curl line exactly as it is printed."""
        line = next(line for line in self.text().splitlines() if line.strip().startswith("curl "))
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60)
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    def cli(self, *arguments: str) -> str:
        done = subprocess.run(
            [*QUOTAGATE, *arguments], env=self.environment, capture_output=True, text=True, timeout=60, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def payments(self) -> str:
        """The printed address of the sandbox's page."""
        address: str = re.findall(r"payments +(\S+)", self.text())[0]
        return address

    def order(self) -> str:
        """Asks the sandbox for money, as the gateway does. Returns the reference."""
        keys = json.loads((self.folder / "data" / "sandbox-keys").read_text())
        asked = {"reference_id": "ord_1", "session_type": "PAY", "mode": "PAYMENT_LINK", "country": "ID",
                 "currency": "IDR", "amount": 10_000}  # fmt: skip
        url = self.payments().removesuffix("/pay")
        httpx2.post(f"{url}/sessions", json=asked, auth=(keys[SANDBOX_SECRET], "")).raise_for_status()
        assert httpx2.post(f"{url}/sessions", json=asked).status_code == 401
        return "ord_1"

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0

    def children(self) -> list[int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_one_command_brings_everything_up_and_ctrl_c_takes_it_down_and_it_keeps_what_it_knew(tmp_path: Path) -> None:
    first = Up(tmp_path)
    try:
        answer = first.curl()
        order = first.order()
        children = first.children()
        key = re.search(r"qg_\w+", first.text())
        before = json.loads(first.cli("balance", "demo", "--json"))
        until(lambda: '"USAGE"' in first.cli("ledger", "demo", "--json"), 30, "the ledger entry")
    finally:
        first.interrupt()
    left_over = alive(children)

    again = Up(tmp_path)
    try:
        after = json.loads(again.cli("balance", "demo", "--json"))
        ledger = again.cli("ledger", "demo", "--json")
        again.curl()
        page = httpx2.get(first.payments()).text
        compared = again.cli("payments", "compare")
        once_more = json.loads(again.cli("balance", "demo", "--json"))
        key_again = re.search(r"qg_\w+", again.text())
    finally:
        again.interrupt()

    assert answer["object"] == "chat.completion"
    assert len(children) == 5  # Redis, demo backend, sandbox, worker, gateway
    assert left_over == []
    assert order in page
    assert compared == "differences that nobody has looked at: none\n"
    assert (before["spent"], after["spent"], once_more["spent"]) == (1, 1, 2)
    assert ledger.count('"USAGE"') == 1
    assert key is not None
    assert key_again is not None
    assert key[0] == key_again[0]


def test_a_gateway_or_worker_that_dies_is_started_again(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        victims = [pid for pid in up.children() if b"redis-server" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(lambda: up.text().count("is started again") >= len(victims), 60, "the restarts")
        until(lambda: _answers(up), 60, "an answer")
        until(lambda: '"USAGE"' in up.cli("ledger", "demo", "--json"), 60, "the ledger entry")
    finally:
        up.interrupt()


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    up = Up(tmp_path)
    try:
        second = subprocess.run(
            [*QUOTAGATE, "up", "--port", str(up.port), "--data", str(tmp_path / "other")],
            env=up.environment, capture_output=True, text=True, timeout=60, cwd=tmp_path,
        )  # fmt: skip
    finally:
        up.interrupt()
    assert second.returncode == 1
    assert f"port {up.port} of 127.0.0.1 is in use" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("command", [["serve"], ["worker"], ["balance", "x"], ["up", "--port", "0"]])
def test_a_broken_config_is_refused_by_every_command_with_its_key(tmp_path: Path, command: list[str]) -> None:
    broken = (CHECKOUT / "config.toml").read_text().replace("signup = 15", 'signup = "many"')
    (tmp_path / "broken.toml").write_text(broken)
    done = subprocess.run(
        [*QUOTAGATE, *command, "--config", str(tmp_path / "broken.toml"), "--data", str(tmp_path / "data")],
        capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert 'tiers.free.signup = "many": must be a whole number' in done.stderr
    assert "Traceback" not in done.stderr


def _answers(up: Up) -> bool:
    try:
        return up.curl()["object"] == "chat.completion"
    except (json.JSONDecodeError, KeyError):
        return False
