"""A license is used: one unit at a time, by the account that owns it. What it was used for is read from the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gateway.accounts import licenses
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.spending import spend
from gateway.accounts.system import System
from gateway.domain.acts import UseLine
from gateway.domain.errors import NotFound, RefusedInput
from gateway.domain.operation import LICENSE_USE
from gateway.domain.principal import LICENSE, Principal
from gateway.domain.reservation import Suspended
from gateway.ledger import licenses as rows
from gateway.store import calls

_WHY = {
    "inactive": "This license is used up: it becomes active again when it is topped up.",
    "expired": "This license has expired.",
    "suspended": "This license is suspended. Ask whoever issued it.",
    "revoked": "This license is revoked.",
}


class NotUsable(RefusedInput):
    """Raised when a license cannot be used now. `why`: "inactive", "expired", "suspended" or "revoked"."""

    def __init__(self, why: str) -> None:
        super().__init__(_WHY[why])
        self.why = why


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
    ip: str = "",
) -> LicenseUse:
    """Uses one unit, once by `id`. `metadata`: JSON text, which the caller of this has bounded. `ip`: the caller's
    address, for limits by it.

    Raises NotFound when there is no such license, or `caller` does not own it; NotUsable; NotAdmitted when a limit of
    its tier is against it, and when the caller is suspended; Conflicting when the id was used for something else.
    Nothing is used then.
    """
    row = owned(system, key_or_prefix, caller)
    owner = system.runner.run(calls.peek(system.keys.account(caller)))
    if owner is not None and owner.status != "active":
        raise NotAdmitted(Suspended(id, owner.status), caller, 1)
    # What is left is for Redis to say, in the same step that takes it.
    status = licenses.status_of(row, None, 1, datetime.now(UTC))
    if status not in ("active", "trial"):
        raise NotUsable(status)
    license = Principal(LICENSE + row["prefix"], row["prefix"], tier=system.config.license_tier)
    line = UseLine(1, purpose, metadata)
    try:
        spent = spend(system, license, id, [line], operation=LICENSE_USE, kind="LICENSE_USE", ip=ip, session=session)
    except NotAdmitted as error:
        if isinstance(error.outcome, Suspended):
            raise NotUsable("revoked" if error.outcome.status == "revoked" else "suspended") from None
        if error.policy is None:
            raise NotUsable("inactive") from None
        raise
    return LicenseUse(row["prefix"], spent.before, spent.left)


def history(
    system: System, key_or_prefix: str, *, owner: str | None = None, cursor: str | None = None, limit: int = 50
) -> History:
    """What a license was used for, newest first; `owner`: only if it is theirs. Uses show as soon as the worker has
    recorded them. Raises NotFound, and RefusedInput for a bad cursor."""
    row = licenses.row_of(system, key_or_prefix) if owner is None else owned(system, key_or_prefix, owner)
    page = rows.uses(system.ledger, LICENSE + row["prefix"], cursor=cursor, limit=limit)
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


def _past_use(row: Mapping[str, Any]) -> PastUse:
    metadata = json.loads(row["details"]) if row["details"] else None
    return PastUse(
        row["id"], row["occurred_at"], row["operation"], row["purpose"], metadata, row["session"], row["cost"]
    )
