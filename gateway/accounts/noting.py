"""Acts of operators: done once by their id, and noted in the audit log."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from gateway.accounts import audit
from gateway.accounts.audit import Noted
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.ledger.tables import audit_log

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class By:
    """Who acts on an account, and why."""

    #: The act's own: with it an act may be repeated, and is done and noted once.
    id: str
    #: "admin:NAME", "cli:USER" or "cron".
    actor: str
    reason: str = ""

    def because(self, reason: str) -> By:
        return replace(self, reason=reason)


def new_by(actor: str, reason: str = "") -> By:
    """For an act that nobody can repeat, such as a command."""
    return By(f"act-{secrets.token_hex(16)}", actor, reason)


def once(
    system: System,
    by: By,
    action: str,
    target: str,
    look: Callable[[], Facts],
    act: Callable[[], Facts | None],
    *,
    needs_reason: bool = False,
) -> Noted | None:
    """Does an act and notes it, with what `look` saw before and after, and what `act` tells beside it.

    An act that is noted under this id already is not done again: its note is returned then, None otherwise. One that
    died between the act and the note is done again, which changes nothing, and its note says what the repeat found.
    The ledger is asked first, so that nothing is done that cannot be noted.

    Raises RefusedInput for a reason that cannot be kept; Conflicting when the id belongs to another act.
    """
    audit.check_reason(by.reason)
    if needs_reason and not by.reason.strip():
        raise RefusedInput("the reason must be given: the audit log keeps it")
    if (known := done_before(system, by.id, action, target)) is not None:
        return known
    before = look()
    told = act() or {}
    audit.note(
        system.ledger,
        id=by.id,
        actor=by.actor,
        action=action,
        target=target,
        reason=by.reason,
        before=before,
        after={**look(), **told},
        now=datetime.now(UTC),
    )
    return None


def done_before(system: System, id: str, action: str, target: str) -> Noted | None:
    """This act, if it was noted. Raises Conflicting when its id belongs to another."""
    known = noted(system, id)
    if known is not None and (known.action, known.target) != (action, target):
        raise Conflicting(f"this was asked for before as another act, {known.action} of {known.target}")
    return known


def noted(system: System, id: str) -> Noted | None:
    """The act that was noted under an id."""
    with system.ledger.connect() as connection:
        row = connection.execute(select(audit_log).where(audit_log.c.id == id)).mappings().one_or_none()
    return None if row is None else audit.read(row)


def of_account(account: str) -> str:
    """How the log names an account. What is done to its keys and grants is done to it: whoever asks what was done to an
    account finds it, and so does the deletion of its data."""
    return f"account:{account}"
