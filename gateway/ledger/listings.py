"""Lists for operators: accounts by what is known of them, and what was done to whom."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Engine, and_, or_, select, text
from sqlalchemy.sql.elements import ColumnElement

from gateway.domain.errors import RefusedInput
from gateway.ledger.paging import Page, page
from gateway.ledger.tables import accounts as accounts_table
from gateway.ledger.tables import audit_log

_account, _act = accounts_table.c, audit_log.c

#: What accounts can be sorted by. Each has an index, with the id for those that are alike.
SORTS: dict[str, tuple[Column[Any], ...]] = {
    "id": (_account.id,),
    "used_tokens": (_account.used_tokens, _account.id),
    "last_seen": (_account.last_seen_at, _account.id),
}

#: So many accounts are found before they are sorted.
_FEW = 1000


def accounts(
    engine: Engine,
    *,
    search: str | None = None,
    tier: str | None = None,
    status: str | None = None,
    zone: str | None = None,
    sort: str = "id",
    descending: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """Accounts, as their table has them. `search`: how their id or e-mail address begins. Raises RefusedInput.

    What a page is sorted by may move while it is read: an account that is used between two pages may be in both or in
    neither, when they are sorted by it.
    """
    if sort not in SORTS:
        raise RefusedInput(f'sort = "{sort}": must be one of {", ".join(SORTS)}')
    rows = select(accounts_table)
    if search:
        rows = rows.where(_found(engine, search))
    if tier is not None:
        rows = rows.where(_account.tier == tier)
    if status is not None:
        rows = rows.where(_account.status == status)
        if status != "active":
            rows = rows.where(text("status <> 'active'"))  # As the index of them says it.
    if zone is not None:
        rows = rows.where(_account.zone == zone)
        if zone:
            rows = rows.where(text("zone <> ''"))
    return page(engine, rows, SORTS[sort], cursor=cursor, limit=limit, descending=descending)


def _found(engine: Engine, search: str) -> ColumnElement[bool]:
    """Which accounts a search finds. Few are looked up first and then sorted; of many, some stand near wherever the
    list begins. A database that has to guess which it is walks over all of them at times."""
    is_postgresql = engine.dialect.name == "postgresql"
    by_id, by_email = (_begins(column, search, is_postgresql) for column in (_account.id, _account.email))
    ids = select(_account.id)
    with engine.connect() as connection:
        found = set(connection.execute(ids.where(by_id).limit(_FEW + 1)).scalars())
        if len(found) <= _FEW:
            found.update(connection.execute(ids.where(by_email).limit(_FEW + 1)).scalars())
    return _account.id.in_(found) if len(found) <= _FEW else or_(by_id, by_email)


def _begins(column: Column[str], prefix: str, is_postgresql: bool) -> ColumnElement[bool]:
    """Compares byte by byte, which on PostgreSQL has operators of its own: an order of words in some language would put
    others in between."""

    def compared(operator: str, plain: ColumnElement[bool], value: str) -> ColumnElement[bool]:
        return column.op(operator, is_comparison=True)(value) if is_postgresql else plain

    begins = compared("~>=~", column >= prefix, prefix)
    after = _after(prefix)
    return begins if after is None else and_(begins, compared("~<~", column < after, after))


def _after(prefix: str) -> str | None:
    """The first text after all that begin so. None: there is none."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if last <= 0x10FFFF:
            # No text holds a surrogate.
            return prefix[:-1] + chr(0xE000 if 0xD800 <= last <= 0xDFFF else last)
        prefix = prefix[:-1]
    return None


def audit(
    engine: Engine,
    *,
    target: str | None = None,
    actor: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page:
    """What operators did, newest first. `target`: such as "account:alice". Raises RefusedInput."""
    rows = select(audit_log)
    if target is not None:
        rows = rows.where(_act.target == target)
    if actor is not None:
        rows = rows.where(_act.actor == actor)
    return page(engine, rows, (_act.occurred_at, _act.id), cursor=cursor, limit=limit)
