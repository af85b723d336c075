"""The composition root: one gateway process, from a config file to an ASGI app."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from gateway import config as config_files
from gateway import server
from gateway.api.app import build_api
from gateway.api.control import Control
from gateway.config import Config
from gateway.domain.errors import ConfigError, LedgerError
from gateway.launch.changes import LOOK_S, ConfigFile
from gateway.launch.places import DATABASE_URL, DEMO_URL, REDIS_URL
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.observe import logs
from gateway.observe.endpoints import health_routes, metrics_route
from gateway.observe.health import Readiness
from gateway.observe.observer import build_observer
from gateway.observe.store import TIMEOUT_S, StoreCollector, StoreProbe
from gateway.proxy.forward import ForwardApp
from gateway.proxy.gate import Gate
from gateway.proxy.middleware import ASGIApp, QuotaMiddleware
from gateway.store.keys import Keys
from gateway.store.link import Link
from gateway.store.nudge import Nudger
from gateway.store.runner import connect

log = logging.getLogger("quotagate")


def govern(app: ASGIApp, config_file: str | Path) -> QuotaMiddleware:
    """Puts Quotagate in front of an ASGI app of your own: `app = govern(app, "config.toml")`.

    The routes of the config are governed; their upstreams are not used. Raises ConfigError.
    """
    path = Path(config_file)
    gate = build_gate(_complete(config_files.load(path), needs_ledger=False))
    return QuotaMiddleware(app, gate)


def build_gate(config: Config) -> Gate:
    """The shared part of a process: link and nudger to the config's Redis."""
    keys = Keys(config.partitions)
    nudger = Nudger(connect(config.redis_url), keys)
    link = Link(config.redis_url, deadline_s=config.deadline_s)
    return Gate(config, link, nudger, build_observer(config.observability))


def build(config: Config, path: Path | None = None, readiness: Readiness | None = None) -> ASGIApp:
    """The gateway as an ASGI app: governed routes to their upstreams, the rest to the control plane. The config names
    Redis and the ledger.

    With a path, the file is read again when it changes and on SIGHUP. `readiness` may be told that the process ends.
    """
    forward = ForwardApp()
    gate = build_gate(config)
    readiness = readiness or Readiness()
    # Scrapes and probes ask Redis over a client of their own, which waits for nothing long.
    asked = connect(config.redis_url, timeout_s=TIMEOUT_S)
    partitions = gate.keys.all_partitions()
    probe = StoreProbe(asked, partitions)
    readiness.required["link"] = lambda: _link_fault(gate)
    readiness.required["store"] = probe.fault
    readiness.warnings["store_settings"] = probe.warning
    routes: list[BaseRoute] = [*health_routes(readiness)]
    if gate.observer.metrics is not None:
        store = StoreCollector(asked, partitions)
        routes.append(metrics_route(gate.observer.metrics, store, config.observability.metrics_token))
    control = Control(gate, connect(config.redis_url), database.connect(config.database_url))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watcher = asyncio.create_task(_watch_config(gate, path)) if path else None
        try:
            yield
        finally:
            if watcher:
                watcher.cancel()
            readiness.stop()
            await forward.close()
            asked.close()
            control.close()

    return QuotaMiddleware(forward, gate, otherwise=build_api(control, routes, lifespan))


def _link_fault(gate: Gate) -> str | None:
    """What is wrong with the connection that calls go over."""
    return None if not isinstance(gate.store, Link) or gate.store.is_up else "not connected to Redis"


def main() -> None:
    """The gateway process: `python -m gateway.app CONFIG [--port N]`. `quotagate serve` starts it."""
    parser = argparse.ArgumentParser(prog="python -m gateway.app")
    parser.add_argument("config", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    try:
        config = _complete(config_files.load(options.config))
    except ConfigError as error:
        sys.exit(str(error))
    logs.set_up(config.observability)
    for warning in config.warnings:
        log.warning("%s", warning)
    host, port = options.host or config.host, config.port if options.port is None else options.port
    log.info("listening on http://%s:%d", host, port)
    readiness = Readiness()
    _prepare_ledger(config)
    app = build(config, options.config, readiness)
    server.run(app, host, port, config.header_timeout_s, config.body_timeout_s, on_stop=readiness.stop)


def _prepare_ledger(config: Config) -> None:
    """Governed calls need no ledger, so its absence does not stop them; the APIs answer 503 until it is there."""
    engine = database.connect(config.database_url)
    try:
        migrate(engine)
    except LedgerError as error:
        log.error("the APIs cannot read the ledger yet: %s", error)
    finally:
        engine.dispose()


def _complete(config: Config, *, needs_ledger: bool = True) -> Config:
    """Fills in what the config leaves to the surroundings: the embedded Redis and ledger, the demo backend."""
    redis_url = config.redis_url or os.environ.get(REDIS_URL, "")
    if not redis_url:
        raise ConfigError(
            config.source, ["store.redis_url is empty, and no embedded Redis was started: use `quotagate serve`"]
        )
    database_url = config.database_url or os.environ.get(DATABASE_URL, "")
    if not database_url and needs_ledger:
        raise ConfigError(
            config.source, ["store.database_url is empty, and no data folder was named: use `quotagate serve`"]
        )
    demo = os.environ.get(DEMO_URL, "")
    upstreams = {
        name: upstream if upstream.base_url else dataclasses.replace(upstream, base_url=demo)
        for name, upstream in config.upstreams.items()
    }
    faults = [
        f"upstreams.{name}.base_url is empty, and there is no demo backend"
        for name, u in upstreams.items()
        if not u.base_url
    ]
    if faults:
        raise ConfigError(config.source, faults)
    return dataclasses.replace(config, redis_url=redis_url, database_url=database_url, upstreams=upstreams)


async def _watch_config(gate: Gate, path: Path) -> None:
    """Reads the file again when it changes, and on SIGHUP. A bad file keeps the old one in force."""
    asked = asyncio.Event()
    with contextlib.suppress(NotImplementedError, RuntimeError):  # No signals outside the main thread.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    file = ConfigFile(path)
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), LOOK_S)
        anyhow = asked.is_set()
        asked.clear()
        try:
            changed = await asyncio.to_thread(file.changed, anyhow=anyhow)
            if changed is None:
                continue
            config = _complete(changed)
        except ConfigError as error:
            log.error("the config in force stays, the new one cannot be used:\n%s", error)
            continue
        fixed = [
            n
            for n in ("redis_url", "database_url", "partitions", "host", "port", "deadline_s", "observability")
            if getattr(config, n) != getattr(gate.config, n)
        ]
        gate.config = config
        log.info("config %s is in force", path)
        if fixed:
            log.warning("these take effect at the next start: %s", ", ".join(fixed))


if __name__ == "__main__":
    main()
