"""Opens the system of a config and a data folder: the one that runs, or one brought up for the moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gateway import config as config_files
from gateway.accounts.system import System
from gateway.launch.embedded import embedded_redis
from gateway.launch.places import config_file, data_folder
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.store.runner import connect


@contextlib.contextmanager
def open_system(config: Path | None, data: Path | None) -> Iterator[System]:
    """Raises ConfigError, RefusedInput, StoreUnavailable and LedgerError."""
    with contextlib.ExitStack() as stack:
        path = config_file(config)
        settings = config_files.load(path)
        folder = data_folder(data)
        redis_url = settings.redis_url or stack.enter_context(embedded_redis(folder))
        client = stack.enter_context(contextlib.closing(connect(redis_url)))
        engine = database.connect(settings.database_url or database.sqlite_url(folder))
        stack.callback(engine.dispose)
        migrate(engine)
        yield System(settings, client, engine)
