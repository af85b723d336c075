"""Lists for operators, and that each is served by an index, as are the pages of an account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert

from gateway.domain.errors import RefusedInput
from gateway.ledger import database, history, listings
from gateway.ledger.migrate import migrate
from gateway.ledger.tables import accounts, audit_log
from tests.bench.ledger_rows import HEAVY, fill
from tests.conftest import new_postgres_database
from tests.ledger.test_history import walk

START = datetime(2026, 11, 20, tzinfo=UTC)
PEOPLE = ["ada", "Ada", "ada2", "adam", "bea", "ädda", "ad", "a_a", "a%a", "\U0010ffff", "\U0010ffff1", "\ud7ffx"]


@pytest.fixture
def people(ledger: Engine) -> Engine:
    with ledger.begin() as connection:
        for number, name in enumerate(PEOPLE):
            connection.execute(
                insert(accounts).values(
                    id=name, tier="pro" if number % 3 == 0 else "free", zone="Asia/Tokyo" if number == 4 else "",
                    status="suspended" if number in (1, 4) else "active", used_tokens=number // 2 * 100,
                    first_seen_at=START, last_seen_at=START - timedelta(hours=number),
                    email=f"{name[::-1]}@example.com",
                )
            )  # fmt: skip
            connection.execute(
                insert(audit_log).values(
                    id=f"act{number:02}", occurred_at=START + timedelta(seconds=number // 2), action="x",
                    actor="cron" if number % 3 else "admin:bob", target=f"account:{name}",
                )
            )  # fmt: skip
    return ledger


def found(ledger: Engine, **wanted: Any) -> list[Any]:
    return walk(lambda cursor: listings.accounts(ledger, cursor=cursor, limit=2, **wanted))


@pytest.mark.parametrize("sort", ["id", "used_tokens", "last_seen"])
def test_both_ways_hold_every_account_once(people: Engine, sort: str) -> None:
    up = found(people, sort=sort)

    assert sorted(up) == sorted(PEOPLE)
    assert found(people, sort=sort, descending=True) == up[::-1]


def test_they_are_sorted_as_is_said(people: Engine) -> None:
    assert found(people, sort="last_seen") == PEOPLE[::-1]
    hundreds = [PEOPLE.index(name) // 2 for name in found(people, sort="used_tokens")]
    assert hundreds == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(
    "prefix", ["a", "ad", "ada", "A", "ä", "a_", "a%", "b", "zz", "%", "_", "\U0010ffff", "\ud7ff", "'", "\\"]
)
def test_a_search_finds_what_begins_so_and_nothing_else(people: Engine, prefix: str) -> None:
    expected = [name for name in PEOPLE if name.startswith(prefix) or f"{name[::-1]}@example.com".startswith(prefix)]

    assert sorted(found(people, search=prefix)) == sorted(expected)
    assert sorted(found(people, search=prefix, sort="used_tokens", descending=True)) == sorted(expected)


def test_an_e_mail_address_is_found(people: Engine) -> None:
    assert found(people, search="aeb@example.com") == ["bea"]


def test_filters_hold_together(people: Engine) -> None:
    assert sorted(found(people, status="suspended")) == ["Ada", "bea"]
    assert found(people, status="suspended", zone="Asia/Tokyo") == ["bea"]
    assert found(people, zone="Asia/Tokyo", tier="pro") == []
    assert len(found(people, zone="")) == len(PEOPLE) - 1
    assert len(found(people, status="active", tier="pro")) == 4
    assert found(people, search="ada", tier="pro") == ["ada", "adam"]


def test_accounts_are_sorted_by_nothing_else(people: Engine) -> None:
    with pytest.raises(RefusedInput, match='sort = "email": must be one of id, used_tokens, last_seen'):
        listings.accounts(people, sort="email")


def test_acts_come_newest_first(people: Engine) -> None:
    def acts(**wanted: Any) -> list[Any]:
        return walk(lambda cursor: listings.audit(people, cursor=cursor, limit=5, **wanted))

    assert acts() == [f"act{number:02}" for number in reversed(range(len(PEOPLE)))]
    assert acts(target="account:bea") == ["act04"]
    assert acts(actor="admin:bob") == ["act09", "act06", "act03", "act00"]
    assert acts(actor="admin:bob", target="account:bea") == []


# ── PostgreSQL's plans ───────────────────────────────────────────────────────────────────────────────────────────────

ROWS = 30_000


@pytest.fixture(scope="module")
def large(postgres_url: str) -> Iterator[Engine]:
    """Large enough that reading a whole table would be the dearer way."""
    engine = database.connect(new_postgres_database(postgres_url))
    try:
        migrate(engine)
        fill(engine, ROWS, lambda _: None)
        yield engine
    finally:
        engine.dispose()


MONTH = {"since": datetime.now(UTC) - timedelta(days=60), "until": datetime.now(UTC) - timedelta(days=30)}
ASKED: dict[str, Callable[[Engine], object]] = {
    "transactions": lambda e: history.transactions(e, "user-000100"),
    "transactions of a heavy account": lambda e: history.transactions(e, HEAVY),
    "top-ups of a heavy account": lambda e: history.transactions(e, HEAVY, kind="TOP_UP"),
    "a month's transactions": lambda e: history.transactions(e, HEAVY, **MONTH),  # type: ignore[arg-type]
    "calls": lambda e: history.calls(e, "user-000100"),
    "a month's calls": lambda e: history.calls(e, HEAVY, **MONTH),  # type: ignore[arg-type]
    "a session": lambda e: history.session(e, HEAVY, "s-2026112010"),
    "a breakdown": lambda e: history.breakdown(e, "user-000100", "2026-11-01", "2026-11-30"),
    "accounts": listings.accounts,
    "accounts by tokens": lambda e: listings.accounts(e, sort="used_tokens", descending=True),
    "accounts by last use": lambda e: listings.accounts(e, sort="last_seen", descending=True),
    "suspended accounts": lambda e: listings.accounts(e, status="suspended", sort="last_seen"),
    "accounts of no tier": lambda e: listings.accounts(e, tier="none", sort="used_tokens"),
    "accounts of a zone": lambda e: listings.accounts(e, zone="Europe/Berlin"),
    "a search": lambda e: listings.accounts(e, search="user-0001"),
    "a search by e-mail": lambda e: listings.accounts(e, search="0a1b", sort="used_tokens"),
    "acts": listings.audit,
    "acts on an account": lambda e: listings.audit(e, target="account:user-000100"),
    "acts of an operator": lambda e: listings.audit(e, actor="admin:1"),
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_no_list_reads_a_whole_table(large: Engine, asked: str) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    event.listen(large, "before_cursor_execute", note)
    try:
        ASKED[asked](large)
    finally:
        event.remove(large, "before_cursor_execute", note)

    assert statements
    with large.connect() as connection:
        for statement, parameters in statements:
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
            # A partition without a row has no better plan.
            scans = re.findall(r"Seq Scan on (\w+)", plan)
            read = [
                name for name in scans if connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {name})").scalar()
            ]
            assert read == [], plan


def test_a_month_reads_its_own_partitions_alone(large: Engine) -> None:
    """And so does a page behind a cursor, but for the months before it."""
    with large.connect() as connection:
        plan = "\n".join(
            connection.exec_driver_sql(
                "EXPLAIN SELECT * FROM usage_events WHERE account = 'heavy' AND occurred_at <= '2020-01-01' "
                "AND (occurred_at, id) < ('2020-01-01', 'x') ORDER BY occurred_at DESC, id DESC LIMIT 50"
            ).scalars()
        )
    assert set(re.findall(r"on (usage_events\w*)", plan)) == {"usage_events_other"}
