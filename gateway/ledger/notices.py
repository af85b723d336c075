"""Notices and their deliveries in SQL: each notice once, each delivery sent by one worker at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, select, tuple_, update

from gateway.domain.notice import Notice
from gateway.domain.principal import LICENSE, is_license
from gateway.ledger import bulk
from gateway.ledger.tables import accounts, deliveries, license_keys, notices

#: How long after each try that failed the next one comes; after the last of them no more do.
BACKOFF_S = (5, 30, 120, 600, 3600, 6 * 3600, 12 * 3600, 24 * 3600)
#: Nobody else takes up a delivery that a worker is at, for so long: longer than any try lasts.
LEASE_S = 120


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on its way by one channel, as the worker that has claimed it sends it."""

    id: str
    channel: str
    #: This one included.
    tries: int
    notice: str
    kind: str
    account: str
    created_at: datetime
    facts: Mapping[str, Any]
    #: Of the account, as it is now; "" for none.
    email: str


def insert(engine: Engine, found: Sequence[Notice], channels: Collection[str], now: datetime) -> int:
    """Writes the notices that are not there yet, and a delivery of each by each channel: by e-mail only to accounts
    that have an address. Notices of licenses go to their owners. Returns how many were new."""
    by_id = {notice.id: notice for notice in found}
    if not by_id:
        return 0
    with engine.begin() as connection:
        bulk.begin(connection)
        owners = _owners(connection, [notice.account for notice in by_id.values()])
        rows = [
            (n.id, n.kind, owners.get(n.account, n.account), now, json.dumps(dict(n.facts), sort_keys=True))
            for _, n in sorted(by_id.items())
            if n.kind != "license_inactive" or n.account in owners
        ]
        new = bulk.insert_new(connection, notices, rows)
        addressed = _addressed(connection, {row[2] for row in rows if row[0] in new})
        bulk.insert_new(connection, deliveries, [
            (f"{id} {channel}", id, channel, "waiting", 0, _due(by_id[id], now), None, "")
            for id, _, account, *_ in rows
            for channel in sorted(channels)
            if id in new and (channel != "email" or account in addressed)
        ])  # fmt: skip
    return len(new)


def claim(engine: Engine, now: datetime, limit: int) -> list[Delivery]:
    """Takes up to `limit` deliveries that are due. Each is this caller's alone until its lease ends: one whose worker
    dies is due again then."""
    is_due = (deliveries.c.status == "waiting") & (deliveries.c.next_try_at <= now)
    due = select(deliveries.c.id, deliveries.c.tries).where(is_due).order_by(deliveries.c.next_try_at).limit(limit)
    with engine.connect() as connection:
        candidates = [(row.id, row.tries) for row in connection.execute(due)]
    mine = []
    for id, tries in candidates:
        # Whoever changes the number of tries first has it: with PostgreSQL and SQLite alike the other changes no row.
        taken = update(deliveries).where(is_due & (deliveries.c.id == id) & (deliveries.c.tries == tries))
        with engine.begin() as connection:
            values = {"tries": tries + 1, "next_try_at": now + timedelta(seconds=LEASE_S)}
            if connection.execute(taken.values(**values)).rowcount == 1:
                mine.append(id)
    return _read(engine, mine)


def sent(engine: Engine, delivery: Delivery, now: datetime) -> None:
    """It has arrived."""
    _end(engine, delivery, {"status": "sent", "sent_at": now, "last_error": ""})


def failed(engine: Engine, delivery: Delivery, why: str, now: datetime, *, for_good: bool = False) -> bool:
    """It has not: the next try comes later, unless this was the last, or no other would help. Returns whether it is
    given up. `why` holds no secret."""
    given_up = for_good or delivery.tries > len(BACKOFF_S)
    values: dict[str, Any] = {"status": "failed" if given_up else "waiting", "last_error": why[:500]}
    if not given_up:
        values["next_try_at"] = now + timedelta(seconds=BACKOFF_S[delivery.tries - 1])
    _end(engine, delivery, values)
    return given_up


