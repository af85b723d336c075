"""The wrappers of `inspect` and `restore`: an account as it stands beside the ledger, and as the ledger wants it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.domain.errors import ScriptFault
from gateway.store.calls import Call, Reply, clock

#: The stamp of an account that Redis does not know.
ABSENT = "absent"

Restored = Literal["restored", "exists", "moved"]


@dataclass(frozen=True, slots=True)
class OpenHold:
    """One open hold of an account."""

    id: str
    #: When its lease is over; None: it has no place among the holds that the sweeper looks at.
    lease_until_ms: int | None
    #: What it took from where, such as {"day:2026-11-20": 3}.
    parts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An account as it stood in Redis at one instant. Amounts are integers of the smallest unit."""

    now_ms: int
    stamp: str
    #: The id of the last event that the partition's stream was given, "1790000000000-3".
    last_event: str
    fields: dict[str, str]
    #: Kind → the period opened last: `amount`, `left`, `held`, `ends_at`. Empty: its key is gone.
    periods: dict[str, dict[str, int]]
    credits: dict[str, int]
    #: The burn order: member → score.
    order: dict[str, float]
    #: Grant id → its record.
    grants: dict[str, str]
    holds: tuple[OpenHold, ...]

    @property
    def is_known(self) -> bool:
        return self.stamp != ABSENT

    def number(self, name: str) -> int:
        """A field of the account, 0 when it has none."""
        return int(self.fields.get(name, 0))


@dataclass(slots=True)
class Plan:
    """What `restore` is to write."""

    fields: dict[str, str | int] = field(default_factory=dict)
    #: Kind, period, amount, left, held, ends_ms.
    periods: list[tuple[str, str, int, int, int, int]] = field(default_factory=list)
    #: Grant, left, priority, expires_s, granted_at_ms.
    credits: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    grants: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    #: Hold, amount, parts as text, lease_until_ms (0: as it is).
    kept: list[tuple[str, int, str, int]] = field(default_factory=list)
    #: Kind, id, when it happened (0: now), entries as text, facts.
    events: list[tuple[str, str, int, str, dict[str, str | int]]] = field(default_factory=list)


def inspect(account_key: str, holds: Sequence[str] = (), *, now_ms: int | None = None) -> Call[Snapshot]:
    """`holds`: ids of holds that may be the account's. The others that it has are found when these are not all."""
    return Call("inspect", "inspect", account_key, ("inspect", clock(now_ms), len(holds), *holds), _snapshot)


def restore(
    account_key: str, stamp: str, plan: Plan, holds: Sequence[str] = (), *, now_ms: int | None = None
) -> Call[Restored]:
    """Writes a plan, when the account still stands as it was inspected with the same `holds`."""
    # Its own: a repeat, after a reply that was lost, finds it in the account and writes nothing twice.
    id = f"restore:{secrets.token_hex(8)}"
    lists: list[Sequence[Sequence[str | int]]] = [
        [(hold,) for hold in holds],
        list(plan.fields.items()),
        plan.periods,
        plan.credits,
        list(plan.grants.items()),
        [(hold,) for hold in plan.ended],
        plan.kept,
        [(kind, id, at_ms, entries, _facts(facts)) for kind, id, at_ms, entries, facts in plan.events],
    ]
    words: list[str | int] = [id, clock(now_ms), stamp]
    for items in lists:
        words.append(len(items))
        for item in items:
            words += item
    return Call("restore", id, account_key, tuple(words), _restored)


def _facts(facts: dict[str, str | int]) -> str:
    return "\n".join(f"{name} {value}" for name, value in facts.items())


def _restored(reply: Reply) -> Restored:
    match reply:
        case [b"restored", _]:
            return "restored"
        case [b"exists", _]:
            return "exists"
        case [b"moved", _]:
            return "moved"
    raise ScriptFault(f"restore answered {reply!r}, which no one understands")


def _snapshot(reply: Reply) -> Snapshot:
    match reply:
        case [b"snapshot", _, now_ms, stamp, last, account, periods, credits, order, grants, open_holds]:
            found = {kind.decode(): _table(period) for kind, period in zip(periods[::2], periods[1::2], strict=True)}
            return Snapshot(
                now_ms=now_ms,
                stamp=stamp.decode(),
                last_event=last.decode(),
                fields=_table(account),
                periods={kind: {n: int(v) for n, v in period.items()} for kind, period in found.items()},
                credits={grant: int(left) for grant, left in _table(credits).items()},
                order={member: float(score) for member, score in _table(order).items()},
                grants=_table(grants),
                holds=tuple(_hold(*hold) for hold in open_holds),
            )
    raise ScriptFault(f"inspect answered {reply!r}, which no one understands")


def _hold(id: bytes, lease: bytes, fields: list[bytes]) -> OpenHold:
    parts = (part.rpartition("=") for part in _table(fields).get("parts", "").split())
    return OpenHold(
        id.decode(), int(float(lease)) if lease else None, {bucket: int(amount) for bucket, _, amount in parts}
    )


def _table(flat: list[Any]) -> dict[str, str]:
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))
