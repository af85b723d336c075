"""The worker's config: read again when the file changes, as gateways do it.

Without this, what a running gateway sells and promises by a changed file would be renewed, rewarded and credited by the
old one.
"""

from __future__ import annotations

import dataclasses
import logging
import threading

from gateway.config import Config
from gateway.domain.errors import ConfigError
from gateway.launch.changes import LOOK_S, ConfigFile
from worker import runtime
from worker.schedule import Schedule, jobs_of

log = logging.getLogger("quotagate.worker")

#: What only a start can change: connections, keys, and who is sent notices.
FIXED = ("redis_url", "database_url", "partitions", "observability", "notifications")


class Reload(threading.Thread):
    """A thread that puts a changed file in force until it is told to stop. A bad file keeps the old one in force."""

    def __init__(self, file: ConfigFile, schedule: Schedule) -> None:
        super().__init__(name="quotagate-reload", daemon=True)
        self._file, self._schedule = file, schedule
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                changed = self._file.changed()
            except ConfigError as error:
                log.error("the config in force stays, the new one cannot be used:\n%s", error)
                continue
            if changed is not None:
                self._use(changed)

    def stop(self) -> None:
        self._stopping.set()

    def _use(self, changed: Config) -> None:
        system = runtime.system()
        fixed = {name: getattr(system.config, name) for name in FIXED}
        config = dataclasses.replace(changed, **fixed)
        runtime.use(dataclasses.replace(system, config=config))
        self._schedule.jobs = jobs_of(config)
        log.info("config %s is in force", self._file.path)
        late = [name for name, value in fixed.items() if getattr(changed, name) != value]
        if late:
            log.warning("these take effect at the next start: %s", ", ".join(late))
