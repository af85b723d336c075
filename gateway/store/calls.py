"""One typed wrapper a script: what to send, and what its reply means. No input or output: a runner does that.

A `Call` goes to `Link.run` (asyncio, the gateway's hot path) or to `Runner.run` (redis-py: worker, command line,
tests); both send it, check that the reply echoes the id, and hand it to `parse`. So each script has exactly one caller,
and neither kind of runner knows any script.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from gateway.domain.errors import ScriptFault, StoreUnready
from gateway.domain.period import Windows
from gateway.domain.policy import Policy, PolicyState, policy_states
from gateway.domain.reservation import (
    Account,
    ClockOff,
    Conflict,
    Denied,
    Ended,
    Expired,
    GrantConflict,
    Granted,
    GrantOverflow,
    Opened,
    Overridden,
    Refused,
    Released,
    Renewed,
    Reserved,
    Settled,
    Stale,
    Suspended,
    Unknown,
)
from gateway.domain.schedule import Schedule
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage
from gateway.store.peek import read_account

#: What hiredis and redis-py give for a script's reply: status word, echoed id, then integers and words.
Reply = list[Any]
T = TypeVar("T", covariant=True)  # noqa: PLC0105  T is what it is called everywhere

#: How long the outcome of a reservation answers repeats, unless the config says otherwise: 48 hours.
REMEMBER_MS = 48 * 3600 * 1000


class Terms:
    """The last arguments of many calls, alike for all of them. Packed once (RESP), as packing them for each call would
    cost more than all the rest of sending it."""

    __slots__ = ("packed", "words")

    def __init__(self, words: tuple[str | int, ...]) -> None:
        self.words = words
        texts = [str(word).encode() for word in words]
        self.packed = b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


NO_TERMS = Terms(())


class Call(NamedTuple, Generic[T]):
    """One call of one script. A named tuple, because two are made for every request."""

    script: str
    #: The word that the reply must echo.
    id: str
    key: str
    #: The arguments that are this call's own. What follows them, `terms`, it shares with many others.
    own: tuple[str | int | bytes, ...]
    parse: Callable[[Reply], T]
    terms: Terms = NO_TERMS

    @property
    def args(self) -> tuple[str | int | bytes, ...]:
        """All arguments, in order."""
        return self.own + self.terms.words


ReserveOutcome = Reserved | Denied | Suspended | Stale | ClockOff | Conflict | Ended
SettleOutcome = Settled | Conflict | Ended | Unknown
ReleaseOutcome = Released | Conflict | Ended
RenewOutcome = Renewed | Refused | Conflict | Ended | Unknown
GrantOutcome = Granted | GrantConflict | GrantOverflow


def terms(
    operation: str,
    route: str,
    price_version: str,
    tier: Tier,
    schedule: Schedule,
    *,
    policies: Sequence[Policy] = (),
    on_lost: str = "charge_counted",
) -> Terms:
    """What all calls of a route and a tier tell `reserve` alike, until a period ends. Made once, used for every call.

    `on_lost`: what an expiry charges: "charge_counted", "charge_hold" or "release".
    """
    words: list[str | int] = [
        operation, route, price_version, on_lost, tier.name, tier.signup, " ".join(tier.burn_order), schedule.anchor,
        *window_words(schedule.day), *allowance_words(tier, schedule), *policy_words(policies),
    ]  # fmt: skip
    return Terms(tuple(words))


def allowance_words(tier: Tier, schedule: Schedule) -> tuple[str | int, ...]:
    """A tier's allowances as `lib/periods.lua` reads them."""
    words: list[str | int] = [len(tier.allowances)]
    for allowance, window in zip(tier.allowances, schedule.allowances, strict=True):
        words += (allowance.every, allowance.amount, allowance.rollover, *window_words(window))
    return tuple(words)


def policy_words(policies: Sequence[Policy]) -> tuple[str | int, ...]:
    """Policies as `lib/policies.lua` reads them."""
    words: list[str | int] = [len(policies)]
    for policy in policies:
        rate = policy.rate
        by = " ".join(policy.by)
        words += (policy.name, rate.measure, policy.mode, by, rate.steps, rate.step_ms, rate.room)
    return tuple(words)


