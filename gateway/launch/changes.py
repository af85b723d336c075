"""The config file while processes run: read again when it changes."""

from __future__ import annotations

from pathlib import Path

from gateway import config as config_files
from gateway.config import Config

#: How often it is looked at.
LOOK_S = 1.0


class ConfigFile:
    """A file whose changes are told of once each. Made before the file is first read, it misses none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._fingerprint()

    def changed(self, *, anyhow: bool = False) -> Config | None:
        """The config, where the file is another one than the last time, or `anyhow`; else None. Raises ConfigError for
        one that cannot be used, once for each change."""
        now = self._fingerprint()
        if now == self._seen and not anyhow:
            return None
        self._seen = now
        return config_files.load(self.path)

    def _fingerprint(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
