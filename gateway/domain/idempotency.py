"""What stands under an `Idempotency-Key`: the expected answers of `remember` and `keep`, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is this one's to make, and its claim has a lease."""

    id: str


@dataclass(frozen=True, slots=True)
class Running:
    """Another call has the key, and is under way."""

    id: str
    other: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The gateway of the call that has the key fell silent: it may have been made or not."""

    id: str
    other: str


@dataclass(frozen=True, slots=True)
class Done:
    """The call that has the key has this answer."""

    id: str
    other: str
    status: int
    #: As they were sent: one "name: value" a line.
    headers: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Unkept:
    """The call that has the key has ended, and its answer was too large to keep, or was never whole."""

    id: str
    other: str
    status: int


@dataclass(frozen=True, slots=True)
class Reused:
    """The key belongs to another request."""

    id: str
    other: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The outcome is written down, or the key is free again."""

    id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Redis had lost the claim, and another call has made its own since."""

    id: str
    other: str
