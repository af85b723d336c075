"""License keys: made, topped up, passed on, suspended, resumed, revoked.

A license is an account of its own, `license:PREFIX`, so that its balance, holds and ledger are those of any account. It
belongs to another account. Its key is `lic_` and 8 characters, the public prefix, then 32 secret ones, and is shown
once: only its SHA-256 is stored.

What may be spent is decided in Redis, by the account's status; who owns it and what becomes of it is recorded in the
ledger's `license_keys`. An act that must end something does it in Redis first, one that allows something records it
first; so whichever half fails, the stricter one holds, and the act can be repeated. Each ends by making Redis say what
the record says then, so that of acts at once the one that was recorded last stands in both.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, select, update

from gateway.accounts import audit, balances
from gateway.accounts.keys import PREFIX_SECRET, digest
from gateway.accounts.noting import done_before
from gateway.accounts.system import System
from gateway.domain.balance import balance_of
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.principal import LICENSE, is_named
from gateway.domain.reservation import Account
from gateway.ledger import licenses as rows
from gateway.ledger.tables import license_keys
from gateway.store import acts, calls
from gateway.store import api_keys as published

WORD = "lic_"
PREFIX_LENGTH = len(WORD) + PREFIX_SECRET
#: As they are shown: each but the first two hides those behind it.
STATUSES = ("active", "trial", "inactive", "expired", "suspended", "revoked")
#: The year 2286, as for grants.
_LAST_S = 9_999_999_998


@dataclass(frozen=True, slots=True)
class License:
    """A license as it can be shown: never its secret."""

    prefix: str
    owner: str
    #: For people.
    name: str
    trial: bool
    #: One of STATUSES.
    status: str
    #: Units that can be used now, that calls under way hold, and that were used.
    left: int
    held: int
    spent: int
    created_at: datetime
    #: None: never.
    expires_at: datetime | None

    @property
    def account(self) -> str:
        return LICENSE + self.prefix


class LicensePage(NamedTuple):
    items: list[License]
    next_cursor: str | None


# ── asked for ────────────────────────────────────────────────────────────────────────────────────────────────────────


def find(system: System, key_or_prefix: str) -> License:
    """One license. Raises NotFound, for a right prefix with a wrong secret too."""
    return shown(system, [row_of(system, key_or_prefix)])[0]


def of_owner(system: System, owner: str, cursor: str | None = None, limit: int = 50) -> LicensePage:
    """What an account owns, newest first. Raises RefusedInput for a bad cursor."""
    return listed(system, owner=owner, cursor=cursor, limit=limit)


def listed(
    system: System, *, owner: str | None = None, status: str | None = None, cursor: str | None = None, limit: int = 50
) -> LicensePage:
    """All, those of an owner, or those of a status, newest first. By status a page may have fewer than `limit`, or
    none, and still be followed by another: what is left is known of each license alone.

    Raises RefusedInput for a bad cursor, and for a status that there is not.
    """
    conditions = [] if owner is None else [license_keys.c.owner == owner]
    if status is not None:
        conditions += _can_be(status)
    page = rows.licenses(system.ledger, conditions, cursor=cursor, limit=limit)
    found = shown(system, page.items)
    return LicensePage([one for one in found if status in (None, one.status)], page.next_cursor)


# ── done ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def top_up(system: System, key_or_prefix: str, amount: int, *, grant_id: str, reason: str, actor: str) -> License:
    """Puts more on a license, once by `grant_id`. One that was used up is active again.

    Raises NotFound; Conflicting for one that is revoked, and for a grant that was made with another amount;
    RefusedInput for bad input.
    """
    row = _living(system, key_or_prefix)
    _open(system, row)
    left = balances.grant(system, LICENSE + row["prefix"], amount, grant_id, reason)
    audit.note(
        system.ledger,
        id=f"license.top_up:{row['prefix']}:{digest(grant_id)[:40]}",
        actor=actor,
        action="license.top_up",
        target=f"license:{row['prefix']}",
        reason=reason,
        after={"grant": grant_id, "amount": amount, "left": left},
        now=datetime.now(UTC),
    )
    return shown(system, [row])[0]


def transfer(system: System, key_or_prefix: str, owner: str, *, id: str, actor: str, reason: str = "") -> License:
    """Gives a license to another account. Its key stays the same: whoever was shown it can still call with it.

    `id`: the act's own, for the audit log. Raises NotFound, RefusedInput for a bad owner, Conflicting for one that is
    revoked.
    """
    check_owner(owner)
    row = _living(system, key_or_prefix)
    after = _record(system, row, {"owner": owner}, "transfer", id, actor, reason)

    def tell(row: rows.Row) -> None:
        published.change(system.redis, row["digest"], {"owner": row["owner"]})

    return shown(system, [_agreed(system, after, tell)])[0]


def suspend(system: System, key_or_prefix: str, *, id: str, actor: str, reason: str = "") -> License:
    """Refuses every use until `resume`. Raises NotFound, Conflicting for one that is revoked."""
    row = _living(system, key_or_prefix)
    audit.check_reason(reason)
    if not _is_done(system, row, "suspend", id):
        _set_status(system, row, "suspended")
        row = _record(system, row, {"status": "suspended"}, "suspend", id, actor, reason)
    return shown(system, [_agreed(system, row, lambda row: _set_status(system, row, row["status"]))])[0]


def resume(system: System, key_or_prefix: str, *, id: str, actor: str, reason: str = "") -> License:
    """Ends a suspension. Raises NotFound, Conflicting for one that is revoked."""
    row = _living(system, key_or_prefix)
    after = _record(system, row, {"status": "active"}, "resume", id, actor, reason)
    return shown(system, [_agreed(system, after, lambda row: _set_status(system, row, row["status"]))])[0]


def revoke(system: System, key_or_prefix: str, *, id: str, actor: str, reason: str = "") -> License:
    """Ends a license for good; what it had left stays where it is. A repeat changes nothing. Raises NotFound."""
    row = row_of(system, key_or_prefix)
    audit.check_reason(reason)
    published.revoke(system.redis, row["digest"])
    _set_status(system, row, "revoked")
    return shown(system, [_record(system, row, {"status": "revoked"}, "revoke", id, actor, reason)])[0]


def set_expiry(
    system: System, key_or_prefix: str, expires_at: datetime | None, *, id: str, actor: str, reason: str = ""
) -> License:
    """Says anew until when a license can be used; None: for good. One that has expired can be used again.

    Raises NotFound, RefusedInput for an instant in the past, Conflicting for one that is revoked.
    """
    check_expiry(expires_at, datetime.now(UTC))
    row = _living(system, key_or_prefix)
    audit.check_reason(reason)
    if not _is_done(system, row, "expiry", id):
        if expires_at is not None and (row["expires_at"] is None or expires_at < row["expires_at"]):
            published.change(system.redis, row["digest"], {"expires": milliseconds(expires_at)})
        row = _record(system, row, {"expires_at": expires_at}, "expiry", id, actor, reason)

    def tell(row: rows.Row) -> None:
        published.publish(system.redis, [publication(row)])
        published.change(system.redis, row["digest"], {"expires": milliseconds(row["expires_at"])})

    return shown(system, [_agreed(system, row, tell)])[0]


def publish_all(system: System) -> int:
    """Puts every valid license key of the ledger into Redis where it is missing. Returns how many there are."""
    is_valid = license_keys.c.status.in_(("active", "suspended")) & (
        license_keys.c.expires_at.is_(None) | (license_keys.c.expires_at > datetime.now(UTC))
    )
    with system.ledger.connect() as connection:
        found = [dict(row) for row in connection.execute(select(license_keys).where(is_valid)).mappings()]
    published.publish(system.redis, map(publication, found))
    return len(found)


# ── what they share ──────────────────────────────────────────────────────────────────────────────────────────────────


def row_of(system: System, key_or_prefix: str) -> rows.Row:
    """The record of a license. Raises NotFound."""
    prefix = key_or_prefix[:PREFIX_LENGTH]
    is_possible = key_or_prefix.isascii() and key_or_prefix.isprintable() and prefix.startswith(WORD)
    row = rows.by_prefix(system.ledger, prefix) if is_possible else None
    if row is not None and len(key_or_prefix) > PREFIX_LENGTH:
        row = row if hmac.compare_digest(digest(key_or_prefix), row["digest"]) else None
    if row is None:
        raise NotFound(f"there is no license {prefix}" if is_possible else "there is no such license")
    return row


def status_of(row: Mapping[str, Any], account: Account | None, left: int, now: datetime) -> str:
    """One of STATUSES. What one of Redis and the ledger does not allow is not allowed."""
    kept = {row["status"], "active" if account is None else account.status}
    if "revoked" in kept:
        return "revoked"
    if kept != {"active"}:
        return "suspended"
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return "expired"
    if left == 0:
        return "inactive"
    return "trial" if row["trial"] else "active"


def shown(system: System, found: Sequence[Mapping[str, Any]]) -> list[License]:
    """Rows with what Redis knows of their accounts."""
    peeked = system.runner.run_many([calls.peek(account_key(system, row)) for row in found]) if found else []
    now = datetime.now(UTC)
    return [_license(system, row, account, now) for row, account in zip(found, peeked, strict=True)]


def account_key(system: System, row: Mapping[str, Any]) -> str:
    return system.keys.account(LICENSE + row["prefix"])


def publication(row: Mapping[str, Any]) -> published.PublishedKey:
    return published.PublishedKey(
        row["digest"],
        row["prefix"],
        LICENSE + row["prefix"],
        expires_ms=milliseconds(row["expires_at"]),
        owner=row["owner"],
        license="trial" if row["trial"] else "full",
    )


def milliseconds(at: datetime | None) -> int:
    """As Redis has the end of a key; 0: never."""
    return 0 if at is None else int(at.timestamp() * 1000)


def check_owner(owner: str) -> None:
    if not is_named(owner):
        raise RefusedInput(f"{owner!r} can own no license: name an account, 1-200 printable characters without space")


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and (
        expires_at.utcoffset() is None or not now.timestamp() < expires_at.timestamp() <= _LAST_S
    ):
        raise RefusedInput(
            f"a license cannot expire at {expires_at.isoformat()}: that is in the past, or too far ahead"
        )


def _license(system: System, row: Mapping[str, Any], account: Account | None, now: datetime) -> License:
    left = 0 if account is None else balance_of(account, system.tier(account.tier)).available
    return License(
        row["prefix"],
        row["owner"],
        row["name"],
        row["trial"],
        status_of(row, account, left, now),
        left,
        0 if account is None else account.held,
        0 if account is None else account.spent,
        row["created_at"],
        row["expires_at"],
    )


def _can_be(status: str) -> list[ColumnElement[bool]]:
    """What the ledger can say of licenses that may be shown with a status."""
    if status not in STATUSES:
        raise RefusedInput(f"{status!r} is no status of a license: {', '.join(STATUSES)}")
    if status in ("revoked", "suspended"):
        return [license_keys.c.status == status]
    has_ended = license_keys.c.expires_at <= datetime.now(UTC)
    if status == "expired":
        return [license_keys.c.status == "active", has_ended]
    conditions = [license_keys.c.status == "active", license_keys.c.expires_at.is_(None) | ~has_ended]
    if status in ("active", "trial"):
        conditions.append(license_keys.c.trial.is_(status == "trial"))
    return conditions


def _living(system: System, key_or_prefix: str) -> rows.Row:
    row = row_of(system, key_or_prefix)
    if row["status"] == "revoked":
        raise _revoked(row)
    return row


def _revoked(row: Mapping[str, Any]) -> Conflicting:
    return Conflicting(f"license {row['prefix']} is revoked, for good")


def _open(system: System, row: Mapping[str, Any]) -> None:
    """Opens the account of a license where Redis lacks it. It is never more allowed than the ledger says."""
    tier = system.tier(system.config.first_tier(LICENSE + row["prefix"]))
    opened = system.runner.run(calls.open_account(account_key(system, row), tier))
    if opened.how == "opened" and row["status"] != "active":
        _set_status(system, row, row["status"])


def _set_status(system: System, row: Mapping[str, Any], status: str) -> None:
    """An account that Redis does not know has nothing to be spent."""
    system.runner.run(acts.set_status(account_key(system, row), status))
    system.nudge(LICENSE + row["prefix"])


def _is_done(system: System, row: Mapping[str, Any], action: str, id: str) -> bool:
    """Whether this act is noted: a repeat of it must not undo what was done since. Raises Conflicting."""
    return done_before(system, id, f"license.{action}", f"license:{row['prefix']}") is not None


def _agreed(system: System, row: rows.Row, tell: Callable[[rows.Row], None]) -> rows.Row:
    """Tells Redis what the record says, until nobody has changed it meanwhile. Returns the record."""
    while True:
        tell(row)
        now = row_of(system, row["prefix"])
        if now == row:
            return row
        row = now


def _record(
    system: System, row: rows.Row, change: Mapping[str, Any], action: str, id: str, actor: str, reason: str
) -> rows.Row:
    """Changes the record and notes it, unless it stands so already or the act was noted before. Returns the row as it
    is then. Raises Conflicting."""
    is_it = license_keys.c.prefix == row["prefix"]
    with system.ledger.begin() as connection:
        found = dict(connection.execute(select(license_keys).where(is_it).with_for_update()).mappings().one())
        before = {name: found[name] for name in change}
        if before == change:
            return found
        if found["status"] == "revoked":
            raise _revoked(found)
        is_new = audit.note(
            connection,
            id=id,
            actor=actor,
            action=f"license.{action}",
            target=f"license:{row['prefix']}",
            reason=reason,
            before=before,
            after=change,
            now=datetime.now(UTC),
        )
        if is_new:
            # SQLite takes no lock for a SELECT: one that was revoked since stays so.
            living = update(license_keys).where(is_it, license_keys.c.status != "revoked")
            if connection.execute(living.values(change)).rowcount != 1:
                raise _revoked(found)
    if not is_new:
        _is_done(system, row, action, id)
        return found
    return found | dict(change)