def reserve(
    account_key: str,
    id: str,
    amount: int,
    terms: Terms,
    *,
    model: str = "",
    api_key: str = "",
    version: int = 0,
    zone: str = "",
    input_tokens: int = 0,
    output_tokens: int = 0,
    ip: str = "",
    team: str = "",
    organisation: str = "",
    session: str = "",
    lease_ms: int = 60_000,
    now_ms: int | None = None,
) -> Call[ReserveOutcome]:
    """`api_key`: the public prefix of the key the call came with, for the ledger. Neither it nor `model` may be
    secret. `input_tokens`, `output_tokens`: what the call may use at the most, for policies; `ip`, `team` and
    `organisation`: whom they count it against. `session`: what the call is part of, for the ledger."""
    own = (
        id, clock(now_ms), version, amount, lease_ms, model, api_key, zone,
        input_tokens, output_tokens, ip, team, organisation, session,
    )  # fmt: skip
    return Call("reserve", id, account_key, own, reserved, terms)


def settle(
    account_key: str,
    id: str,
    cost: int,
    usage: Usage,
    *,
    status: int = 200,
    remember_ms: int = REMEMBER_MS,
    now_ms: int | None = None,
) -> Call[SettleOutcome]:
    args = (
        id, clock(now_ms), remember_ms, cost,
        usage.input, usage.cached, usage.cache_write, usage.output, usage.reasoning, int(usage.estimated), status,
        usage.audio_ms, usage.images,
    )  # fmt: skip
    return Call("settle", id, account_key, args, _settled)


def release(
    account_key: str, id: str, *, status: int = 0, remember_ms: int = REMEMBER_MS, now_ms: int | None = None
) -> Call[ReleaseOutcome]:
    return Call("release", id, account_key, (id, clock(now_ms), remember_ms, status), _released)


def renew(
    account_key: str,
    id: str,
    renewal: int,
    *,
    counted: int = 0,
    counted_usage: Usage = Usage(),  # noqa: B008  a frozen value
    more: int = 0,
    lease_ms: int = 60_000,
    now_ms: int | None = None,
) -> Call[RenewOutcome]:
    args = (id, clock(now_ms), lease_ms, renewal, counted, counted_usage.input, counted_usage.output, more)
    return Call("renew", id, account_key, args, _renewed)


def expire(
    holds_key: str, *, limit: int = 100, remember_ms: int = REMEMBER_MS, now_ms: int | None = None
) -> Call[Expired]:
    return Call("expire", "sweep", holds_key, ("sweep", clock(now_ms), remember_ms, limit), _expired)


def grant(
    account_key: str,
    grant_id: str,
    amount: int,
    *,
    kind: str,
    reason: str,
    tier: Tier,
    zone: str = "",
    priority: int = 0,
    expires_s: int = 0,
    now_ms: int | None = None,
) -> Call[GrantOutcome]:
    args = (
        grant_id, clock(now_ms), amount, kind, reason, priority, expires_s, tier.name, zone, tier.signup,
    )  # fmt: skip
    return Call("grant", grant_id, account_key, args, _granted)


def open_account(
    account_key: str,
    tier: Tier,
    *,
    zone: str = "",
    move: bool = False,
    id: str = "open",
    remember_ms: int = 0,
    tier_ends_ms: int | None = None,
    tier_after: str = "",
    now_ms: int | None = None,
) -> Call[Opened]:
    """With an `id` of its own and `remember_ms`, a repeat of what opened the account is told so once more.

    `tier_ends_ms`, `tier_after`: until when it is on this tier, and on which one it is then; 0: for good. None: also
    for good, but an account that is on this tier already stays there for as long as was said before.
    """
    ends: str | int = "" if tier_ends_ms is None else tier_ends_ms
    own = (id, clock(now_ms), tier.name, zone, tier.signup, int(move), remember_ms, ends, tier_after)
    return Call("open", id, account_key, own, _opened)


def peek(account_key: str, *, now_ms: int | None = None) -> Call[Account | None]:
    """The account as it stands, or None when it is unknown."""
    account_id = account_key.partition(":account:")[2]
    return Call("peek", "peek", account_key, ("peek", clock(now_ms)), lambda reply: read_account(account_id, reply))


def limits(
    account_key: str,
    policies: Sequence[Policy],
    *,
    api_key: str = "",
    ip: str = "",
    team: str = "",
    organisation: str = "",
    model: str = "",
    operation: str = "",
    route: str = "",
    now_ms: int | None = None,
) -> Call[list[PolicyState]]:
    """How far policies are used, in their order."""
    args = ("limits", clock(now_ms), api_key, ip, team, organisation, model, operation, route)
    return Call("limits", "limits", account_key, args + policy_words(policies), _limits)


