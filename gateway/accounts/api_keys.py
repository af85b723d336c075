"""API keys: made, listed, revoked.

A key is `qg_` and 8 characters, its public prefix, then 32 secret ones (190 random bits). Only its SHA-256 is stored: a
key that is lost is revoked and replaced.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update

from gateway.accounts.key_terms import NO_TERMS, KeyTerms, check
from gateway.accounts.keys import PREFIX_SECRET, digest, new_key
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.principal import Principal, is_account_id
from gateway.ledger.tables import api_keys
from gateway.store import api_keys as published
from gateway.store import calls

_WORD = "qg_"
#: Of a key's public beginning.
PREFIX_LENGTH = len(_WORD) + PREFIX_SECRET


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it can be shown: never the secret."""

    prefix: str
    account: str
    created_at: datetime
    revoked_at: datetime | None
    terms: KeyTerms
    #: To about a minute; None: not since Redis was last empty.
    last_used_at: datetime | None = None


def create(system: System, users: Sequence[str], tier: str | None = None, terms: KeyTerms = NO_TERMS) -> list[str]:
    """One new key for each account, in order. Unknown accounts are opened on `tier`, or on the default tier.

    Raises RefusedInput for a bad account id, an unknown tier, and terms that cannot be kept; Conflicting for an account
    that is on another tier than the one named; StoreUnready when Redis must be restored first.
    """
    now = datetime.now(UTC)
    check(terms, system, now)
    tier_name = tier or system.config.default_tier
    if tier_name not in system.config.tiers:
        raise RefusedInput(
            f"{tier_name!r} is no tier of {system.config.source}: {', '.join(sorted(system.config.tiers))}"
        )
    for number, user in enumerate(users, 1):
        if not is_account_id(user):
            raise RefusedInput(f"account {number}, {user!r}: an id is 1-200 printable characters without white space")
    opened = system.runner.run_many(
        [calls.open_account(system.keys.account(user), system.config.tiers[tier_name]) for user in users]
    )
    for user, account in zip(users, opened, strict=True):
        if tier is not None and account.tier != tier:
            raise Conflicting(
                f"account {user} is on tier {account.tier}, not {tier}; leave --tier out to keep it there"
            )

    made = [(user, *new_key(_WORD)) for user in users]
    rows = [
        {"prefix": prefix, "digest": digest(key), "account": user, "created_at": now} | _columns(terms)
        for user, prefix, key in made
    ]
    with system.ledger.begin() as connection:
        connection.execute(insert(api_keys), rows)
    published.publish(system.redis, [_published(row) for row in rows])
    return [key for _, _, key in made]


def listed(system: System, account: str | None = None) -> list[ApiKey]:
    """All keys, or those of one account, oldest first."""
    query = select(api_keys).order_by(api_keys.c.created_at, api_keys.c.prefix)
    if account is not None:
        query = query.where(api_keys.c.account == account)
    with system.ledger.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    used_ms = published.last_used_ms(system.redis, [row["digest"] for row in rows])
    return [_listed(*pair) for pair in zip(rows, used_ms, strict=True)]


def find(system: System, prefix: str) -> ApiKey:
    """The key of a prefix. Raises NotFound."""
    with system.ledger.connect() as connection:
        found = connection.execute(select(api_keys).where(api_keys.c.prefix == prefix)).mappings().one_or_none()
    if found is None or not prefix.isascii():
        raise NotFound(f"there is no key {prefix!a}")
    (used_ms,) = published.last_used_ms(system.redis, [found["digest"]])
    return _listed(dict(found), used_ms)


def recorded(system: System, key: str) -> Principal | None:
    """Whom a whole key lets in by the record alone, while Redis cannot be asked; None: nobody."""
    with system.ledger.connect() as connection:
        is_it = (api_keys.c.prefix == key[:PREFIX_LENGTH]) & api_keys.c.revoked_at.is_(None)
        found = connection.execute(select(api_keys).where(is_it)).mappings().one_or_none()
    if found is None or not hmac.compare_digest(found["digest"], digest(key)):
        return None
    fields = {name: str(value) for name, value in _published(dict(found)).fields().items()}
    return published.principal_of(fields | {"status": "active"}, int(datetime.now(UTC).timestamp() * 1000))


def revoke(system: System, key_or_prefix: str) -> ApiKey:
    """Ends a key, named by its prefix or in full. Gateways refuse it within five seconds.

    Raises NotFound when there is no such key, a right prefix with a wrong secret included. A revocation that failed
    half-way can be repeated.
    """
    prefix = key_or_prefix[:PREFIX_LENGTH]
    if not key_or_prefix.isascii():
        raise NotFound(f"there is no key {prefix!a}")
    with system.ledger.connect() as connection:
        found = connection.execute(select(api_keys).where(api_keys.c.prefix == prefix)).mappings().one_or_none()
    if found is None:
        raise NotFound(f"there is no key {prefix}")
    row = dict(found)
    if len(key_or_prefix) > PREFIX_LENGTH and digest(key_or_prefix) != row["digest"]:
        raise NotFound(f"key {prefix} has another secret; name it by its prefix alone to revoke it")
    # Redis first: a key that the record calls revoked must be refused already.
    published.revoke(system.redis, row["digest"])
    revoked_at = row["revoked_at"] or datetime.now(UTC)
    with system.ledger.begin() as connection:
        is_this_one = (api_keys.c.prefix == prefix) & api_keys.c.revoked_at.is_(None)
        connection.execute(update(api_keys).where(is_this_one).values(revoked_at=revoked_at))
    return ApiKey(prefix, row["account"], row["created_at"], revoked_at, _terms(row))


def publish_all(system: System) -> int:
    """Puts every valid key of the ledger into Redis where it is missing. Returns how many there are."""
    is_valid = api_keys.c.revoked_at.is_(None) & (
        api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > datetime.now(UTC))
    )
    with system.ledger.connect() as connection:
        rows = [dict(row) for row in connection.execute(select(api_keys).where(is_valid)).mappings()]
    published.publish(system.redis, map(_published, rows))
    return len(rows)


def _columns(terms: KeyTerms) -> dict[str, Any]:
    return {
        "name": terms.name,
        "team": terms.team,
        "organisation": terms.organisation,
        "scopes": " ".join(terms.scopes),
        "limits": published.LIMIT_SEPARATOR.join(terms.limits),
        "expires_at": terms.expires_at,
    }


def _terms(row: Mapping[str, Any]) -> KeyTerms:
    return KeyTerms(
        row["name"],
        row["team"],
        row["organisation"],
        tuple(row["scopes"].split()),
        tuple(row["limits"].split(published.LIMIT_SEPARATOR)) if row["limits"] else (),
        row["expires_at"],
    )


def _published(row: Mapping[str, Any]) -> published.PublishedKey:
    terms = _terms(row)
    return published.PublishedKey(
        row["digest"],
        row["prefix"],
        row["account"],
        terms.team,
        terms.organisation,
        terms.scopes,
        terms.limits,
        0 if terms.expires_at is None else int(terms.expires_at.timestamp() * 1000),
    )


def _listed(row: Mapping[str, Any], used_ms: int | None) -> ApiKey:
    last_used_at = None if used_ms is None else datetime.fromtimestamp(used_ms / 1000, UTC)
    return ApiKey(row["prefix"], row["account"], row["created_at"], row["revoked_at"], _terms(row), last_used_at)
