"""What the scripts behind the APIs answer: expected outcomes, as values, like those of `gateway.domain.reservation`.

Amounts are integers of the smallest unit, instants milliseconds since 1970 UTC. A wrapper in `gateway.store.acts`
returns each; the reply it was read from stands in the header of the script in `lua/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class UseLine(NamedTuple):
    """One thing that a use pays for."""

    #: Units, 0 or more.
    amount: int
    #: What it is for, in the caller's words; "" for nothing said.
    purpose: str = ""
    #: More of that, as JSON text. The caller bounds its length.
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Used:
    """All lines are paid. A repeat gives the same numbers."""

    id: str
    #: Units over all buckets, before and after: the difference is what the lines cost.
    before: int
    left: int
    #: When the first of the account's open allowances ends; its local day, when none is open.
    resets_at_ms: int


@dataclass(frozen=True, slots=True)
class Adjusted:
    """The units are taken. A repeat gives the same number."""

    id: str
    left: int


@dataclass(frozen=True, slots=True)
class Short:
    """Less is free than was to be taken; nothing was written."""

    id: str
    left: int


@dataclass(frozen=True, slots=True)
class Voided:
    """The grant has ended. A repeat gives the same amount."""

    id: str
    #: What it still had.
    amount: int
    #: What the account has left now.
    left: int


@dataclass(frozen=True, slots=True)
class StatusSet:
    """The account has the status that was asked for."""

    id: str
    #: The account's version, to believe in next time.
    version: int
    #: The status that it had.
    before: str


@dataclass(frozen=True, slots=True)
class Reported:
    """The tokens are counted. A repeat gives the same number."""

    id: str
    #: All that the account has used, after this report.
    used_tokens: int


@dataclass(frozen=True, slots=True)
class ReportOverflow:
    """The account's total would leave the range of exact integers; nothing was written."""

    id: str
    used_tokens: int


@dataclass(frozen=True, slots=True)
class Reset:
    """No period of the account is due any more."""

    id: str
    #: The kinds of those that this opened: "day", "month" …
    opened: tuple[str, ...]
    left: int
    #: When the first of the account's open allowances ends; its local day, when none is open.
    resets_at_ms: int
