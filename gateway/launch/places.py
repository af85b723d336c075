"""Where things are: the config file and the data folder."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.domain.errors import RefusedInput

#: How `up` and `serve` tell a gateway process of addresses that the config leaves empty.
REDIS_URL, DATABASE_URL, DEMO_URL = "QUOTAGATE_REDIS_URL", "QUOTAGATE_DATABASE_URL", "QUOTAGATE_DEMO_URL"
#: The same of the sandbox: where it is, the key that it wants to see, the token that its webhooks carry.
SANDBOX_URL, SANDBOX_SECRET, SANDBOX_TOKEN = (
    "QUOTAGATE_SANDBOX_URL", "QUOTAGATE_SANDBOX_SECRET", "QUOTAGATE_SANDBOX_TOKEN",
)  # fmt: skip

_PACKAGE = Path(__file__).resolve().parent.parent
#: The config that ships with the project: at the top of a checkout, inside a wheel.
DEFAULT_CONFIG = next(
    (path for path in (_PACKAGE / "config.default.toml", _PACKAGE.parent / "config.toml") if path.is_file()),
    _PACKAGE.parent / "config.toml",
)


def config_file(given: Path | None) -> Path:
    """The config to use: --config, QUOTAGATE_CONFIG, ./config.toml, the one that ships. Raises RefusedInput."""
    path = given or (Path(os.environ["QUOTAGATE_CONFIG"]) if os.environ.get("QUOTAGATE_CONFIG") else None)
    if path is None:
        here = Path("config.toml")
        return here if here.is_file() else DEFAULT_CONFIG
    if not path.is_file():
        raise RefusedInput(f"there is no config file {path}")
    return path


def data_folder(given: Path | None) -> Path:
    """The data folder to use: --data, QUOTAGATE_DATA, ./data. It is made when it is not there. Raises RefusedInput."""
    path = given or Path(os.environ.get("QUOTAGATE_DATA") or "data")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RefusedInput(f"the data folder {path} cannot be made: {error}") from error
    return path.resolve()
