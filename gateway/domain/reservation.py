"""What the scripts answer: expected outcomes, as values, each named in full.

Amounts are integers of the smallest unit, instants milliseconds since 1970 UTC. A wrapper in `gateway.store.calls`
returns each; the reply it was read from stands in the header of the script in `lua/`. The two that every call meets are
named tuples, which are made faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Reserved(NamedTuple):
    """The call may go upstream: its amount is held."""

    id: str
    #: The account's version, to believe in next time.
    version: int
    #: Units over all buckets, after this hold.
    left: int
    #: When the first of the account's open allowances ends; its local day, when none is open.
    resets_at_ms: int
    #: How its policies stand, four integers each: see `PolicyState`.
    states: Sequence[int] = ()


class Unheld(NamedTuple):
    """Redis cannot be asked, and the call goes upstream all the same: it is free in its caller's tier."""

    id: str
    left: None = None
    resets_at_ms: int = 0
    states: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Denied:
    """The balance does not cover the call, or a policy forbids it; nothing was written."""

    id: str
    #: What denies it longest: "hour", "day", "week" or "month" (wait for the reset), "credits" (top up), or a policy's
    #: name.
    policy: str
    #: Until this very call is possible; None when waiting does not help.
    retry_after_ms: int | None
    left: int
    #: All that deny it.
    violated: tuple[str, ...] = ()
    #: How its policies stand, four integers each: see `PolicyState`.
    states: Sequence[int] = ()
    #: What calls under way hold, and may give back. Not said to the client, like what follows.
    held: int = field(default=0, compare=False)
    #: Up to this amount the balance's denial is the same one; None: however much is asked for.
    most: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Suspended:
    """The account may not call."""

    id: str
    status: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The caller believed in another version of the account: repeat with this one."""

    id: str
    version: int
    tier: str
    zone: str
    #: The local date on which it was opened, "" while none of its tiers asked for it.
    anchor: str
    first_seen_ms: int


@dataclass(frozen=True, slots=True)
class ClockOff:
    """The caller's periods do not contain the server's now: repeat with periods around it."""

    id: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id was used before with other parameters; nothing was written."""

    id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The reservation has ended already, in another way than the one asked for."""

    id: str
    #: "settled", "released" or "expired"; of an id that was never a reservation's "adjusted" or "reported".
    how: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is nothing under this id, and nothing is remembered of it."""

    id: str


class Settled(NamedTuple):
    """The call is paid. A repeat gives the same numbers."""

    id: str
    charged: int
    #: The part of the cost that no bucket covered.
    written_off: int
    left: int


@dataclass(frozen=True, slots=True)
class Released:
    """The hold went back in full."""

    id: str
    left: int


@dataclass(frozen=True, slots=True)
class Renewed:
    """The lease is longer; `amount` units are held now."""

    id: str
    amount: int
    left: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The balance does not cover the larger hold. The lease is longer all the same."""

    id: str
    amount: int
    left: int


@dataclass(frozen=True, slots=True)
class Expired:
    """Overdue holds were ended."""

    ended: int
    charged: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The grant is in the balance, now or since an earlier call with the same id."""

    id: str
    left: int


@dataclass(frozen=True, slots=True)
class GrantConflict:
    """This grant id was credited with another amount."""

    id: str
    amount: int


@dataclass(frozen=True, slots=True)
class GrantOverflow:
    """The account's lifetime total would leave the range of exact integers."""

    id: str
    granted: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The account is known: "opened" now, "moved" to this tier and zone, or "exists" as it stands here."""

    how: str
    version: int
    tier: str
    zone: str


@dataclass(frozen=True, slots=True)
class Overridden:
    """The account's limits are stretched or narrowed until then."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of an account. `id` is a period such as "2026-11-20", or a grant's id."""

    kind: str
    id: str
    #: What it was opened or granted with.
    amount: int
    left: int
    #: Held by open calls. None for credits: a grant's hash keeps no count of it, the account's `held` includes it.
    held: int | None
    #: When the rest expires; None: never.
    ends_at_ms: int | None
    #: Of credits: the lowest is drawn on first.
    priority: int = 0


class Override(NamedTuple):
    """More or less of an account's limits, for a while."""

    #: "2/1": what they are multiplied by.
    factor: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it stands in Redis."""

    id: str
    tier: str
    zone: str
    status: str
    version: int
    granted: int
    spent: int
    held: int
    used_tokens: int
    requests: int
    now_ms: int
    first_seen_ms: int
    last_seen_ms: int
    #: The local date on which it was opened, "" while none of its tiers asked for it.
    anchor: str = ""
    #: Running periods, then credits in the order in which calls draw on them.
    buckets: tuple[Bucket, ...] = field(default=())
    #: By kind, what the period that ended last still had, while no other has opened since: some of it may roll over.
    rests: Mapping[str, int] = field(default_factory=dict)
    #: What had been spent one to two hours ago, or longer when nobody called: (instant, units).
    spent_since: tuple[int, int] = (0, 0)
    #: What an override makes of its limits, "2/1 until 1790000000000"; "" for nothing.
    override: str = ""
    #: Until when it is on its tier, and where it goes then. One whose time is over is on the next one already, though
    #: its hash may not say so yet. None: for good.
    tier_ends_ms: int | None = None
    tier_after: str = ""
    #: What a period that ended still had: expired, though the ledger hears of it only when the next one opens.
    lapsed: int = 0

    @property
    def last_override(self) -> Override | None:
        """The one that stands there, though it may be over."""
        factor, _, until_ms = self.override.partition(" until ")
        return Override(factor, int(until_ms)) if until_ms else None

    @property
    def running_override(self) -> Override | None:
        found = self.last_override
        return found if found is not None and found.until_ms > self.now_ms else None

    @property
    def left(self) -> int:
        """Units that calls can draw on now."""
        return sum(bucket.left for bucket in self.buckets)
