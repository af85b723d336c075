"""Runs what `tests.faults.dying` says, up to where it kills itself."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import datetime

from gateway.domain.order import Order
from tests.support.servers import RedisServer


def kill(
    real_redis: RedisServer, ledger_url: str, order: Order, who: str, at: str, now: datetime | None = None
) -> None:
    """Fails where it lived to its end."""
    command = [sys.executable, "-m", "tests.faults.dying", real_redis.url, ledger_url, order.id, who, at]
    if now is not None:
        command.append(now.isoformat())
    child = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert child.returncode == -signal.SIGKILL, child.stderr
