"""The worker process: `python -m worker.main --config F --data D`. `quotagate worker` and `quotagate up` start it."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import redis
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from gateway.accounts import api_keys, licenses
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.domain.errors import RefusedInput
from gateway.launch.changes import ConfigFile
from gateway.launch.places import config_file
from gateway.launch.system import open_system
from gateway.observe import logs
from gateway.store.inbox import Inbox
from gateway.store.nudge import queue
from worker import metrics, runtime
from worker.drain import drain
from worker.reload import Reload
from worker.schedule import Schedule, jobs_of
from worker.sweep import sweep

log = logging.getLogger("quotagate.worker")

RESTART_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.main")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--metrics-host", default="127.0.0.1")
    parser.add_argument("--metrics-port", type=int)
    options = parser.parse_args()
    file = ConfigFile(config_file(options.config))
    with open_system(file.path, options.data) as system:
        logs.set_up(system.config.observability)
        if options.metrics_port is not None:
            try:
                metrics.serve(system, options.metrics_host, options.metrics_port)
            except RefusedInput as error:
                sys.exit(str(error))
        work(system, file)


def work(system: System, file: ConfigFile) -> None:
    """Works until SIGTERM or SIGINT, then drains once more. The config is read again when the file changes."""
    runtime.use(system)
    _Worker.listen()
    partitions = system.keys.all_partitions()
    warn_about(system.redis)
    ensure_epoch(system, "the worker")
    log.info(
        "%d API key(s) and %d license key(s) are published",
        api_keys.publish_all(system),
        licenses.publish_all(system),
    )
    for partition in partitions:
        # What an earlier worker left behind is not waited for.
        Inbox(system.redis, partition, runtime.consumer()).open()
        sweep(partition)
        drain(partition)
    log.info("working on %d partition(s)", len(partitions))
    schedule = Schedule(system.redis, partitions, jobs_of(system.config))
    reload = Reload(file, schedule)
    schedule.start()
    reload.start()
    try:
        while not _Worker.stopped:  # RQ gives up when Redis is away for long; this process does not.
            try:  # It asks Redis for its version when it is made.
                worker = _Worker([queue(system.redis)], connection=system.redis, serializer=JSONSerializer)
                worker.work(logging_level="WARNING")
            except redis.RedisError as error:
                log.warning("Redis cannot be used, trying again: %s", error)
                time.sleep(RESTART_S)
    finally:
        reload.stop()
        schedule.stop()
    for partition in partitions:
        drain(partition)


class _Worker(SimpleWorker):
    """RQ's worker without a process a job, which says whether it was asked to stop."""

    stopped = False

    @classmethod
    def listen(cls) -> None:
        """Hears of a signal that comes before RQ listens."""

        def stop(signum: int, frame: FrameType | None) -> None:
            cls.stopped = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        if _Worker.stopped:  # Asked to, a moment ago.
            self._stop_requested = True

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        _Worker.stopped = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]


def warn_about(client: redis.Redis) -> None:
    """Says what a Redis that is set up otherwise than the ledger needs may lose."""
    try:
        # One by one: before Redis 7.0 CONFIG GET takes a single name.
        settings = client.config_get("maxmemory-policy") | client.config_get("appendonly")
    except redis.ResponseError:
        log.warning("Redis does not tell its settings; it must run with maxmemory-policy noeviction and appendonly yes")
        return
    if settings.get("maxmemory-policy") != "noeviction":
        log.warning(
            "Redis evicts keys (maxmemory-policy %s): balances and holds may vanish when its memory is full; "
            "set it to noeviction", settings.get("maxmemory-policy"),
        )  # fmt: skip
    if settings.get("appendonly") != "yes":
        log.warning(
            "Redis keeps no append-only file (appendonly no): a restart loses every balance change since its last "
            "snapshot, or all of them; set appendonly yes"
        )


if __name__ == "__main__":
    main()
