"""A filled ledger of every earlier revision: its rows come through unchanged, and its sums are what its entries say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import BigInteger, Boolean, DateTime, Engine, Integer, MetaData, Table, insert, select

from gateway.domain.event import OVERDRAFT, SPENDING
from gateway.ledger import database
from gateway.ledger.migrate import HEAD, current, migrate
from gateway.ledger.record import record
from gateway.ledger.sales import all_tables as metadata
from gateway.ledger.tables import Instant
from tests.ledger.events import usage
from tests.ledger.tables import rows
from tests.support.processes import CHECKOUT

EARLIER = ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008"]
START = datetime(2026, 1, 31, 22, tzinfo=UTC)
ACCOUNTS = ("ada", "bea", "o'neil:x", "ünï")
#: What the revision that made them has written out, and older ones could not say.
SUMMED = ("granted", "spent")

GRANTED = {"SIGNUP": 15, "TOP_UP": 100, "REWARD": 7}


def upgrade(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(CHECKOUT / "gateway" / "ledger" / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


@pytest.fixture(params=EARLIER)
def older(request: pytest.FixtureRequest, ledger_url: str) -> Iterator[tuple[Engine, dict[str, list[dict[str, Any]]]]]:
    """A ledger of an earlier revision with rows in each of its tables, and those rows."""
    engine = database.connect(ledger_url)
    upgrade(engine, request.param)
    tables = reflected(engine)
    _fill(engine, tables)
    yield engine, {name: rows(engine, table) for name, table in tables.items()}
    engine.dispose()


def reflected(engine: Engine) -> dict[str, Table]:
    """The tables as they are, not as this version describes them."""
    found = MetaData()
    found.reflect(engine, only=lambda name, _: name in metadata.tables)
    for table in found.tables.values():
        for column in table.columns:
            if isinstance(column.type, DateTime):
                column.type = Instant()
    return dict(found.tables)


def test_every_row_comes_through_unchanged(older: tuple[Engine, dict[str, list[dict[str, Any]]]]) -> None:
    engine, before = older

    migrate(engine)

    assert current(engine) == HEAD
    assert all(before.values())
    after = {name: rows(engine, table) for name, table in metadata.tables.items()}
    for name, were in before.items():
        kept = [{column: row[column] for column in were[0] if column not in SUMMED} for row in after[name]]
        expected = [{column: row[column] for column in row if column not in SUMMED} for row in were]
        assert sorted(kept, key=str) == sorted(expected, key=str), name


def test_sums_are_what_the_entries_say(older: tuple[Engine, dict[str, list[dict[str, Any]]]]) -> None:
    engine, before = older

    migrate(engine)

    buckets, granted, spent = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
    credits = Counter[tuple[str, str]]()
    for entry in before["ledger_entries"]:
        if entry["bucket"].startswith("credits:"):
            credits[entry["account"], entry["kind"]] += entry["amount"]
        if entry["bucket"] != OVERDRAFT:
            buckets[entry["account"], entry["bucket"]] += entry["amount"]
            if entry["kind"] in SPENDING:
                spent[entry["account"]] -= entry["amount"]
            else:
                granted[entry["account"]] += entry["amount"]
    found = {(row["account"], row["bucket"]): row["amount"] for row in rows(engine, metadata.tables["account_buckets"])}
    totals = {row["id"]: (row["granted"], row["spent"]) for row in rows(engine, metadata.tables["accounts"])}
    by_kind = {(row["account"], row["kind"]): row["amount"] for row in rows(engine, metadata.tables["credit_totals"])}
    given = {
        (row["account"], row["id"]): (row["kind"], row["amount"], row["granted_at"])
        for row in rows(engine, metadata.tables["grants"])
    }
    assert found == {bucket: amount for bucket, amount in buckets.items() if amount}
    assert 0 in buckets.values()
    assert by_kind == credits
    assert set(GRANTED) < {kind for _, kind in credits}
    assert totals == {account: (granted[account], spent[account]) for account in ACCOUNTS}
    assert given == {
        (entry["account"], entry["bucket"].removeprefix("credits:")): (
            entry["kind"], entry["amount"], entry["occurred_at"],
        )
        for entry in before["ledger_entries"] if entry["kind"] in GRANTED
    }  # fmt: skip


def test_the_upgraded_ledger_goes_on(older: tuple[Engine, dict[str, list[dict[str, Any]]]]) -> None:
    """What is in it is met again, what is new is added, and its rows are guarded."""
    engine, before = older
    migrate(engine)
    known = before["usage_events"][0]
    began = int(known["started_at"].timestamp() * 1000)
    at_ms = int(known["occurred_at"].timestamp() * 1000)

    again = usage(known["id"], known["account"], at_ms=at_ms, started_at_ms=began, entries=())
    assert record(engine, [again]) == 0
    assert record(engine, [usage("new", "ada")]) == 2


def _fill(engine: Engine, tables: dict[str, Table]) -> None:
    """Every account has calls over five months, all kinds of entries, and one row at least in each other table."""
    drawn = random.Random(11)
    with engine.begin() as connection:
        for table in tables.values():
            if table.name not in ("ledger_entries", "usage_events", "account_buckets", "grants"):
                made = [_row(table, account, number, drawn) for number, account in enumerate(ACCOUNTS)]
                connection.execute(insert(table), made)
        calls = [
            _row(tables["usage_events"], account, number, drawn)
            for number, account in enumerate(account for account in ACCOUNTS for _ in range(12))
        ]
        connection.execute(insert(tables["usage_events"]), calls)
        entries = [entry for account in ACCOUNTS for entry in _entries(account, drawn)]
        connection.execute(insert(tables["ledger_entries"]), entries)
    if "grants" in tables:  # From 0006 on they are written with each entry.
        _sum_up(engine, tables)


def _row(table: Table, account: str, number: int, drawn: random.Random) -> dict[str, Any]:
    """A row with a value in each column, which is its own in keys."""
    row: dict[str, Any] = {}
    for column in table.columns:
        if isinstance(column.type, Instant):
            row[column.name] = START + timedelta(days=11 * number, milliseconds=drawn.randrange(86_400_000))
        elif isinstance(column.type, Boolean):
            row[column.name] = drawn.random() < 0.5
        elif isinstance(column.type, BigInteger | Integer):
            row[column.name] = drawn.randrange(2**31 - 1)
        else:
            row[column.name] = f"{column.name[:4]}-{number}"
    named = {"accounts": "id", "license_keys": "owner"}.get(table.name, "account")
    if named in row:
        row[named] = account
    if table.name == "usage_events":
        row["occurred_at"] = row["started_at"] + timedelta(seconds=2)
    return row


def _entries(account: str, drawn: random.Random) -> list[dict[str, Any]]:
    lines = [(kind, f"credits:{kind}", amount) for kind, amount in GRANTED.items()]
    lines += [("DAILY_RESET", "day:2026-02-01", 5), ("USAGE", "day:2026-02-01", -5)]  # Used up.
    lines += [("MONTHLY_RESET", "month:2026-02", 500), ("EXPIRY", "month:2026-02", -40)]
    lines += [("USAGE", "credits:TOP_UP", -drawn.randrange(1, 50)), ("REFUND", "credits:TOP_UP", 1)]
    lines += [("USAGE", OVERDRAFT, -9), ("WRITE_OFF", OVERDRAFT, 9)]
    return [
        {
            "id": f"{account}-{number}/1", "account": account, "kind": kind, "bucket": bucket, "amount": amount,
            "reservation_id": f"r{number}" if kind == "USAGE" else None, "reason": "it's so",
            "occurred_at": START + timedelta(days=number),
        }
        for number, (kind, bucket, amount) in enumerate(lines)
    ]  # fmt: skip


def _sum_up(engine: Engine, tables: dict[str, Table]) -> None:
    with engine.begin() as connection:
        entries = connection.execute(select(tables["ledger_entries"])).mappings().all()
        buckets, granted, spent = Counter[tuple[str, str]](), Counter[str](), Counter[str]()
        for entry in entries:
            if entry["kind"] in GRANTED:
                connection.execute(
                    insert(tables["grants"]).values(
                        account=entry["account"], id=entry["kind"], kind=entry["kind"], amount=entry["amount"],
                        granted_at=entry["occurred_at"],
                    )
                )  # fmt: skip
            if entry["bucket"] != OVERDRAFT:
                buckets[entry["account"], entry["bucket"]] += entry["amount"]
                (spent if entry["kind"] in SPENDING else granted)[entry["account"]] += entry["amount"]
        for (account, bucket), amount in buckets.items():
            if amount:
                connection.execute(
                    insert(tables["account_buckets"]).values(account=account, bucket=bucket, amount=amount)
                )
        accounts = tables["accounts"]
        for account in ACCOUNTS:
            totals = {"granted": granted[account], "spent": -spent[account]}
            connection.execute(accounts.update().where(accounts.c.id == account).values(totals))
