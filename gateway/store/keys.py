"""The names of keys in Redis, as `lua/README.md` describes them. `lua/lib/keys.lua` derives the same names."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Keys:
    """Names keys for one fixed number of partitions.

    All keys of an account carry its partition's tag, such as `{p00}`, so that one script works on one slot of a Redis
    Cluster. The number is fixed once data exists: another number would look for the same account elsewhere.
    """

    partitions: int = 1

    #: A hash whose `version` goes up whenever any API key is created or revoked.
    API_KEYS: ClassVar[str] = "qg:keys"

    def partition(self, account: str) -> str:
        """The tag of an account's partition, without braces: CRC16 of the account, as a Cluster would count it."""
        return f"p{binascii.crc_hqx(account.encode(), 0) % self.partitions:02d}"

    def all_partitions(self) -> list[str]:
        return [f"p{number:02d}" for number in range(self.partitions)]

    def account(self, account: str) -> str:
        return f"qg:{{{self.partition(account)}}}:account:{account}"

    def of_account(self, account: str, name: str) -> str:
        """A key of the account: name is "credits", "credits-order", "grants", "day:2026-11-20" …"""
        kind, _, period = name.partition(":")
        return f"qg:{{{self.partition(account)}}}:{kind}:{account}" + (f":{period}" if period else "")

    @staticmethod
    def of_partition(partition: str, name: str) -> str:
        """A key of the whole partition: name is "events", "poison", "holds", "hold:ID", "done:ID"."""
        return f"qg:{{{partition}}}:{name}"

    @staticmethod
    def api_key(digest: str) -> str:
        """What the gateway knows of an API key, by the SHA-256 of the whole key. Not an account's: it has no tag."""
        return f"qg:key:{digest}"
