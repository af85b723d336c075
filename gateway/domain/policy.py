"""Rate and concurrency policies: what an account, a key, an address or a team may do in a time, beside what it pays.

A rate policy is the generic cell rate algorithm (GCRA, ITU-T I.371): each unit that is admitted moves the *theoretical
arrival time* of the next one by `period / limit`; a call is admitted as long as that lies no more than `burst` units
ahead. So in any window of one period no more than `limit + burst` units are admitted, there is no edge of a window to
wait for, and the time until a call fits is known exactly. A call may weigh more than one unit: its tokens, its cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from math import gcd
from typing import NamedTuple

#: What a policy counts, by the word that config files use.
MEASURES = {
    "requests": "requests",
    "tokens": "tokens",
    "input tokens": "input",
    "output tokens": "output",
    "cost": "cost",
    "concurrent": "concurrent",
}
#: The words for each value of it.
_WORDS = {measure: words for words, measure in MEASURES.items()}
#: The measures that a call's tokens must be known for.
_OF_TOKENS = ("tokens", "input", "output")
#: Whose calls a policy counts together. Several together count each combination: ("account", "model").
DIMENSIONS = ("account", "key", "ip", "team", "organisation", "route", "operation", "model")
MODES = ("enforce", "shadow", "throttle")
_PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

#: Lua counts in doubles. A state times an override of up to `MAX_OVERRIDE` stays an exact integer.
_MAX_TICKS = 2**53 // 10_000
#: By how much an override may multiply or divide an account's limits.
MAX_OVERRIDE = 100

_LIMIT = re.compile(
    r"(?P<limit>\d[\d_]*) (?:(?P<concurrent>concurrent)"
    r"|(?P<measure>requests?|tokens?|input tokens?|output tokens?|cost)(?: ?/ ?| per )"
    r"(?:(?P<count>[1-9]\d*) )?(?P<period>second|minute|hour|day)s?(?: burst (?P<burst>\d[\d_]*))?)"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit as it was written: "60 requests/minute", "40000 tokens/10 minutes burst 5000", "4 concurrent"."""

    #: One of the values of MEASURES.
    measure: str
    limit: int
    #: 0 for concurrency.
    period_ms: int = 0
    #: Units that may come at once beyond the one that is always let in after a pause.
    burst: int = 0

    @property
    def steps(self) -> int:
        """`limit / period_ms` in lowest terms is `steps / step_ms`: a unit takes `step_ms` ticks, a millisecond gives
        back `steps`. Both are 0 for concurrency."""
        return self.limit // gcd(self.limit, self.period_ms) if self.period_ms else 0

    @property
    def step_ms(self) -> int:
        return self.period_ms // gcd(self.limit, self.period_ms)

    @property
    def room(self) -> int:
        """Units that fit at once after a pause; for concurrency, calls at a time."""
        return self.limit if self.measure == "concurrent" else self.burst + 1


def parse_rate(text: str) -> Rate:
    """Raises ValueError, in words that follow "must be", for what is no limit.

    Without a burst, a whole period's worth may come at once.
    """
    found = _LIMIT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(
            'such as "60 requests/minute", "40000 tokens/minute burst 5000", "100 input tokens/10 seconds", '
            '"5000 cost/day" or "4 concurrent"'
        )
    limit = int(found["limit"])
    if not 1 <= limit <= 10**12:
        raise ValueError("a limit from 1 to 1000000000000")
    if found["concurrent"]:
        return Rate("concurrent", limit)
    word = found["measure"]
    measure = MEASURES[word if word == "cost" or word.endswith("s") else word + "s"]
    period_ms = 1000 * int(found["count"] or 1) * _PERIODS_S[found["period"]]
    if period_ms > 31 * 86_400_000:
        raise ValueError("over a period of at most 31 days")
    rate = Rate(measure, limit, period_ms, int(found["burst"]) if found["burst"] else limit - 1)
    if rate.room * rate.step_ms > _MAX_TICKS:
        raise ValueError("a rounder number: this one cannot be counted exactly over this period")
    return rate


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of a tier, or of an API key."""

    #: Names it in denials, headers, metrics and Redis keys: letters, digits, _ . -
    name: str
    rate: Rate
    by: tuple[str, ...] = ("account",)
    #: "enforce"; "shadow": recorded, never denied; "throttle": a stream is slowed to its rate.
    mode: str = "enforce"
    #: Globs of the models it is about; empty: all. The same for the paths of routes and for operations.
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    #: Answers carry a warning from this share of the limit on, in thousandths.
    warn_at: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The limit in words, for people."""
        rate = self.rate
        if rate.measure == "concurrent":
            return f"{rate.limit} at a time"
        return f"{rate.limit} {_WORDS[rate.measure]}/{_period_words(rate.period_ms)}"

    def is_about(self, route: str, operation: str, model: str) -> bool:
        return (
            (not self.operations or operation in self.operations)
            and (not self.routes or route in self.routes)
            and (not self.models or any(fnmatchcase(model, glob) for glob in self.models))
        )