def override(
    account_key: str, num: int, den: int, until_ms: int, *, now_ms: int | None = None
) -> Call[Overridden | Unknown]:
    """An account's limits become num/den of what they are, until then; 1/1 ends that."""
    return Call("override", "override", account_key, ("override", clock(now_ms), num, den, until_ms), _overridden)


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reserved(reply: Reply) -> ReserveOutcome:
    match reply:
        case [b"reserved", id, version, left, resets_at_ms, states]:
            return Reserved(id.decode(), version, left, resets_at_ms, tuple(states))
        case [b"denied", id, policy, retry_after_ms, left, violated, states, held, most]:
            return Denied(
                id=id.decode(),
                policy=policy.decode(),
                retry_after_ms=_unless(retry_after_ms),
                left=left,
                violated=tuple(name.decode() for name in violated),
                states=tuple(states),
                held=held,
                most=_unless(most),
            )
        case [b"suspended", id, status]:
            return Suspended(id.decode(), status.decode())
        case [b"unready", id]:
            raise unready(id)
        case [b"stale", id, version, tier, zone, anchor, first_seen_ms]:
            return Stale(id.decode(), version, tier.decode(), zone.decode(), anchor.decode(), first_seen_ms)
        case [b"clock", id, now_ms]:
            return ClockOff(id.decode(), now_ms)
        case [b"conflict", id]:
            return Conflict(id.decode())
        case [b"ended", id, how]:
            return Ended(id.decode(), how.decode())
    raise surprise("reserve", reply)


def _settled(reply: Reply) -> SettleOutcome:
    match reply:
        case [b"settled", id, charged, written_off, left]:
            return Settled(id.decode(), charged, written_off, left)
        case [b"conflict", id]:
            return Conflict(id.decode())
        case [b"ended", id, how]:
            return Ended(id.decode(), how.decode())
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("settle", reply)


def _released(reply: Reply) -> ReleaseOutcome:
    match reply:
        case [b"released", id, left]:
            return Released(id.decode(), left)
        case [b"conflict", id]:
            return Conflict(id.decode())
        case [b"ended", id, how]:
            return Ended(id.decode(), how.decode())
    raise surprise("release", reply)


def _renewed(reply: Reply) -> RenewOutcome:
    match reply:
        case [b"renewed", id, amount, left]:
            return Renewed(id.decode(), amount, left)
        case [b"refused", id, amount, left]:
            return Refused(id.decode(), amount, left)
        case [b"conflict", id]:
            return Conflict(id.decode())
        case [b"ended", id, how]:
            return Ended(id.decode(), how.decode())
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("renew", reply)


def _expired(reply: Reply) -> Expired:
    match reply:
        case [b"expired", _, ended, charged]:
            return Expired(ended, charged)
    raise surprise("expire", reply)


def _granted(reply: Reply) -> GrantOutcome:
    match reply:
        case [b"granted", id, left]:
            return Granted(id.decode(), left)
        case [b"conflict", id, amount]:
            return GrantConflict(id.decode(), amount)
        case [b"overflow", id, granted]:
            return GrantOverflow(id.decode(), granted)
        case [b"unready", id]:
            raise unready(id)
    raise surprise("grant", reply)


def _opened(reply: Reply) -> Opened:
    match reply:
        case [(b"opened" | b"moved" | b"exists") as how, _, version, tier, zone]:
            return Opened(how.decode(), version, tier.decode(), zone.decode())
        case [b"unready", id]:
            raise unready(id)
    raise surprise("open", reply)


def _limits(reply: Reply) -> list[PolicyState]:
    match reply:
        case [b"limits", _, states]:
            return policy_states(states)
    raise surprise("limits", reply)


def _overridden(reply: Reply) -> Overridden | Unknown:
    match reply:
        case [b"overridden", _, until_ms]:
            return Overridden(until_ms)
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("override", reply)


def _unless(number: int) -> int | None:
    """None for -1, which stands for "none" in a reply."""
    return None if number < 0 else number


def window_words(window: Windows) -> tuple[str | int, ...]:
    return (window.id, window.starts_ms, window.ends_ms, window.next_id, window.next_ends_ms)


def clock(now_ms: int | None) -> str | int:
    return "" if now_ms is None else now_ms


def unready(id: bytes) -> StoreUnready:
    """What an answer "unready" is raised as: nothing was written."""
    return StoreUnready(
        f"{id.decode()} is for an account that Redis does not know, and Redis was emptied or never filled from the "
        "ledger: run `quotagate restore`"
    )


def surprise(script: str, reply: Reply) -> ScriptFault:
    return ScriptFault(f"{script} answered {reply!r}, which no one understands")
