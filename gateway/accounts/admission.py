"""The loop around scripts that let an account in: whoever asks with an outdated view of it is told, and asks again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, QuotagateError, ScriptFault
from gateway.domain.policy import Policy
from gateway.domain.principal import AccountView, Principal
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Stale, Suspended
from gateway.domain.schedule import anchor_of, schedule
from gateway.domain.tier import Tier
from gateway.store import calls
from gateway.store.calls import Call, Terms

T = TypeVar("T")

#: More repeats than this mean that something is wrong that repeating does not mend.
MAX_REPEATS = 4


class NotAdmitted(QuotagateError):
    """Raised when an account may not spend so much now, or at all. Nothing was spent."""

    def __init__(self, outcome: Denied | Suspended, account: str, amount: int, policy: Policy | None = None) -> None:
        super().__init__(f"{outcome}, for {amount}")
        self.account = account
        self.outcome = outcome
        #: Units that were asked for.
        self.amount = amount
        #: The limit that denies it longest; None: the balance, or the account's status.
        self.policy = policy


class Asked(NamedTuple):
    """What one attempt goes by."""

    view: AccountView
    tier: Tier
    terms: Terms


#: Makes the call of one attempt, and says how much it asks for.
Ask = Callable[[Asked], tuple[Call[T | Denied | Suspended | Stale | ClockOff | Conflict | Ended], int]]


def admit(
    system: System, principal: Principal, operation: str, ask: Ask[T], *, on_lost: str = "release"
) -> tuple[T, Asked]:
    """What the script says to a caller whose view of the account is right.

    A tier that the credential names is the account's from now on. Raises NotAdmitted; Conflicting when the call's id
    was used for something else; StoreUnavailable, ScriptFault.
    """
    view, now_ms = _view(system, principal)
    for _ in range(MAX_REPEATS):
        tier = system.tier(view.tier)
        policies = tier.limits.applied("", operation, "", principal.limits).checked
        running = schedule(tier, now_ms, view.zone, view.anchor)
        terms = calls.terms(
            operation, "", system.config.prices.version, tier, running, policies=policies, on_lost=on_lost
        )
        asked = Asked(view, tier, terms)
        call, amount = ask(asked)
        outcome = system.runner.run(call)
        if isinstance(outcome, Stale):
            view.tier, view.version, view.zone = outcome.tier, outcome.version, outcome.zone
            view.anchor = outcome.anchor or anchor_of(system.tier(view.tier), outcome.first_seen_ms, outcome.zone)
        elif isinstance(outcome, ClockOff):
            now_ms = outcome.now_ms
        elif isinstance(outcome, Denied | Suspended):
            raise NotAdmitted(outcome, principal.account, amount, _denying(policies, outcome))
        elif isinstance(outcome, Conflict):
            raise Conflicting(f"the id {call.id} was used before for something else")
        elif isinstance(outcome, Ended):
            raise Conflicting(f"{call.id} has ended already: it is {outcome.how}")
        else:
            return outcome, asked
    raise ScriptFault(f"{operation} of {principal.account}: the store disagreed {MAX_REPEATS} times in a row")


def _view(system: System, principal: Principal) -> tuple[AccountView, int]:
    """The account as it stands, on the tier that the credential names; and the time."""
    key = system.keys.account(principal.account)
    known = system.runner.run(calls.peek(key))
    if known is None:
        return AccountView(key, principal.tier or system.config.default_tier), time.time_ns() // 1_000_000
    view = AccountView(key, known.tier, known.version, known.zone)
    if principal.tier and principal.tier != known.tier:
        moved = system.runner.run(calls.open_account(key, system.tier(principal.tier), zone=known.zone, move=True))
        view.tier, view.version, view.zone = moved.tier, moved.version, moved.zone
    view.anchor = known.anchor or anchor_of(system.tier(view.tier), known.first_seen_ms, view.zone)
    return view, known.now_ms


def _denying(policies: Sequence[Policy], outcome: Denied | Suspended) -> Policy | None:
    if isinstance(outcome, Suspended):
        return None
    return next((policy for policy in policies if policy.name == outcome.policy), None)
