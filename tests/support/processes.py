"""A whole system as processes: a gateway, a worker, their Redis and ledger. For acceptance and fault tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until

CHECKOUT = Path(__file__).resolve().parents[2]


class GatewaySystem:
    """`quotagate serve` and `quotagate worker` over given servers."""

    def __init__(self, folder: Path, redis_server: RedisServer, config: str) -> None:
        self.folder = folder
        self.redis = redis_server
        self.config = folder / "config.toml"
        self.config.write_text(config)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.gateway: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self._more: list[subprocess.Popen[bytes]] = []

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start_gateway(self) -> None:
        self.gateway = self._spawn("serve", "--port", str(self.port), log="gateway.log")
        until(self._ready, 60, "the gateway")

    def start_another_gateway(self) -> str:
        """One more process on the same Redis. Returns its address."""
        port = free_port()
        self._more.append(self._spawn("serve", "--port", str(port), log=f"gateway-{port}.log"))
        url = f"http://127.0.0.1:{port}"
        until(lambda: self._is_ready(url), 60, "another gateway")
        return url

    def start_worker(self, *options: str) -> None:
        self.worker = self._spawn("worker", *options, log="worker.log")

    def start(self) -> GatewaySystem:
        self.start_worker()
        self.start_gateway()
        return self

    def kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """kill -9."""
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait(20)

    def stop(self) -> None:
        for process in (self.gateway, self.worker, *self._more):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.gateway, self.worker, *self._more):
            if process is not None:
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _spawn(self, *arguments: str, log: str) -> subprocess.Popen[bytes]:
        with open(self.folder / log, "ab") as out:
            return subprocess.Popen(
                [*QUOTAGATE, *arguments], env=self._environment(), stdout=out, stderr=out, cwd=self.folder
            )

    def _ready(self) -> bool:
        assert self.gateway is not None
        assert self.gateway.poll() is None, self.log("gateway")
        return self._is_ready(self.url)

    @staticmethod
    def _is_ready(url: str) -> bool:
        try:
            return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "QUOTAGATE_CONFIG": str(self.config),
            "QUOTAGATE_DATA": str(self.folder / "data"),
            "PYTHONPATH": str(CHECKOUT),
        }

    # ── the command line ─────────────────────────────────────────────────────────────────────────────────────────────

    def cli(self, *arguments: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.run_cli(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def run_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*QUOTAGATE, *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=60,
        )

    def key(self, user: str, tier: str = "free") -> str:
        """A new key of an account."""
        return self.cli("keys", "create", "--user", user, "--tier", tier).strip().splitlines()[-1]

    def balance(self, user: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("balance", user, "--json"))
        return found

    def usage(self, user: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.cli("usage", user, "--json").splitlines()]

    def ledger(self, user: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.cli("ledger", user, "--json").splitlines()]

    def drained(self, timeout_s: float = 30) -> None:
        """Waits until the ledger has heard of everything."""
        until(lambda: self.redis.client.xlen("qg:{p00}:events") == 0, timeout_s, "an empty inbox")


QUOTAGATE = [sys.executable, "-m", "gateway.cli.main"]
