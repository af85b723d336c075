"""Open holds: what calls under way have set aside. Listed, and given back where an operator knows better."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

from gateway.accounts import audit
from gateway.accounts.system import System, look_up
from gateway.domain.errors import RefusedInput
from gateway.domain.reservation import Released
from gateway.store import calls, reservations
from gateway.store.reservations import OpenHold, Place

#: Of one page.
MOST = 1000


def open_holds(
    system: System, account: str | None = None, limit: int = 100, after: Place | None = None
) -> list[OpenHold]:
    """Up to `limit` open holds, the oldest lease first; of one account, or of all. `after`: the `place` of the last one
    of the page before.

    Raises RefusedInput for an id that no account can have, and a limit that is not from 1 to 1000.
    """
    if not 1 <= limit <= MOST:
        raise RefusedInput(f"the limit is {limit}, and must be from 1 to {MOST}")
    keys = system.keys
    partitions = keys.all_partitions() if account is None else [keys.partition(look_up(account))]
    found = reservations.open_holds(system.redis, partitions, after or Place())
    of_account = (hold for hold in found if account is None or hold.account == account)
    return list(itertools.islice(of_account, limit))


def release(system: System, id: str, actor: str, reason: str) -> OpenHold:
    """Gives an open hold back in full, and notes who did it. Returns the hold as it was.

    The call behind it may still be running: it ends without a charge. A repeat is refused, as nothing is held any more.
    Raises RefusedInput when there is no such hold, or it has ended, or the reason is empty.
    """
    if not reason.strip():
        raise RefusedInput("a reason is needed: the audit log keeps it")
    hold, ended = reservations.find(system.redis, system.keys, id)
    if hold is None:
        known = f"reservation {id} has ended: {ended.how}" if ended else f"there is no open hold {id}"
        raise RefusedInput(f"{known}; `quotagate holds` lists those that are open")
    # The note belongs to the release: it is committed when the hold went back, and only then.
    with system.ledger.begin() as connection:
        audit.note(
            connection,
            id=f"hold.release:{id}",
            actor=actor,
            action="hold.release",
            target=f"reservation:{id}",
            reason=reason,
            before={"account": hold.account, "amount": hold.amount, "parts": dict(hold.parts)},
            after={"amount": 0},
            now=datetime.now(UTC),
        )
        call = calls.release(system.keys.account(hold.account), id, remember_ms=system.config.remember_ms)
        outcome = system.runner.run(call)
        if not isinstance(outcome, Released):
            raise RefusedInput(f"reservation {id} ended meanwhile: {getattr(outcome, 'how', 'under another account')}")
    system.nudge(hold.account)
    return hold
