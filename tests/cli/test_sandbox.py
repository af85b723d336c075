"""`quotagate sandbox`, and the keys that `quotagate up` gives it."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gateway.cli.sandbox import kept_keys
from gateway.cli.up import Supervisor
from gateway.domain.errors import RefusedInput
from gateway.launch.places import SANDBOX_SECRET, SANDBOX_TOKEN
from tests.cli.command import Command
from tests.support.config import config_text
from tests.support.processes import CHECKOUT, QUOTAGATE
from tests.support.servers import free_port
from tests.support.waiting import until


@pytest.fixture
def printed(tmp_path: Path) -> Iterator[str]:
    """What a sandbox prints that runs as long as the test."""
    file = tmp_path / "sandbox.log"
    with open(file, "wb") as log:
        running = subprocess.Popen(
            [*QUOTAGATE, "sandbox", "--port", str(free_port()), "--fault", "unavailable=1"],
            env={"PYTHONPATH": str(CHECKOUT)}, stdout=log, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    until(lambda: "Ctrl-C" in file.read_text(), 30, "the greeting")
    yield file.read_text()
    running.terminate()
    assert running.wait(20) in (0, -15)


def test_it_prints_how_it_is_used_and_that_works(printed: str) -> None:
    said = dict(re.findall(r"QUOTAGATE_SANDBOX_(\w+)=(\S+)", printed))
    until(lambda: _answers(said["URL"]), 30, "the sandbox")

    with httpx2.Client(base_url=said["URL"], auth=(said["SECRET"], "")) as client:
        statuses = [client.get("/transactions").status_code for _ in range(2)]
        other = httpx2.get(f"{said['URL']}/transactions", auth=("another", ""))

    assert statuses == [503, 200]
    assert other.status_code == 401
    assert len(said["TOKEN"]) >= 32


def test_a_fault_that_there_is_not_is_said_in_a_sentence(cold: Command) -> None:
    done = cold.plain("sandbox", "--quiet", "--fault", "explode")

    assert (done.code, done.out) == (1, "")
    assert "explode is no fault; there are duplicate, " in done.err


def test_keys_are_kept_and_nobody_else_reads_them(tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    file = tmp_path / "sandbox-keys"

    first, second = kept_keys(tmp_path), kept_keys(tmp_path)

    assert first == second
    assert set(first) == {SANDBOX_SECRET, SANDBOX_TOKEN}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept_keys(tmp_path / "another") != first


def test_keys_that_cannot_be_read_are_said_by_their_file(tmp_path: Path) -> None:
    file = tmp_path / "sandbox-keys"
    file.write_text("{")

    with pytest.raises(RefusedInput, match="sandbox-keys cannot be read"):
        kept_keys(tmp_path)


STRIPE = '[payments.stripe]\nsecret_key = "sk"\nwebhook_secret = "w"\nreturn_url = "https://h/x"\n'


@pytest.mark.parametrize(
    "payments",
    ["", '[payments]\nprovider = ""\n[payments.xendit]\n', '[payments.xendit]\n',
     '[payments]\nprovider = "xendit"\n[payments.xendit]\nsecret_key = "xnd_1"\ncallback_token = "t"\n',
     '[payments]\nprovider = "stripe"\n[payments.xendit]\n' + STRIPE],
)  # fmt: skip
def test_up_starts_it_in_place_of_a_missing_key_and_of_nothing_else(cold: Command, payments: str) -> None:
    cold.config.write_text(config_text(more=payments))
    supervisor = Supervisor(cold.config, cold.data, 0)

    told = supervisor.sandbox_environment()

    assert (told, supervisor.children, supervisor.sandbox) == ({}, [], "")


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz").status_code == 200
    except httpx2.TransportError:
        return False
