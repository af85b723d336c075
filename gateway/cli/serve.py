"""`quotagate serve` and `quotagate worker`: one process each.

The process that serves is started afresh, so that it carries nothing of the command line's: `exec` where Redis is
given, a child beside the embedded Redis where it is not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway import config as config_files
from gateway.launch.embedded import die_with_parent, embedded_redis
from gateway.launch.places import DATABASE_URL, REDIS_URL, config_file, data_folder
from gateway.ledger.database import sqlite_url


def serve(config: Path | None, data: Path | None, host: str | None, port: int | None) -> None:
    path = config_file(config)
    settings = config_files.load(path)
    arguments = gateway_command(path, host, port)
    surroundings = {}
    if not settings.database_url and not os.environ.get(DATABASE_URL):
        surroundings[DATABASE_URL] = sqlite_url(data_folder(data))
    if settings.redis_url or os.environ.get(REDIS_URL):
        os.execve(sys.executable, arguments, os.environ | surroundings)
    with embedded_redis(data_folder(data)) as redis_url:
        sys.exit(_run(arguments, {REDIS_URL: redis_url} | surroundings))


def worker(config: Path | None, data: Path | None, metrics_host: str, metrics_port: int | None) -> None:
    path = config_file(config)
    config_files.load(path)
    command = worker_command(path, data_folder(data))
    if metrics_port is not None:
        command += ["--metrics-host", metrics_host, "--metrics-port", str(metrics_port)]
    os.execv(sys.executable, command)


def gateway_command(config: Path, host: str | None, port: int | None) -> list[str]:
    options = [] if host is None else ["--host", host]
    options += [] if port is None else ["--port", str(port)]
    return [sys.executable, "-m", "gateway.app", str(config), *options]


def worker_command(config: Path, data: Path) -> list[str]:
    return [sys.executable, "-m", "worker.main", "--config", str(config), "--data", str(data)]


def _run(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Runs a child to its end, and passes on what asks this process to end."""
    child = subprocess.Popen(
        arguments,
        env=os.environ | environment,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: child.terminate())
    signal.signal(signal.SIGHUP, lambda *_: child.send_signal(signal.SIGHUP))
    return child.wait()
