"""Batches of redemption codes: made, looked at, exported and voided by operators. Each act is noted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.accounts import export
from gateway.accounts.noting import By, once
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.domain.tier import MAX_UNITS
from gateway.ledger import bulk, paging
from gateway.ledger.sales import code_batches, codes, redemptions
from gateway.rewards import words

MAX_CODES = 100_000
MAX_USES = 1_000_000_000
MAX_DAYS = 3660
#: Codes that are in memory at a time while they are exported.
_PART = 5000
_EXPORTED = ("code", "batch", "name", "amount", "uses", "max_uses", "expires_at", "voided_at")


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """Codes that are to be made."""

    #: For people.
    name: str
    #: Units that each redemption gives.
    amount: int
    #: How many codes.
    count: int = 1
    #: The one code, in place of those that are made up.
    code: str = ""
    #: How often each code can be redeemed, and by one account.
    max_uses: int = 1
    per_account: int = 1
    #: What was redeemed lapses so many days later; 0: never.
    valid_days: int = 0
    #: Until when the codes are taken; None: for ever.
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Codes that were made together."""

    id: str
    name: str
    amount: int
    #: How many codes it has, and how often they were redeemed, all together.
    codes: int
    uses: int
    max_uses: int
    per_account: int
    valid_days: int
    expires_at: datetime | None
    created_at: datetime
    #: Who made it, as the audit log names them.
    actor: str
    voided_at: datetime | None


class BatchPage(NamedTuple):
    items: list[Batch]
    next_cursor: str | None


class CodePage(NamedTuple):
    """Codes and how often each was redeemed, in their own order."""

    items: list[tuple[str, int]]
    next_cursor: str | None


class FoundCode(NamedTuple):
    """A code, and who has redeemed it: rows of `redemptions`, newest first."""

    code: str
    uses: int
    batch: Batch
    redemptions: paging.Page


def create(system: System, by: By, terms: BatchTerms) -> Batch:
    """Makes a batch, once by the act's id. Raises RefusedInput; Conflicting for a code that there is already, and when
    another batch was asked for under this id."""
    _check(system, terms)
    id = "batch_" + hashlib.sha256(by.id.encode()).hexdigest()[:24]
    once(system, by, "codes.create", f"codes:{id}", dict, partial(_make, system, by, id, terms))
    made = find(system, id)
    asked = BatchTerms(
        made.name, made.amount, made.codes, terms.code, made.max_uses, made.per_account, made.valid_days,
        made.expires_at,
    )  # fmt: skip
    if asked != terms:
        raise Conflicting("this was asked for before as another batch")
    return made


def void(system: System, by: By, id: str) -> Batch:
    """Takes a batch's codes no more; what was redeemed stays. A repeat changes nothing.

    Raises NotFound, RefusedInput.
    """
    find(system, id)

    def act() -> None:
        with system.ledger.begin() as connection:
            living = update(code_batches).where(code_batches.c.id == id, code_batches.c.voided_at.is_(None))
            connection.execute(living.values(voided_at=system.now()))

    once(system, by, "codes.void", f"codes:{id}", lambda: {"voided_at": find(system, id).voided_at}, act)
    return find(system, id)


