"""How a license is made: its record, its account and what is put on it, its key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from gateway.accounts import audit, balances, licenses
from gateway.accounts.keys import digest, new_key, new_secret
from gateway.accounts.licenses import License
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.principal import LICENSE
from gateway.domain.tier import MAX_UNITS, Tier
from gateway.ledger.licenses import OPENING, Row
from gateway.ledger.tables import audit_log, license_keys
from gateway.store import api_keys as published
from gateway.store import calls

#: As long as the column takes.
MAX_NAME_LENGTH = 100
#: The grant of what a license was made with.
FIRST_GRANT = "initial"


class NewLicense(NamedTuple):
    license: License
    #: Shown once.
    key: str


def create(
    system: System,
    owner: str,
    *,
    amount: int,
    id: str,
    actor: str,
    name: str = "",
    trial: bool = False,
    expires_at: datetime | None = None,
    reason: str = "",
) -> NewLicense:
    """A license of `amount` units for an account.

    `id`: the act's own. A repeat finishes what was cut short, with another secret, as nobody has seen the first one;
    once the key was shown, it is a conflict, for the key is kept nowhere. Raises RefusedInput, Conflicting.
    """
    now = datetime.now(UTC)
    tier = _check(system, owner, amount, name, reason)
    licenses.check_expiry(expires_at, now)
    prefix, key = new_key(licenses.WORD)
    row: Row = {
        "prefix": prefix, "digest": digest(key), "owner": owner, "name": name, "trial": trial, "status": OPENING,
        "created_at": now, "expires_at": None if expires_at is None else expires_at.astimezone(UTC),
    }  # fmt: skip
    before = None
    with system.ledger.begin() as connection:
        is_new = audit.note(
            connection, id=id, actor=actor, action="license.create", target=f"license:{prefix}", reason=reason,
            after={"owner": owner, "amount": amount, "name": name, "trial": trial, "expires_at": expires_at}, now=now,
        )  # fmt: skip
        if is_new:
            connection.execute(insert(license_keys).values(row))
        else:
            before = _cut_short(connection, id, row)
            key = new_secret(before["prefix"])
            row = before | {"digest": digest(key)}
            is_it = license_keys.c.prefix == row["prefix"]
            connection.execute(update(license_keys).where(is_it).values(digest=row["digest"]))
    if before is not None:
        published.revoke(system.redis, before["digest"])
    account = LICENSE + row["prefix"]
    system.runner.run(calls.open_account(system.keys.account(account), tier))
    if amount:
        balances.grant(system, account, amount, FIRST_GRANT, reason or "the license was made with it")
    published.publish(system.redis, [licenses.publication(row)])
    _finish(system, row)
    system.nudge(account)
    return NewLicense(licenses.find(system, row["prefix"]), key)


def _check(system: System, owner: str, amount: int, name: str, reason: str) -> Tier:
    if not system.config.license_tier:
        raise Conflicting(f"licenses are off: {system.config.source} names no tier for them, [licenses] tier")
    licenses.check_owner(owner)
    if not 0 <= amount <= MAX_UNITS:
        raise RefusedInput(f"the amount is {amount}, and must be from 0 to {MAX_UNITS}")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise RefusedInput(f"name {name!r}: it is at most {MAX_NAME_LENGTH} printable characters")
    audit.check_reason(reason)
    return system.config.tiers[system.config.license_tier]


def _cut_short(connection: Connection, id: str, asked: Row) -> Row:
    """What an earlier run of the same act has recorded, before it was cut short. Raises Conflicting."""
    noted = connection.execute(select(audit_log.c.action, audit_log.c.target).where(audit_log.c.id == id)).one()
    if noted.action != "license.create":
        raise Conflicting(f"the id {id} belongs to another act")
    prefix = noted.target.removeprefix("license:")
    is_it = license_keys.c.prefix == prefix
    row = dict(connection.execute(select(license_keys).where(is_it).with_for_update()).mappings().one())
    if any(row[name] != asked[name] for name in ("owner", "name", "trial", "expires_at")):
        raise Conflicting(f"license {prefix} was made by this request before, with other terms")
    if row["status"] != OPENING:
        raise Conflicting(f"license {prefix} was made by this request before; its key was shown then, and is not kept")
    return row


def _finish(system: System, row: Row) -> None:
    """Makes the license one that others are told of. Raises Conflicting when a repeat has overtaken this run."""
    is_it = (license_keys.c.prefix == row["prefix"]) & (license_keys.c.digest == row["digest"])
    with system.ledger.begin() as connection:
        done = connection.execute(update(license_keys).where(is_it).values(status="active"))
    if done.rowcount != 1:
        published.revoke(system.redis, row["digest"])
        raise Conflicting(f"license {row['prefix']} is being made by a repeat of this request")