def listed(
    engine: Engine,
    *,
    account: str | None = None,
    failed_only: bool = False,
    limit: int = 100,
    before: tuple[datetime, str] | None = None,
) -> list[dict[str, Any]]:
    """Notices, the newest first, each with its `deliveries`. `before`: instant and id of the last one of the page
    before. `failed_only`: those with a delivery whose last try failed, whether it was given up or not."""
    query = select(notices).order_by(notices.c.created_at.desc(), notices.c.id.desc()).limit(limit)
    if account is not None:
        query = query.where(notices.c.account == account)
    if before is not None:
        query = query.where(tuple_(notices.c.created_at, notices.c.id) < tuple_(*before))
    if failed_only:
        is_bad: ColumnElement[bool] = and_(deliveries.c.status != "sent", deliveries.c.last_error != "")
        query = query.where(notices.c.id.in_(select(deliveries.c.notice).where(is_bad)))
    with engine.connect() as connection:
        found = [dict(row) | {"deliveries": []} for row in connection.execute(query).mappings()]
        by_id = {notice["id"]: notice for notice in found}
        of_them = select(deliveries).where(deliveries.c.id.in_([
            f"{id} {channel}" for id in by_id for channel in ("email", "webhook")
        ]))  # fmt: skip
        for row in connection.execute(of_them.order_by(deliveries.c.id)).mappings():
            by_id[row["notice"]]["deliveries"].append({
                name: row[name] for name in ("channel", "status", "tries", "next_try_at", "sent_at", "last_error")
            })  # fmt: skip
    for notice in found:
        notice["body"] = json.loads(notice["body"])
    return found


def _owners(connection: Any, ids: Sequence[str]) -> dict[str, str]:
    """Whose the licenses among these accounts are."""
    prefixes = {id.removeprefix(LICENSE) for id in ids if is_license(id)}
    if not prefixes:
        return {}
    query = select(license_keys.c.prefix, license_keys.c.owner).where(license_keys.c.prefix.in_(prefixes))
    return {LICENSE + row.prefix: row.owner for row in connection.execute(query)}


def _addressed(connection: Any, ids: Collection[str]) -> set[str]:
    has_one = accounts.c.id.in_(ids) & (accounts.c.email != "")
    return set(connection.execute(select(accounts.c.id).where(has_one)).scalars()) if ids else set()


def _due(notice: Notice, now: datetime) -> datetime:
    return now if notice.due_ms is None else datetime.fromtimestamp(notice.due_ms / 1000, UTC)


def _read(engine: Engine, ids: Sequence[str]) -> list[Delivery]:
    if not ids:
        return []
    columns = (
        deliveries.c.id, deliveries.c.channel, deliveries.c.tries, notices.c.id.label("notice"), notices.c.kind,
        notices.c.account, notices.c.created_at, notices.c.body, accounts.c.email,
    )  # fmt: skip
    joined = deliveries.join(notices, notices.c.id == deliveries.c.notice)
    joined = joined.outerjoin(accounts, accounts.c.id == notices.c.account)
    query = select(*columns).select_from(joined).where(deliveries.c.id.in_(ids)).order_by(deliveries.c.id)
    with engine.connect() as connection:
        return [
            Delivery(
                row["id"], row["channel"], row["tries"], row["notice"], row["kind"], row["account"], row["created_at"],
                json.loads(row["body"]), row["email"] or "",
            )
            for row in connection.execute(query).mappings()
        ]  # fmt: skip


def _end(engine: Engine, delivery: Delivery, values: Mapping[str, Any]) -> None:
    """Only while it is still this worker's: one that took longer than its lease may have lost it."""
    is_mine = (deliveries.c.id == delivery.id) & (deliveries.c.tries == delivery.tries)
    with engine.begin() as connection:
        connection.execute(update(deliveries).where(is_mine, deliveries.c.status == "waiting").values(**values))
