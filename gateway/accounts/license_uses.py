"""A license is used: one unit at a time, by the account that owns it. What it was used for is read from the ledger."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.accounts import licenses
from gateway.accounts.system import System
from gateway.domain.acts import Used, UseLine
from gateway.domain.errors import Conflicting, NotFound, RefusedInput, ScriptFault
from gateway.domain.policy import Policy
from gateway.domain.principal import LICENSE
from gateway.domain.reservation import ClockOff, Denied, Stale, Suspended
from gateway.domain.schedule import anchor_of, schedule
from gateway.ledger import licenses as rows
from gateway.store import acts, calls

#: What a use is called in the ledger, and in limits.
OPERATION = "license_use"
#: More disagreements in a row than this mean that something is wrong that repeating does not mend.
_MAX_REPEATS = 4

_WHY = {
    "inactive": "This license is used up: it becomes active again when it is topped up.",
    "expired": "This license has expired.",
    "suspended": "This license is suspended. Ask whoever issued it.",
    "revoked": "This license is revoked.",
    "limited": "This license is used too often.",
}


class NotUsable(RefusedInput):
    """Raised when a license cannot be used now. `why`: "inactive", "expired", "suspended", "revoked", or "limited" by a
    policy of its tier."""

    def __init__(self, why: str, retry_after_ms: int | None = None, violated: tuple[str, ...] = ()) -> None:
        super().__init__(_WHY[why])
        self.why = why
        self.retry_after_ms = retry_after_ms
        self.violated = violated


class LicenseUse(NamedTuple):
    """One unit was used. A repeat has the same numbers."""

    prefix: str
    previous_balance: int
    new_balance: int


@dataclass(frozen=True, slots=True)
class PastUse:
    """What a license was used for once."""

    id: str
    at: datetime
    #: "license_use", or the operation of a governed call that showed the key.
    operation: str
    purpose: str
    metadata: dict[str, Any] | None
    session: str
    #: Units.
    used: int


class History(NamedTuple):
    items: list[PastUse]
    next_cursor: str | None


def use(
    system: System,
    key_or_prefix: str,
    caller: str,
    *,
    id: str,
    purpose: str = "",
    metadata: str = "",
    session: str = "",
) -> LicenseUse:
    """Uses one unit, once by `id`. `metadata`: JSON text, which the caller of this has bounded.

    Raises NotFound when there is no such license, or `caller` does not own it; NotUsable; Conflicting when the id
    belongs to something else.
    """
    row = owned(system, key_or_prefix, caller)
    # A license that this clock calls used up is asked all the same: it may just have been topped up.
    status = licenses.status_of(row, None, 1, datetime.now(UTC))
    if status not in ("active", "trial"):
        raise NotUsable(status)
    outcome, policies = _use(system, row, id, UseLine(1, purpose, metadata), session)
    match outcome:
        case Used():
            return LicenseUse(row["prefix"], outcome.before, outcome.left)
        case Denied() if any(policy.name == outcome.policy for policy in policies):
            raise NotUsable("limited", outcome.retry_after_ms, outcome.violated)
        case Denied():
            raise NotUsable("inactive")
        case Suspended():
            raise NotUsable("revoked" if outcome.status == "revoked" else "suspended")
    raise Conflicting(f"the id {id} belongs to something else")


def history(
    system: System, key_or_prefix: str, *, owner: str | None = None, cursor: str | None = None, limit: int = 50
) -> History:
    """What a license was used for, newest first; `owner`: only if it is theirs. Uses show as soon as the worker has
    recorded them. Raises NotFound, and RefusedInput for a bad cursor."""
    row = licenses.row_of(system, key_or_prefix) if owner is None else owned(system, key_or_prefix, owner)
    page = rows.uses(system.ledger, LICENSE + row["prefix"], cursor, limit)
    return History([_past_use(found) for found in page.items], page.next_cursor)


def owned(system: System, key_or_prefix: str, owner: str) -> rows.Row:
    """The record of a license of this account. Raises NotFound, in the same words for another's and for none."""
    try:
        row = licenses.row_of(system, key_or_prefix)
    except NotFound:
        row = None
    if row is None or row["owner"] != owner:
        raise NotFound("you have no such license")
    return row


def _use(
    system: System, row: rows.Row, id: str, line: UseLine, session: str
) -> tuple[acts.UseOutcome, tuple[Policy, ...]]:
    key, config = licenses.account_key(system, row), system.config
    view = Stale(id, 0, config.first_tier(LICENSE + row["prefix"]), "", "", 0)
    offset_ms = 0
    for _ in range(_MAX_REPEATS):
        tier = config.tier(view.tier)
        anchor = view.anchor or (anchor_of(tier, view.first_seen_ms, view.zone) if view.first_seen_ms else "")
        running = schedule(tier, time.time_ns() // 1_000_000 + offset_ms, view.zone, anchor)
        policies = tier.limits.applied("", OPERATION, "").checked
        terms = calls.terms(OPERATION, "", config.prices.version, tier, running, policies=policies)
        outcome = system.runner.run(
            acts.use(
                key, id, [line], terms, kind="LICENSE_USE", api_key=row["prefix"], version=view.version, zone=view.zone,
                session=session, remember_ms=config.remember_ms,
            )
        )  # fmt: skip
        if isinstance(outcome, Stale):
            view = outcome
        elif isinstance(outcome, ClockOff):
            offset_ms = outcome.now_ms - time.time_ns() // 1_000_000
        else:
            return outcome, tuple(policies)
    raise ScriptFault(f"use {id}: the store disagreed {_MAX_REPEATS} times in a row")


def _past_use(row: rows.Row) -> PastUse:
    metadata = json.loads(row["details"]) if row["details"] else None
    return PastUse(
        row["id"], row["occurred_at"], row["operation"], row["purpose"], metadata, row["session"], row["cost"]
    )
