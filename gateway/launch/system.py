"""Opens the system of a config and a data folder: the one that runs, or one brought up for the moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import redis
from sqlalchemy.exc import SQLAlchemyError

from gateway import config as config_files
from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.system import System
from gateway.domain.errors import LedgerError, StoreUnavailable
from gateway.launch.embedded import embedded_redis
from gateway.launch.places import config_file, data_folder
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.store.runner import connect


@contextlib.contextmanager
def open_system(config: Path | None, data: Path | None) -> Iterator[System]:
    """Raises ConfigError, RefusedInput, StoreUnavailable and LedgerError, the last two also for what its user meets."""
    with translated(), contextlib.ExitStack() as stack:
        path = config_file(config)
        settings = config_files.load(path)
        folder = data_folder(data)
        redis_url = settings.redis_url or stack.enter_context(embedded_redis(folder))
        client = stack.enter_context(contextlib.closing(connect(redis_url)))
        engine = database.connect(settings.database_url or database.sqlite_url(folder))
        stack.callback(engine.dispose)
        migrate(engine)
        system = System(settings, client, engine)
        with contextlib.suppress(redis.RedisError):  # Some commands ask the ledger alone.
            ensure_epoch(system)
        yield system


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns what redis-py and SQLAlchemy raise within into StoreUnavailable and LedgerError, a sentence each."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable(f"Redis cannot be used: {_one_line(error)}") from error
    except SQLAlchemyError as error:
        # Without the statement, which SQLAlchemy prints with it.
        raise LedgerError(f"the ledger's database cannot be used: {_one_line(error.__cause__ or error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
