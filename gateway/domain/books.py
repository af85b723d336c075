"""What the ledger knows of one account: the sums of its entries, its grants, the periods that it opened. Pure.

Redis holds the same figures, with what open calls hold on top. `gateway.accounts.reconcile` compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.domain.event import OVERDRAFT, SPENDING, Entry, Event

#: What the opening of each kind of period is called.
RESETS = {"HOURLY_RESET": "hour", "DAILY_RESET": "day", "WEEKLY_RESET": "week", "MONTHLY_RESET": "month"}
RESET_OF = {kind: word for word, kind in RESETS.items()}

_RECORD = re.compile(r"amount=(\d+) priority=(\d+) expires_at=(\d+) granted_at=(\d+)(?: voided=(\d+))?")


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant, as it stands for good."""

    amount: int
    priority: int = 0
    #: Seconds since 1970; 0: never.
    expires_s: int = 0
    granted_at_ms: int = 0
    #: What it still had when it was voided; None: it was not.
    voided: int | None = None
    #: The ledger's word for it. Redis does not keep it.
    kind: str = field(default="TOP_UP", compare=False)

    @property
    def record(self) -> str:
        """As it stands in `qg:{p00}:grants:ID`."""
        text = (
            f"amount={self.amount} priority={self.priority} expires_at={self.expires_s} granted_at={self.granted_at_ms}"
        )
        return text if self.voided is None else f"{text} voided={self.voided}"

    def has_ended(self, now_ms: int) -> bool:
        return 0 < self.expires_s * 1000 <= now_ms


def read_grant(record: str, grant_id: str) -> Grant | None:
    """The grant in a record; None for what was written by hand in some other way."""
    found = _RECORD.fullmatch(record)
    if found is None:
        return None
    amount, priority, expires_s, granted_at_ms = (int(word) for word in found.groups()[:4])
    voided = None if found[5] is None else int(found[5])
    kind = "SIGNUP" if grant_id == "signup" else "TOP_UP"
    return Grant(amount, priority, expires_s, granted_at_ms, voided, kind)


@dataclass(frozen=True, slots=True)
class Opening:
    """A period that was opened: with how much, what rolled over included, and when."""

    amount: int
    opened_at_ms: int


class Ending(NamedTuple):
    """How a reservation ended, by one usage event."""

    #: "settled", "released", "lost" or "corrected".
    outcome: str
    charged: int
    at_ms: int


@dataclass(slots=True)
class Record:
    """What the ledger knows of an account."""

    id: str
    #: None: no event has told it.
    tier: str | None = None
    zone: str | None = None
    status: str = "active"
    granted: int = 0
    spent: int = 0
    used_tokens: int = 0
    requests: int = 0
    first_seen_ms: int = 0
    last_seen_ms: int = 0
    #: Bucket → units left and held together. None of them is 0.
    buckets: dict[str, int] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    #: Bucket → how it was opened, of periods that may still be running. None: nobody has looked for them.
    openings: dict[str, Opening] | None = None
    #: Orders what its tier and status were set by.
    tier_set_at_ms: int = 0
    status_set_at_ms: int = 0

    def add_entry(self, entry: Entry, sign: int = 1) -> None:
        """Adds an entry to the sums; with sign -1 it is taken out again."""
        if entry.bucket == OVERDRAFT:
            return
        amount = sign * entry.amount
        left = self.buckets.pop(entry.bucket, 0) + amount
        if left:
            self.buckets[entry.bucket] = left
        if entry.kind in SPENDING:
            self.spent -= amount
        else:
            self.granted += amount

    def add(self, event: Event) -> None:
        """Adds an event that is not in the ledger yet."""
        for entry in event.entries:
            self.add_entry(entry)
            if self.openings is not None and (entry.kind in RESETS or entry.kind == "ROLLOVER"):
                known = self.openings.get(entry.bucket, Opening(0, event.at_ms))
                self.openings[entry.bucket] = Opening(known.amount + entry.amount, known.opened_at_ms)
            if event.kind in ("grant", "opening") and entry.bucket.startswith("credits:") and entry.amount > 0:
                grant = Grant(entry.amount, event.priority, event.expires_s, event.at_ms, kind=entry.kind)
                self.grants.setdefault(entry.bucket.removeprefix("credits:"), grant)
        if event.kind == "voided" and event.grant in self.grants:
            known_grant = self.grants[event.grant]
            taken = -sum(entry.amount for entry in event.entries if entry.bucket == f"credits:{event.grant}")
            self.grants[event.grant] = Grant(
                known_grant.amount, known_grant.priority, known_grant.expires_s, known_grant.granted_at_ms, taken,
                known_grant.kind,
            )  # fmt: skip
        if event.tier is not None and event.at_ms >= self.tier_set_at_ms:
            self.tier, self.zone, self.tier_set_at_ms = event.tier, event.zone, event.at_ms
        if event.status is not None and event.at_ms >= self.status_set_at_ms:
            self.status, self.status_set_at_ms = event.status, event.at_ms
        if event.usage is not None:
            self.used_tokens += event.usage.total_tokens
            self.requests += event.usage.is_a_call
        self.first_seen_ms = min(self.first_seen_ms or event.at_ms, event.at_ms)
        self.last_seen_ms = max(self.last_seen_ms, event.at_ms)
