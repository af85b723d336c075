"""`quotagate up`: the whole system on one machine, as processes under one supervisor.

Redis first, then the demo backend where no upstream is named, the sandbox where payments are set up without a key, the
worker, the gateway. Ctrl-C ends them the other way round, so that the last call is settled and drained before Redis
goes. One that dies is started again.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway import config as config_files
from gateway.accounts import api_keys
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.cli.sandbox import keep, kept_keys, sandbox_command
from gateway.cli.serve import gateway_command, worker_command
from gateway.config import Config
from gateway.domain.errors import QuotagateError, RefusedInput
from gateway.launch.embedded import die_with_parent, embedded_redis
from gateway.launch.places import DATABASE_URL, DEMO_URL, REDIS_URL, SANDBOX_URL, config_file, data_folder
from gateway.launch.system import translated
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.store.runner import connect

DEMO_ACCOUNT = "demo"
READY_S = 30.0
#: A child that dies is started again after this long, doubling up to the maximum while it keeps dying.
RESTART_S, RESTART_MAX_S = 0.5, 10.0
#: How long a child may take to end: the gateway lets open calls finish for 20 s.
STOP_S = 25.0


@dataclass
class Child:
    """One process of the system."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    restart_s: float = RESTART_S
    restart_at: float = 0.0
    started_at: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the supervisor, which ends children in order.
            preexec_fn=die_with_parent,  # noqa: PLW1509  no threads run here
        )

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Supervisor:
    """Brings everything up, prints how to use it, and takes it down."""

    def __init__(self, config: Path | None, data: Path | None, port: int | None) -> None:
        self.path = config_file(config)
        self.config: Config = config_files.load(self.path)
        self.data = data_folder(data)
        self.port = self.config.port if port is None else port
        self.children: list[Child] = []
        #: Where the sandbox is; "": there is none.
        self.sandbox = ""

    def run(self) -> None:
        """Runs until SIGINT or SIGTERM. Raises QuotagateError when something cannot be started."""
        if self.port == 0:
            self.port = _free_port()
        elif not _is_free(self.config.host, self.port):
            raise RefusedInput(f"port {self.port} of {self.config.host} is in use; choose another with --port")
        with contextlib.ExitStack() as stack:
            redis_url = self.config.redis_url or stack.enter_context(embedded_redis(self.data, own=True))
            stack.callback(self._stop_children)
            _stop_on_signal()
            try:
                key = self._demo_key(redis_url)
                self._start_children(redis_url)
                self._greet(key)
                self._supervise()
            except _Stop:
                print("\nstopping…", flush=True)

    def _start_children(self, redis_url: str) -> None:
        ledger = self.config.database_url or database.sqlite_url(self.data)
        environment = {REDIS_URL: redis_url, DATABASE_URL: ledger}
        if any(not upstream.base_url for upstream in self.config.upstreams.values()):
            demo_port = _free_port()
            environment[DEMO_URL] = f"http://127.0.0.1:{demo_port}"
            self._start("demo backend", [sys.executable, "-m", "gateway.demo", "--port", str(demo_port)], {})
            _wait_for_port("127.0.0.1", demo_port, self.children[-1])
        environment |= self.sandbox_environment()
        self._start("worker", worker_command(self.path, self.data), environment)
        self._start("gateway", gateway_command(self.path, None, self.port), environment)
        _wait_for_port(_reachable(self.config.host), self.port, self.children[-1])

    def sandbox_environment(self) -> dict[str, str]:
        """Starts the sandbox where payments go to a Xendit without a key. Returns what the others are told of it."""
        payments = self.config.payments
        if payments.provider != "xendit" or payments.xendit is None or payments.xendit.secret_key:
            return {}
        keys = kept_keys(self.data)
        # Where it was the last time, so that the pages of open orders are still there.
        last = urlsplit(keys.get(SANDBOX_URL, "")).port
        port = last if last and _is_free("127.0.0.1", last) else _free_port()
        self.sandbox = f"http://127.0.0.1:{port}"
        told = keep(self.data, keys | {SANDBOX_URL: self.sandbox})
        command = sandbox_command(port, f"{self.address}/api/webhooks/xendit", self.data / "sandbox.json")
        self._start("sandbox", command, told)
        _wait_for_port("127.0.0.1", port, self.children[-1])
        return told

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        child = Child(name, command, environment)
        child.start()
        self.children.append(child)

    def _stop_children(self) -> None:
        for child in reversed(self.children):
            child.stop()

    def _supervise(self) -> None:
        while True:
            time.sleep(0.2)
            now = time.monotonic()
            for child in self.children:
                if child.process is not None and child.process.poll() is not None:
                    print(f"the {child.name} ended with {child.process.returncode}; it is started again", flush=True)
                    lived_s = now - child.started_at
                    child.restart_s = RESTART_S if lived_s > 60 else min(child.restart_s * 2, RESTART_MAX_S)
                    child.restart_at, child.process = now + child.restart_s, None
                elif child.process is None and now >= child.restart_at:
                    child.start()

    @translated()
    def _demo_key(self, redis_url: str) -> str | None:
        """The key printed at start, kept in the data folder so that the next start prints it too."""
        file = self.data / "demo-key"
        client = connect(redis_url)
        engine = database.connect(self.config.database_url or database.sqlite_url(self.data))
        try:
            migrate(engine)
            system = System(self.config, client, engine)
            ensure_epoch(system, "quotagate up")
            if file.is_file():
                key = file.read_text().strip()
                known = {known.prefix: known for known in api_keys.listed(system, DEMO_ACCOUNT)}.get(key[:11])
                if known is not None and known.revoked_at is None:
                    return key
            (key,) = api_keys.create(system, [DEMO_ACCOUNT])
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
                out.write(key + "\n")
            return key
        finally:
            client.close()
            engine.dispose()

    @property
    def address(self) -> str:
        return f"http://{_reachable(self.config.host)}:{self.port}"

    def _greet(self, key: str | None) -> None:
        command = "quotagate" if shutil.which("quotagate") else sys.argv[0]
        curl = (  # One line, to be copied as it is.
            f'curl {self.address}/v1/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: '
            """application/json" -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'"""
        )
        sandbox = (
            self.sandbox and f"\n  payments  {self.sandbox}/pay   (the sandbox: orders are paid there, without money)"
        )
        print(
            f"""
Quotagate is up.

  address   {self.address}
  key       {key}   (account {DEMO_ACCOUNT}, tier {self.config.default_tier})
  data      {self.data}{sandbox}

  {curl}

  {command} balance {DEMO_ACCOUNT} --data {self.data}

Ctrl-C ends all of it.
""",
            flush=True,
        )


class _Stop(Exception):
    """Raised in the supervisor by SIGINT or SIGTERM."""


def _stop_on_signal() -> None:
    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # Once is enough; the children end in order.
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _wait_for_port(host: str, port: int, child: Child) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if child.process is not None and child.process.poll() is not None:
            raise QuotagateError(f"the {child.name} ended with {child.process.returncode} before it was ready")
        connection = http.client.HTTPConnection(host, port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse()
            return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    raise QuotagateError(f"the {child.name} was not ready after {READY_S:g} s")


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104  compared, not bound


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
