"""The callers of the scripts behind the APIs: acts on accounts that are no proxied calls. See `gateway.store.calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gateway.domain.acts import Adjusted, Short, StatusSet, Used, UseLine, Voided
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Reserved, Stale, Suspended, Unknown
from gateway.domain.tier import BURN_ORDER, MAX_UNITS
from gateway.store.calls import REMEMBER_MS, Call, Reply, Terms, clock, reserved, surprise

UseOutcome = Used | Denied | Suspended | Stale | ClockOff | Conflict | Ended
AdjustOutcome = Adjusted | Short | Unknown | Conflict
VoidOutcome = Voided | Unknown
StatusOutcome = StatusSet | Unknown

#: The ledger's words for what a use may be.
UseKind = Literal["USAGE", "LICENSE_USE"]
#: One use runs as one script, and all other calls of its Redis wait for it.
MAX_LINES = 1000


def use(
    account_key: str,
    id: str,
    lines: Sequence[UseLine],
    terms: Terms,
    *,
    kind: UseKind = "USAGE",
    api_key: str = "",
    version: int = 0,
    zone: str = "",
    ip: str = "",
    team: str = "",
    organisation: str = "",
    session: str = "",
    remember_ms: int = REMEMBER_MS,
    now_ms: int | None = None,
) -> Call[UseOutcome]:
    """Spends what all lines cost, or nothing. An id with a slash might name the line of another use.

    Raises RefusedInput for no line or more than `MAX_LINES`, and for an amount that is negative or too large.
    """
    if not 1 <= len(lines) <= MAX_LINES:
        raise RefusedInput(f"lines: a use has from 1 to {MAX_LINES}, not {len(lines)}")
    for number, line in enumerate(lines, 1):
        if not 0 <= line.amount <= MAX_UNITS:
            raise RefusedInput(f"line {number}: amount: {line.amount} is not from 0 to {MAX_UNITS}")
    if sum(line.amount for line in lines) > MAX_UNITS:
        raise RefusedInput(f"lines: their amounts are more than {MAX_UNITS} together")
    own: list[str | int | bytes] = [
        id, clock(now_ms), version, remember_ms, kind, api_key, zone, ip, team, organisation, session, len(lines),
    ]  # fmt: skip
    for line in lines:
        own += line
    return Call("use", id, account_key, tuple(own), _used, terms)


def adjust(
    account_key: str,
    id: str,
    amount: int,
    reason: str,
    *,
    order: str = " ".join(BURN_ORDER),
    remember_ms: int = REMEMBER_MS,
    now_ms: int | None = None,
) -> Call[AdjustOutcome]:
    """Takes units, at least 1, from what is free. What gives is `calls.grant`, with the kind ADJUSTMENT.

    Raises RefusedInput for an amount that is none.
    """
    if not 1 <= amount <= MAX_UNITS:
        raise RefusedInput(f"amount: {amount} is not from 1 to {MAX_UNITS}")
    own = (id, clock(now_ms), amount, reason, order, remember_ms)
    return Call("adjust", id, account_key, own, _adjusted)


def void(account_key: str, id: str, grant_id: str, reason: str, *, now_ms: int | None = None) -> Call[VoidOutcome]:
    """Takes back what a grant has left. It credits no second time, and takes nothing back from open calls."""
    return Call("void", id, account_key, (id, clock(now_ms), grant_id, reason), _voided)


def set_status(account_key: str, status: str, *, now_ms: int | None = None) -> Call[StatusOutcome]:
    """`status`: "active", or a word for why the account may not call, such as "suspended". Its version goes up, when
    that is another one than it had."""
    return Call("status", "status", account_key, ("status", clock(now_ms), status), _status_set)


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _used(reply: Reply) -> UseOutcome:
    match reply:
        case [b"used", id, before, left, resets_at_ms]:
            return Used(id.decode(), before, left, resets_at_ms)
        case [b"denied" | b"suspended" | b"stale" | b"clock" | b"conflict" | b"ended", *_]:
            outcome = reserved(reply)
            if not isinstance(outcome, Reserved):
                return outcome
    raise surprise("use", reply)


def _adjusted(reply: Reply) -> AdjustOutcome:
    match reply:
        case [b"adjusted", id, left]:
            return Adjusted(id.decode(), left)
        case [b"short", id, left]:
            return Short(id.decode(), left)
        case [b"unknown", id]:
            return Unknown(id.decode())
        case [b"conflict", id]:
            return Conflict(id.decode())
    raise surprise("adjust", reply)


def _voided(reply: Reply) -> VoidOutcome:
    match reply:
        case [b"voided", id, amount, left]:
            return Voided(id.decode(), amount, left)
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("void", reply)


def _status_set(reply: Reply) -> StatusOutcome:
    match reply:
        case [b"set", id, version, before]:
            return StatusSet(id.decode(), version, before.decode())
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("status", reply)
