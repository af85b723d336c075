"""Deletes what is known of a person, and keeps what was counted: an account's id is replaced by an anonymous one.

The rows that may never change let this one change through (migration 0007). All sums stay what the entries say.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, Connection, Engine, Table, delete, func, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from gateway.domain.errors import RefusedInput
from gateway.ledger import bulk, record
from gateway.ledger.tables import (
    account_buckets,
    accounts,
    api_keys,
    audit_log,
    deliveries,
    grants,
    ledger_entries,
    license_keys,
    notices,
    reports_to_apply,
    usage_daily,
    usage_events,
)

#: What every anonymous id begins with; the database lets no other pass.
ERASED = "erased:"


def erase(engine: Engine, account: str, anonymous_id: str, now: datetime | None = None) -> int:
    """Replaces an account's id by "erased:…" in all that names it. Returns how many rows that were; 0: nobody knew it.

    Emptied: its e-mail address, names of its keys, and what callers said of its calls (session, purpose, details), what
    operators' acts on it changed. Its API keys are revoked; notices and reports about it are deleted. Reasons of
    entries stay, as they were an operator's own words. One transaction; repeatable with the same ids, also after late
    events of the account were recorded: their sums are added to those of before.

    Drain its events and delete its keys in Redis first: an event that comes again would bring the old id back. Raises
    RefusedInput, and what SQLAlchemy raises; nothing is then changed.
    """
    if not anonymous_id.startswith(ERASED) or anonymous_id == ERASED:
        raise RefusedInput(f'anonymous id "{anonymous_id}": must begin with "{ERASED}" and go on')
    if account.startswith(ERASED):
        raise RefusedInput(f'account "{account}": was erased before')
    with engine.begin() as connection:
        bulk.begin(connection)
        return _Erasure(connection, account, anonymous_id, now or datetime.now(UTC)).run()


class _Erasure:
    def __init__(self, connection: Connection, account: str, anonymous_id: str, now: datetime) -> None:
        self._connection = connection
        self._account = account
        self._anonymous_id = anonymous_id
        self._now = now

    def run(self) -> int:
        rows = self._rename(usage_events, session="", purpose="", details="")
        rows += self._rename(ledger_entries, id=self._renamed(ledger_entries.c.id))
        rows += self._rename_target()
        revoked_at = func.coalesce(api_keys.c.revoked_at, self._now, type_=api_keys.c.revoked_at.type)
        rows += self._rename(api_keys, name="", revoked_at=revoked_at)
        rows += self._rename(license_keys, "owner")
        rows += self._forget()
        rows += self._merge(usage_daily, record.ADD_DAILY)
        rows += self._merge(account_buckets, record.ADD_BUCKET)
        rows += self._merge(grants, record.KEEP_GRANT)
        rows += self._merge(accounts, record.ADD_ACCOUNT, email="", erased_at=self._now)
        return rows

    def _rename(self, table: Table, named: str = "account", **changes: object) -> int:
        values = {named: self._anonymous_id, **changes}
        return self._connection.execute(update(table).where(table.c[named] == self._account).values(values)).rowcount

    def _renamed(self, id: Column[str]) -> ColumnElement[str]:
        """An id that names the account, as "grant:ada:g1/1" does."""
        return func.replace(id, f":{self._account}", f":{self._anonymous_id}")

    def _rename_target(self) -> int:
        """Acts on the account: who did what stays, and not what it was about."""
        values = {
            "id": self._renamed(audit_log.c.id), "target": f"account:{self._anonymous_id}", "before": "", "after": "",
        }  # fmt: skip
        is_it = audit_log.c.target == f"account:{self._account}"
        return self._connection.execute(update(audit_log).where(is_it).values(values)).rowcount

    def _forget(self) -> int:
        """What was to be told, and what was not applied yet."""
        told = select(notices.c.id).where(notices.c.account == self._account)
        statements = [
            delete(deliveries).where(deliveries.c.notice.in_(told)),
            delete(notices).where(notices.c.account == self._account),
            delete(reports_to_apply).where(reports_to_apply.c.account == self._account),
        ]
        return sum(self._connection.execute(statement).rowcount for statement in statements)

    def _merge(self, table: Table, changes: bulk.Changes, **values: object) -> int:
        """Moves rows to the anonymous id, into those that are there."""
        named = table.primary_key.columns[0]
        set_to = {named.name: self._anonymous_id, **values}
        columns = [
            literal(set_to[column.name], column.type).label(column.name) if column.name in set_to else column
            for column in table.columns
        ]
        bulk.add_up_selected(self._connection, table, select(*columns).where(named == self._account), changes)
        return self._connection.execute(delete(table).where(named == self._account)).rowcount
