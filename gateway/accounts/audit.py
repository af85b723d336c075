"""The audit log: what operators did, a row an act, and never another.

An act notes what it changed, before and after, in words and numbers. Nothing secret stands there: what a name or its
form gives away as a secret is not written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.accounts.keys import shortened
from gateway.domain.errors import RefusedInput
from gateway.ledger.tables import audit_log

#: As long as the columns take.
MAX_ID_LENGTH, MAX_ACTOR_LENGTH, MAX_ACTION_LENGTH, MAX_TARGET_LENGTH, MAX_REASON_LENGTH = 200, 200, 64, 220, 1000

NOT_SHOWN = "(not shown)"
_SECRET_NAME = re.compile(r"secret|password|digest|authorization|(^|_)(key|token)$", re.IGNORECASE)
#: A whole API key or one with its like: a public prefix, and 32 secret characters behind it.
_SECRET_TEXT = re.compile(r"\b(whsec_)\S+")


@dataclass(frozen=True, slots=True)
class Noted:
    """One row of the audit log."""

    id: str
    occurred_at: datetime
    #: "admin:NAME", "cli:USER" or "cron".
    actor: str
    #: Such as "account.set_tier".
    action: str
    #: Such as "account:alice".
    target: str
    reason: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def note(
    database: Connection | Engine,
    *,
    id: str,
    actor: str,
    action: str,
    target: str,
    reason: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    now: datetime,
) -> bool:
    """Notes an act, once by its id: a repeat is silent, and changes nothing. Returns whether it is new.

    On a connection it belongs to the transaction of the act, on an engine it is committed at once. Raises RefusedInput
    when the reason or the actor cannot be kept; what SQLAlchemy raises when the ledger cannot be used.
    """
    check_reason(reason)
    for what, text, longest in (
        ("id of the act", id, MAX_ID_LENGTH),
        ("actor", actor, MAX_ACTOR_LENGTH),
        ("action", action, MAX_ACTION_LENGTH),
        ("target", target, MAX_TARGET_LENGTH),
    ):
        if not 1 <= len(text) <= longest or not text.isprintable():
            raise RefusedInput(f"the {what} must be 1-{longest} printable characters")
    row = {
        "id": id,
        "occurred_at": now.astimezone(UTC),
        "actor": actor,
        "action": action,
        "target": target,
        "reason": _without_secrets(reason),
        "before": _written(before),
        "after": _written(after),
    }
    if isinstance(database, Engine):
        with database.begin() as connection:
            return _insert(connection, row)
    return _insert(database, row)


def check_reason(reason: str) -> None:
    """Raises RefusedInput for a reason that the log cannot keep. An empty one is the caller's to judge."""
    if len(reason) > MAX_REASON_LENGTH or (reason and not reason.isprintable()):
        raise RefusedInput(f"the reason must be at most {MAX_REASON_LENGTH} printable characters")


def about(database: Connection | Engine, target: str) -> list[Noted]:
    """What was done to one target, oldest first."""
    query = select(audit_log).where(audit_log.c.target == target).order_by(audit_log.c.occurred_at, audit_log.c.id)
    if isinstance(database, Engine):
        with database.connect() as connection:
            return [read(row) for row in connection.execute(query).mappings()]
    return [read(row) for row in database.execute(query).mappings()]


def read(row: RowMapping | Mapping[str, Any]) -> Noted:
    """A row of `audit_log` as a value."""
    before, after = (json.loads(row[name]) if row[name] else {} for name in ("before", "after"))
    return Noted(
        row["id"], row["occurred_at"], row["actor"], row["action"], row["target"], row["reason"], before, after
    )


def _insert(connection: Connection, row: Mapping[str, Any]) -> bool:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insertion = dialect.insert(audit_log).values(row).on_conflict_do_nothing(index_elements=["id"])
    return connection.execute(insertion.returning(audit_log.c.id)).first() is not None


def _written(values: Mapping[str, Any] | None) -> str:
    return json.dumps(_shown(values), ensure_ascii=False, sort_keys=True) if values else ""


def _shown(value: Any) -> Any:
    """A value as JSON can hold it, without what is secret in it."""
    if isinstance(value, Mapping):
        return {str(k): NOT_SHOWN if v and _SECRET_NAME.search(str(k)) else _shown(v) for k, v in value.items()}
    if isinstance(value, str):
        # PostgreSQL's text holds every character but this one.
        return _without_secrets(value).replace("\0", "\ufffd")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise TypeError(f"{type(value).__name__} has no place in the audit log")


def _without_secrets(text: str) -> str:
    return _SECRET_TEXT.sub(r"\1…", shortened(text))
