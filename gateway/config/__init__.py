"""`config.toml` as frozen values. `load` reads and proves a file; `shape` says what may stand in it."""

from gateway.config.identity import ClaimNames, JwtIssuer, Network, TrustedHeader
from gateway.config.load import Config, load, parse

__all__ = ["ClaimNames", "Config", "JwtIssuer", "Network", "TrustedHeader", "load", "parse"]
