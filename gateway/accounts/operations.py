"""Operations that are paid for over the API, by a backend that does them itself: held first, charged or given back
when it is done.

A hold that nobody ends is ended by the worker when its lease is over, as the operation's `on_lost` says. One that is
committed after that is charged once all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.accounts.admission import Asked, admit
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.price import FixedPrice
from gateway.domain.principal import Principal
from gateway.domain.reservation import Conflict, Ended, Released, Reserved, Settled, Unknown
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage
from gateway.store import calls, notes
from gateway.store.calls import Call, ReserveOutcome
from gateway.store.keys import Keys

#: What the ids of these reservations begin with. Those of proxied calls never do: their holds are the proxy's alone.
PREFIX = "api-"
_ID = re.compile(rf"{PREFIX}[A-Za-z0-9-]{{1,90}}")


class Held(NamedTuple):
    """The price of the operation is held."""

    reservation: str
    amount: int
    left: int
    #: When the hold ends by itself.
    expires_at_ms: int


class Charged(NamedTuple):
    """What was held is charged. A repeat gives the same numbers."""

    reservation: str
    charged: int
    #: After a late commit: the part that nothing covered any more.
    written_off: int
    left: int


@dataclass(frozen=True, slots=True)
class _Reservation:
    """What stands under an id, open or ended."""

    account_key: str
    id: str
    amount: int


def reserve(
    system: System,
    principal: Principal,
    id: str,
    operation: str,
    *,
    purpose: str = "",
    metadata: str = "",
    ip: str = "",
    session: str = "",
) -> Held:
    """Holds the price of an operation, once, however often it is called with this id, which begins with PREFIX.
    `purpose`, `metadata`: what it is for, for the ledger; the second is JSON text, which the caller bounds.

    Raises NotFound for an operation that there is not, RefusedInput for one whose price depends on what a call holds,
    NotAdmitted when the balance, a limit or the account's status is against it, Conflicting when the id was used for
    something else or has ended, StoreUnavailable.
    """
    holding = system.config.holdings.get(operation)
    if holding is None:
        known = ", ".join(sorted(system.config.holdings))
        raise NotFound(f"there is no operation {operation!r}; there are {known}")

    def ask(asked: Asked) -> tuple[Call[ReserveOutcome], int]:
        amount = _price(system, asked.tier, operation)
        call = calls.reserve(
            asked.view.key,
            id,
            amount,
            asked.terms,
            api_key=principal.key,
            version=asked.view.version,
            zone=asked.view.zone,
            ip=ip,
            team=principal.team,
            organisation=principal.organisation,
            session=session,
            lease_ms=holding.lease_ms,
        )
        return call, amount

    held: Reserved
    held, asked = admit(system, principal, operation, ask, on_lost=holding.on_lost)
    if purpose or metadata:
        system.runner.run(notes.annotate(asked.view.key, id, purpose, metadata))
    holds = Keys.of_partition(system.keys.partition(principal.account), "holds")
    ends: Any = system.redis.zscore(holds, id)
    return Held(id, _price(system, asked.tier, operation), held.left, int(ends or 0))


def commit(system: System, account: str, operation: str, reservation: str) -> Charged:
    """Charges what was held, once. Raises NotFound when the account has no such reservation, Conflicting when it was
    cancelled, StoreUnavailable."""
    found = _find(system, account, operation, reservation)
    outcome = system.runner.run(
        calls.settle(found.account_key, found.id, found.amount, Usage(), remember_ms=system.config.remember_ms)
    )
    match outcome:
        case Settled():
            return Charged(found.id, outcome.charged, outcome.written_off, outcome.left)
        case Ended() | Conflict():
            raise Conflicting(f"reservation {found.id} was cancelled, and cannot be committed any more")
        case Unknown():
            raise _unknown(reservation)


def cancel(system: System, account: str, operation: str, reservation: str) -> int:
    """Gives back what was held, once. Returns what the account has left. Raises NotFound when it has no such
    reservation, Conflicting when it was committed, StoreUnavailable."""
    found = _find(system, account, operation, reservation)
    outcome = system.runner.run(calls.release(found.account_key, found.id, remember_ms=system.config.remember_ms))
    match outcome:
        case Released():
            return outcome.left
        case Ended() | Conflict():
            raise Conflicting(f"reservation {found.id} was committed, and cannot be cancelled any more")


def _price(system: System, tier: Tier, operation: str) -> int:
    price = tier.operations.get(operation) or system.config.operations[operation]
    if not isinstance(price, FixedPrice):
        raise RefusedInput(f"operation {operation} is priced by tokens: call its route, which meters them")
    return price.units


def _find(system: System, account: str, operation: str, reservation: str) -> _Reservation:
    """A reservation of this account's for this operation, by the words that `reserve` keeps of it: ACCOUNT AMOUNT
    OPERATION and a model, which these have none of."""
    if not _ID.fullmatch(reservation):
        raise _unknown(reservation)
    partition = system.keys.partition(account)
    for kind in ("hold", "done"):
        key = Keys.of_partition(partition, f"{kind}:{reservation}")
        found: Any = system.redis.hmget(key, ["account", "request"])
        owner, request = ((word or b"").decode() for word in found)
        words = request.split(" ")
        if owner == account and words[:1] == [account] and words[2:3] == [operation] and len(words) == 4:
            return _Reservation(system.keys.account(account), reservation, int(words[1]))
    raise _unknown(reservation)


def _unknown(reservation: str) -> NotFound:
    return NotFound(f"there is no reservation {reservation!r} of this operation")
