"""Tokens that were used elsewhere, reported by whoever used them: counted once, and charged for nothing.

A report that Redis cannot take now is kept in SQL, and counted by the worker when Redis is back.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from gateway.accounts.system import System
from gateway.domain.acts import Reported, ReportOverflow
from gateway.domain.errors import Conflicting, RefusedInput
from gateway.domain.operation import REPORT
from gateway.domain.principal import Principal
from gateway.domain.reservation import Conflict
from gateway.domain.schedule import schedule
from gateway.ledger.tables import reports_to_apply
from gateway.store import acts, calls

log = logging.getLogger("quotagate.accounts")

#: Reports that are counted at a time.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Report:
    """What was used."""

    #: All tokens, those whose kind is known included.
    total_tokens: int
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    session: str = ""
    #: The tier that the credential names, "" for none: of an account that nobody called from yet.
    tier: str = ""
    #: The public prefix of the key it came with.
    key: str = ""


def report(system: System, account_id: str, id: str, told: Report) -> int:
    """Counts a report once, however often it is called with this id. Returns all tokens the account has used.

    Raises RefusedInput for a total that is less than its parts; Conflicting when the id was used for something else,
    or the total could not be counted exactly any more; StoreUnavailable.
    """
    key = system.keys.account(account_id)
    known = system.runner.run(calls.peek(key))
    tier = system.tier(known.tier if known else told.tier)
    zone, now_ms = (known.zone, known.now_ms) if known else ("", time.time_ns() // 1_000_000)
    outcome = system.runner.run(
        acts.report(
            key,
            id,
            told.total_tokens,
            tier,
            schedule(tier, now_ms, zone, known.anchor if known else "").day,
            input_tokens=told.input_tokens,
            output_tokens=told.output_tokens,
            operation=REPORT,
            model=told.model,
            api_key=told.key,
            session=told.session,
            remember_ms=system.config.remember_ms,
        )
    )
    match outcome:
        case Reported():
            return outcome.used_tokens
        case ReportOverflow():
            raise Conflicting(
                f"account {account_id} has used {outcome.used_tokens} already; "
                f"{told.total_tokens} more cannot be counted"
            )
        case Conflict():
            raise Conflicting(f"the id {id} was used before for something else")


def keep(system: System, principal: Principal, id: str, told: Report) -> None:
    """Keeps a report for the worker, once. Raises Conflicting when another is kept under this id, and what SQLAlchemy
    raises."""
    row = {
        "id": id, "account": principal.account, "created_at": datetime.now(UTC), "body": json.dumps(asdict(told)),
    }  # fmt: skip
    with system.ledger.connect() as connection:
        found = connection.execute(select(reports_to_apply.c.body).where(reports_to_apply.c.id == id))
        kept = found.scalar_one_or_none()
    if kept is not None:
        told_before = Report(**json.loads(kept))
        if _what(told_before) != _what(told):
            raise Conflicting(f"the id {id} was used before for something else")
        return
    try:
        with system.ledger.begin() as connection:
            connection.execute(insert(reports_to_apply).values(row))
    except IntegrityError:
        log.info("report %s was kept twice at once", id)


def _what(told: Report) -> tuple[object, ...]:
    """What a repeat has in common with the first, as Redis would have it: a repeat may come with another key."""
    return told.total_tokens, told.input_tokens, told.output_tokens, told.model


def apply_kept(system: System) -> int:
    """Counts the reports that are kept, the oldest first, and forgets each. Returns how many.

    Raises StoreUnavailable: those that are left are counted the next time. One that was counted and not forgotten is
    counted by its id, once.
    """
    oldest = select(reports_to_apply).order_by(reports_to_apply.c.created_at, reports_to_apply.c.id).limit(BATCH)
    counted = 0
    while True:
        with system.ledger.connect() as connection:
            rows = connection.execute(oldest).all()
        for row in rows:
            try:
                report(system, row.account, row.id, Report(**json.loads(row.body)))
            except RefusedInput as error:  # It was answered long ago: whoever reported it cannot be asked any more.
                log.error("report %s cannot be counted: %s", row.id, error)
            with system.ledger.begin() as connection:
                connection.execute(delete(reports_to_apply).where(reports_to_apply.c.id == row.id))
            counted += 1
        if len(rows) < BATCH:
            return counted
