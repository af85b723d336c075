"""Deletes what is known of a person, and keeps what was counted: an account's id is replaced by an anonymous one.

The rows that may never change let this one change through (migration 0007). All sums stay what the entries say.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, Connection, Engine, Table, delete, func, literal, select, update
from sqlalchemy.sql.elements import ColumnElement

from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.order import CREATED, PAID, PENDING, REVIEW
from gateway.ledger import bulk, record
from gateway.ledger.sales import (
    claims,
    credit_totals,
    credits_due,
    orders,
    redemptions,
    referral_codes,
    referrals,
    subscriptions,
)
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
#: Orders in these states are not done: somebody pays, or is owed something.
_UNFINISHED = (CREATED, PENDING, PAID, REVIEW)


def erase(engine: Engine, account: str, anonymous_id: str, now: datetime | None = None) -> int:
    """Replaces an account's id by "erased:…" in all that names it. Returns how many rows that were; 0: nobody knew it.

    Emptied: its e-mail address, names of its keys, and what callers said of its calls (session, purpose, details), what
    operators' acts on it changed, how its orders were to be paid. Its API keys are revoked; its referral code is free
    again; notices and reports about it are deleted, and units that were on their way to it. Reasons of entries stay, as
    they were an operator's own words. One transaction; repeatable with the same ids, also after late events of the
    account were recorded: their sums are added to those of before.

    Drain its events and delete its keys in Redis first: an event that comes again would bring the old id back. Raises
    RefusedInput; Conflicting for what `check_finished` refuses; what SQLAlchemy raises. Nothing is then changed.
    """
    if not anonymous_id.startswith(ERASED) or anonymous_id == ERASED:
        raise RefusedInput(f'anonymous id "{anonymous_id}": must begin with "{ERASED}" and go on')
    if account.startswith(ERASED):
        raise RefusedInput(f'account "{account}": was erased before')
    with engine.begin() as connection:
        bulk.begin(connection)
        check_finished(connection, account)
        return _Erasure(connection, account, anonymous_id, now or datetime.now(UTC)).run()


def check_finished(connection: Connection, account: str) -> None:
    """Raises Conflicting while an order of the account may be paid, is to be credited or to be reviewed, and while it
    has a subscription: whoever pays must be known."""
    is_open = (orders.c.account == account) & orders.c.state.in_(_UNFINISHED)
    order = connection.execute(select(orders.c.id, orders.c.state).where(is_open).limit(1)).one_or_none()
    if order is not None:
        raise Conflicting(f"account {account} has an order that is {order.state}, {order.id}: it must end first")
    is_living = (subscriptions.c.account == account) & (subscriptions.c.state != "ended")
    living = connection.execute(select(subscriptions.c.id).where(is_living)).scalar_one_or_none()
    if living is not None:
        raise Conflicting(f"account {account} has a subscription, {living}: it must be cancelled now first")


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
        rows += self._rename_sold()
        rows += self._merge(usage_daily, record.ADD_DAILY)
        rows += self._merge(account_buckets, record.ADD_BUCKET)
        rows += self._merge(credit_totals, record.ADD_CREDITS)
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

    def _rename_sold(self) -> int:
        """What it bought and was given: money is accounted for, whoever paid it. Nobody is rewarded any more for having
        brought it, nor it for others."""
        is_its = (referrals.c.account == self._account) | (referrals.c.referrer == self._account)
        is_waiting = referrals.c.rewarded_at.is_(None) & (referrals.c.refused == "")
        refused = update(referrals).where(is_its & is_waiting).values(refused="one of the two accounts was deleted")
        self._connection.execute(refused)
        rows = self._rename(orders, instruction="") + self._rename(referrals, "referrer")
        return rows + sum(self._rename(table) for table in (subscriptions, redemptions, referrals, claims, credits_due))

    def _forget(self) -> int:
        """What was to be told, what was not applied yet, and what others were to use."""
        told = select(notices.c.id).where(notices.c.account == self._account)
        statements = [
            delete(deliveries).where(deliveries.c.notice.in_(told)),
            delete(notices).where(notices.c.account == self._account),
            delete(reports_to_apply).where(reports_to_apply.c.account == self._account),
            delete(credits_due).where(credits_due.c.account == self._account, credits_due.c.granted_at.is_(None)),
            delete(referral_codes).where(referral_codes.c.account == self._account),
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