def default_name(rate: Rate, by: tuple[str, ...] = ("account",)) -> str:
    """Such as "requests-per-minute", "ip-requests-per-10-seconds" or "concurrent". The limit itself is not in it, so
    that a limit that is raised goes on with the state it has."""
    whose = "" if by == ("account",) else "-".join(by) + "-"
    if rate.measure == "concurrent":
        return f"{whose}concurrent"
    return whose + f"{_WORDS[rate.measure]} per {_period_words(rate.period_ms)}".replace(" ", "-")


def _period_words(period_ms: int) -> str:
    for name, seconds in reversed(_PERIODS_S.items()):
        count, rest = divmod(period_ms, seconds * 1000)
        if rest == 0:
            return name if count == 1 else f"{count} {name}s"
    raise ValueError(f"{period_ms} ms are no whole seconds")


class PolicyState(NamedTuple):
    """How one policy stands, after a call that it admitted or before one that it denied."""

    #: Units that fit now.
    remaining: int
    #: Until it is back in full; 0 for concurrency.
    reset_ms: int
    #: Units that fit when it is in full, after what an override made of it; -1: the policy is not about this call.
    room: int
    #: 1 when it denies the call, or would if it were enforced.
    denies: int


def policy_states(states: Sequence[int]) -> list[PolicyState]:
    """The states in a reply, in the order of the caller's policies."""
    return [PolicyState(*states[at : at + 4]) for at in range(0, len(states), 4)]


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """The policies that one kind of call meets, in order. Compared by identity: the same call meets the same object."""

    #: Those that are decided in Redis.
    checked: tuple[Policy, ...] = ()
    #: Those that slow streams down.
    throttles: tuple[Policy, ...] = ()
    #: Whether some say more than yes or no: whom they would have denied, or that they are nearly used up.
    is_noted: bool = field(init=False, default=False)
    #: Whether the call's tokens must be known beforehand.
    counts_tokens: bool = field(init=False, default=False)
    #: Whether the caller's address must be known.
    needs_address: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        for name, holds in (
            ("is_noted", any(policy.mode == "shadow" or policy.warn_at for policy in self.checked)),
            ("counts_tokens", any(policy.rate.measure in _OF_TOKENS for policy in self.checked)),
            ("needs_address", any("ip" in policy.by for policy in (*self.checked, *self.throttles))),
        ):
            object.__setattr__(self, name, holds)

    def with_states(self, flat: Sequence[int]) -> list[tuple[Policy, PolicyState]]:
        """The policies that are about a call, each with how it stands. `flat`: as a reply has it; () for none."""
        if not flat:
            return []
        pairs = zip(self.checked, policy_states(flat), strict=True)
        return [(policy, state) for policy, state in pairs if state.room >= 0]


NONE_APPLY = Applied()


class PolicySet:
    """A tier's policies. `applied` picks those that a call meets."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self.policies = tuple(policies)
        #: Model names are the client's: only where a policy asks for them do they make a difference.
        self._asks_for_models = any(policy.models for policy in self.policies)
        self._applied = lru_cache(maxsize=4096)(self._pick)

    def of(self, key_limits: tuple[str, ...]) -> tuple[Policy, ...]:
        """All of the tier's, and those of an API key."""
        return (*self.policies, *_of_key(key_limits))

    @property
    def needs_body(self) -> bool:
        """True when some policy asks for what only the request's body tells."""
        return any(
            policy.models or "model" in policy.by or policy.rate.measure in _OF_TOKENS for policy in self.policies
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicySet) and self.policies == other.policies

    def __hash__(self) -> int:
        return hash(self.policies)

    def __repr__(self) -> str:
        return f"PolicySet({list(self.policies)!r})"

    def applied(self, route: str, operation: str, model: str, key_limits: tuple[str, ...] = ()) -> Applied:
        """`key_limits`: the limits of the API key itself, in words that `parse_rate` takes."""
        if not self.policies and not key_limits:
            return NONE_APPLY
        return self._applied(route, operation, model if self._asks_for_models else "", key_limits)

    def _pick(self, route: str, operation: str, model: str, key_limits: tuple[str, ...]) -> Applied:
        met = [policy for policy in self.policies if policy.is_about(route, operation, model)]
        met += _of_key(key_limits)
        return Applied(
            tuple(policy for policy in met if policy.mode != "throttle"),
            tuple(policy for policy in met if policy.mode == "throttle"),
        )


def _of_key(limits: tuple[str, ...]) -> list[Policy]:
    rates = [parse_rate(text) for text in limits]
    return [Policy(f"own-{default_name(rate)}", rate, ("key",)) for rate in rates]