def find(system: System, id: str) -> Batch:
    """One batch. Raises NotFound."""
    with system.ledger.connect() as connection:
        row = connection.execute(select(code_batches).where(code_batches.c.id == id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no batch of codes {id!r}")
    return _with_sums(system, [dict(row)])[0]


def listed(system: System, cursor: str | None = None, limit: int = 50) -> BatchPage:
    """All batches, newest first. Raises RefusedInput for a bad cursor."""
    order = (code_batches.c.created_at, code_batches.c.id)
    found = paging.page(system.ledger, select(code_batches), order, cursor=cursor, limit=limit)
    return BatchPage(_with_sums(system, found.items), found.next_cursor)


def codes_of(system: System, id: str, cursor: str | None = None, limit: int = 50) -> CodePage:
    """A batch's codes. Raises NotFound, RefusedInput for a bad cursor."""
    find(system, id)
    rows = select(codes.c.code, codes.c.uses).where(codes.c.batch == id)
    found = paging.page(system.ledger, rows, (codes.c.code,), cursor=cursor, limit=limit, descending=False)
    return CodePage([(row["code"], row["uses"]) for row in found.items], found.next_cursor)


def look_up(system: System, text: str, cursor: str | None = None, limit: int = 50) -> FoundCode:
    """One code, however it is written. Raises NotFound, RefusedInput for a bad cursor."""
    readings = words.readings(text)
    with system.ledger.connect() as connection:
        found = connection.execute(select(codes).where(codes.c.code.in_(readings))).all()
    if not found:
        raise NotFound("there is no such code")
    row = min(found, key=lambda row: readings.index(row.code))
    order = (redemptions.c.at, redemptions.c.account, redemptions.c.number)
    rows = select(redemptions).where(redemptions.c.code == row.code)
    page = paging.page(system.ledger, rows, order, cursor=cursor, limit=limit)
    return FoundCode(row.code, row.uses, find(system, row.batch), page)


def as_csv(system: System, id: str) -> Iterator[bytes]:
    """A batch's codes as CSV, part by part. Raises NotFound, before anything is read."""
    batch = find(system, id)
    return export.as_csv(_EXPORTED, _parts(system, batch))


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _check(system: System, terms: BatchTerms) -> None:
    if not 1 <= len(terms.name) <= 100 or not terms.name.isprintable():
        raise RefusedInput("the name must be 1-100 printable characters")
    for what, number, least, most in (
        ("amount", terms.amount, 1, MAX_UNITS),
        ("count", terms.count, 1, MAX_CODES),
        ("max_uses", terms.max_uses, 1, MAX_USES),
        ("per_account", terms.per_account, 1, MAX_USES),
        ("valid_days", terms.valid_days, 0, MAX_DAYS),
    ):
        if not least <= number <= most:
            raise RefusedInput(f"{what} = {number}: must be from {least} to {most}")
    if terms.code:
        words.chosen(terms.code)
        if terms.count != 1:
            raise RefusedInput(f"count = {terms.count}: a code that is chosen is one code")
    if terms.expires_at is not None and (
        terms.expires_at.utcoffset() is None or not system.now() < terms.expires_at or terms.expires_at.year > 9000
    ):
        raise RefusedInput(f"expires_at = {terms.expires_at.isoformat()}: must be an instant to come, with its zone")


def _make(system: System, by: By, id: str, terms: BatchTerms) -> Mapping[str, Any]:
    chosen = words.chosen(terms.code) if terms.code else None
    try:
        with system.ledger.begin() as connection:
            bulk.begin(connection)
            is_new = bulk.insert_once(
                connection,
                code_batches,
                {
                    "id": id, "write_id": by.id, "name": terms.name, "amount": terms.amount,
                    "max_uses": terms.max_uses, "per_account": terms.per_account, "valid_days": terms.valid_days,
                    "expires_at": terms.expires_at, "created_at": system.now(), "actor": by.actor,
                },
            )  # fmt: skip
            if is_new:
                made = (chosen or words.new() for _ in range(terms.count))
                connection.execute(insert(codes), [{"code": code, "batch": id, "uses": 0} for code in made])
    except IntegrityError:
        raise Conflicting(f"there is a code {chosen or 'like this'} already") from None
    # The code itself is nobody's but its redeemers'.
    return {"name": terms.name, "amount": terms.amount, "codes": terms.count, "max_uses": terms.max_uses}


def _with_sums(system: System, rows: Sequence[Mapping[str, Any]]) -> list[Batch]:
    ids = [row["id"] for row in rows]
    sums = (
        select(codes.c.batch, func.count(), func.sum(codes.c.uses))
        .where(codes.c.batch.in_(ids))
        .group_by(codes.c.batch)
    )
    with system.ledger.connect() as connection:
        found = {batch: (count, int(uses)) for batch, count, uses in connection.execute(sums)}
    return [_batch(row, *found.get(row["id"], (0, 0))) for row in rows]


def _batch(row: Mapping[str, Any], count: int, uses: int) -> Batch:
    return Batch(
        row["id"], row["name"], row["amount"], count, uses, row["max_uses"], row["per_account"], row["valid_days"],
        row["expires_at"], row["created_at"], row["actor"], row["voided_at"],
    )  # fmt: skip


def _parts(system: System, batch: Batch) -> Iterator[list[tuple[Any, ...]]]:
    """Page by page: whoever reads slowly holds no connection."""
    after = ""
    while rows := _codes_after(system, batch.id, after):
        after = rows[-1].code
        yield [
            (
                words.grouped(row.code), batch.id, batch.name, batch.amount, row.uses, batch.max_uses,
                batch.expires_at, batch.voided_at,
            )
            for row in rows
        ]  # fmt: skip


def _codes_after(system: System, id: str, after: str) -> Sequence[Row[Any]]:
    query = select(codes).where(codes.c.batch == id, codes.c.code > after).order_by(codes.c.code).limit(_PART)
    with system.ledger.connect() as connection:
        return connection.execute(query).all()
