"""Spends from an account at once: all of some lines, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.accounts.admission import Asked, admit
from gateway.accounts.system import System
from gateway.domain.acts import Used, UseLine
from gateway.domain.principal import Principal
from gateway.store import acts
from gateway.store.acts import UseKind
from gateway.store.calls import Call


class Spent(NamedTuple):
    """All lines are paid. A repeat gives the same numbers."""

    id: str
    #: Units over all buckets, before and after.
    before: int
    left: int
    #: When the first of its allowances ends; None: its tier has none.
    resets_at_ms: int | None
    #: Whether what is left is at or below its tier's `warn_below`.
    is_low: bool


def spend(
    system: System,
    principal: Principal,
    id: str,
    lines: Sequence[UseLine],
    *,
    operation: str,
    kind: UseKind = "USAGE",
    ip: str = "",
    session: str = "",
) -> Spent:
    """Spends from the principal's account, once, however often it is called with this id.

    `operation`: what limits and the ledger call it. `ip`: the caller's address, for limits by it. The worker hears of
    it within two seconds; who wants it sooner nudges.

    Raises RefusedInput for lines that cannot be; NotAdmitted when the balance, a limit or the account's status is
    against it; Conflicting when the id was used for something else; StoreUnavailable. Nothing is spent then.
    """
    amount = sum(line.amount for line in lines)

    def ask(asked: Asked) -> tuple[Call[acts.UseOutcome], int]:
        call = acts.use(
            asked.view.key,
            id,
            lines,
            asked.terms,
            kind=kind,
            api_key=principal.key,
            version=asked.view.version,
            zone=asked.view.zone,
            ip=ip,
            team=principal.team,
            organisation=principal.organisation,
            session=session,
            remember_ms=system.config.remember_ms,
        )
        return call, amount

    used: Used
    used, (_, tier, _) = admit(system, principal, operation, ask)
    resets_at_ms = used.resets_at_ms if tier.allowances else None
    return Spent(used.id, used.before, used.left, resets_at_ms, tier.is_low(used.left))
