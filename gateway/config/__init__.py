"""`config.toml` as frozen values. `load` reads and proves a file; `shape` says what may stand in it."""

from gateway.config.load import Config, TrustedHeader, load, parse

__all__ = ["Config", "TrustedHeader", "load", "parse"]
