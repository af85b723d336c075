"""The callers of the scripts behind the APIs: acts on accounts that are no proxied calls. See `gateway.store.calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gateway.domain.acts import Adjusted, Reported, ReportOverflow, Reset, Short, StatusSet, Used, UseLine, Voided
from gateway.domain.errors import RefusedInput
from gateway.domain.period import Windows
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Reserved, Stale, Suspended, Unknown
from gateway.domain.schedule import Schedule
from gateway.domain.tier import BURN_ORDER, MAX_UNITS, Tier
from gateway.store.calls import (
    REMEMBER_MS,
    Call,
    Reply,
    Terms,
    allowance_words,
    clock,
    reserved,
    surprise,
    unready,
    window_words,
)

UseOutcome = Used | Denied | Suspended | Stale | ClockOff | Conflict | Ended
AdjustOutcome = Adjusted | Short | Unknown | Conflict
VoidOutcome = Voided | Unknown
StatusOutcome = StatusSet | Unknown
ReportOutcome = Reported | ReportOverflow | Conflict
ResetOutcome = Reset | Stale | ClockOff | Unknown

#: The ledger's words for what a use may be.
UseKind = Literal["USAGE", "LICENSE_USE"]
#: Its words for taking a grant back: by an operator, or because what was paid for it goes back.
VoidKind = Literal["ADJUSTMENT", "REVERSAL"]
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


def void(
    account_key: str,
    id: str,
    grant_id: str,
    reason: str,
    *,
    kind: VoidKind = "ADJUSTMENT",
    now_ms: int | None = None,
) -> Call[VoidOutcome]:
    """Takes back what a grant has left. It credits no second time, and takes nothing back from open calls."""
    return Call("void", id, account_key, (id, clock(now_ms), grant_id, reason, kind), _voided)


def set_status(account_key: str, status: str, *, now_ms: int | None = None) -> Call[StatusOutcome]:
    """`status`: "active", or a word for why the account may not call, such as "suspended". Its version goes up, when
    that is another one than it had."""
    return Call("status", "status", account_key, ("status", clock(now_ms), status), _status_set)


def report(
    account_key: str,
    id: str,
    total: int,
    tier: Tier,
    day: Windows,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    operation: str = "",
    model: str = "",
    api_key: str = "",
    session: str = "",
    zone: str = "",
    remember_ms: int = REMEMBER_MS,
    now_ms: int | None = None,
) -> Call[ReportOutcome]:
    """Counts tokens that were used elsewhere. `total`: all of them; input and output are 0 where only that is known.
    `day`: the account's local day, as its schedule says. `tier`, `zone`: what an unknown account is opened with.

    Raises RefusedInput for counts that are negative or too large, and for a total that is less than its parts.
    """
    for name, count in (("input", input_tokens), ("output", output_tokens), ("total", total)):
        if not 0 <= count <= MAX_UNITS:
            raise RefusedInput(f"{name}: {count} is not from 0 to {MAX_UNITS}")
    if total < input_tokens + output_tokens:
        raise RefusedInput(f"total: {total} is less than input and output together")
    own = (
        id, clock(now_ms), remember_ms, input_tokens, output_tokens, total, operation, model, api_key, session,
        *window_words(day), tier.name, zone, tier.signup,
    )  # fmt: skip
    return Call("report", id, account_key, own, _reported)


def reset(
    account_key: str, id: str, tier: Tier, schedule: Schedule, *, version: int = 0, now_ms: int | None = None
) -> Call[ResetOutcome]:
    """Opens the periods that are due. `version`: the account's; 0: not known, and the outcome is Stale and tells it."""
    own = (
        id, clock(now_ms), version, schedule.anchor, *window_words(schedule.day), *allowance_words(tier, schedule),
    )  # fmt: skip
    return Call("reset", id, account_key, own, _reset)


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _used(reply: Reply) -> UseOutcome:
    match reply:
        case [b"used", id, before, left, resets_at_ms]:
            return Used(id.decode(), before, left, resets_at_ms)
        case [b"denied" | b"suspended" | b"unready" | b"stale" | b"clock" | b"conflict" | b"ended", *_]:
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


def _reported(reply: Reply) -> ReportOutcome:
    match reply:
        case [b"reported", id, used_tokens]:
            return Reported(id.decode(), used_tokens)
        case [b"overflow", id, used_tokens]:
            return ReportOverflow(id.decode(), used_tokens)
        case [b"unready", id]:
            raise unready(id)
        case [b"conflict", id]:
            return Conflict(id.decode())
    raise surprise("report", reply)


def _reset(reply: Reply) -> ResetOutcome:
    match reply:
        case [b"reset", id, opened, left, resets_at_ms]:
            return Reset(id.decode(), tuple(kind.decode() for kind in opened), left, resets_at_ms)
        case [b"stale", id, version, tier, zone, anchor, first_seen_ms]:
            return Stale(id.decode(), version, tier.decode(), zone.decode(), anchor.decode(), first_seen_ms)
        case [b"clock", id, now_ms]:
            return ClockOff(id.decode(), now_ms)
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("reset", reply)
