"""Totals by account and bucket, and the grants, are what the entries say, however often an event comes."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, select

from gateway.domain.event import Entry, Event
from gateway.ledger.record import record
from gateway.ledger.sales import credit_totals
from gateway.ledger.tables import account_buckets, accounts, grants
from tests.ledger.events import NOON_MS, grant, opening, usage


def buckets(ledger: Engine, account: str = "alice") -> dict[str, int]:
    with ledger.connect() as connection:
        found = connection.execute(select(account_buckets).where(account_buckets.c.account == account)).all()
    return {row.bucket: row.amount for row in found}


def totals(ledger: Engine, account: str = "alice") -> tuple[int, int]:
    with ledger.connect() as connection:
        row = connection.execute(select(accounts).where(accounts.c.id == account)).one()
    return row.granted, row.spent


def credits(ledger: Engine, account: str = "alice") -> dict[str, int]:
    with ledger.connect() as connection:
        found = connection.execute(select(credit_totals).where(credit_totals.c.account == account)).all()
    return {row.kind: row.amount for row in found}


def test_buckets_and_totals_follow_the_entries(ledger: Engine) -> None:
    record(ledger, [opening(), usage("r1", cost=3), grant("g1", amount=100)])

    assert buckets(ledger) == {"credits:signup": 15, "day:2026-11-20": 2, "credits:g1": 100}
    assert totals(ledger) == (120, 3)


def test_what_comes_again_is_added_once(ledger: Engine) -> None:
    events = [opening(), usage("r1", cost=3), grant("g1", amount=100)]
    record(ledger, events)
    record(ledger, [*events, usage("r2", cost=1)])
    record(ledger, events)

    assert buckets(ledger) == {"credits:signup": 15, "day:2026-11-20": 1, "credits:g1": 100}
    assert totals(ledger) == (120, 4)


def test_credits_are_summed_up_by_kind_and_allowances_are_none(ledger: Engine) -> None:
    both = (Entry("USAGE", "day:2026-11-20", -5), Entry("USAGE", "credits:g1", -7))
    late = replace(usage("r1:late"), entries=(Entry("REFUND", "credits:g1", 2),))
    lapsed = Event("e1", "lapsed", "alice", NOON_MS, (Entry("EXPIRY", "credits:signup", -15),))
    lines = (Entry("REVERSAL", "credits:g1", -95),)
    back = Event("voided:alice g1", "voided", "alice", NOON_MS, lines, reason="refunded", grant="g1")
    events = [opening(), grant("g1", amount=100), usage("r1", entries=both), late, lapsed, back]
    record(ledger, events[:3])
    record(ledger, events)
    record(ledger, [opening("bob"), usage("r2", "bob"), usage("r3", entries=(Entry("USAGE", "credits:g1", -1),))])

    assert credits(ledger) == {"SIGNUP": 15, "TOP_UP": 100, "USAGE": -8, "REFUND": 2, "EXPIRY": -15, "REVERSAL": -95}
    assert sum(credits(ledger).values()) == sum(
        amount for bucket, amount in buckets(ledger).items() if bucket.startswith("credits:")
    )
    assert totals(ledger) == (15 + 5 + 100 - 15 - 95, 5 + 8 - 2)
    assert credits(ledger, "bob") == {"SIGNUP": 15}


def test_a_bucket_that_is_used_up_has_no_row(ledger: Engine) -> None:
    record(ledger, [opening()])
    record(ledger, [usage("r1", cost=5)])

    assert buckets(ledger) == {"credits:signup": 15}


def test_an_expiry_is_given_less_and_a_refund_spent_less(ledger: Engine) -> None:
    expiry = Event("e1", "usage", "alice", NOON_MS, (Entry("EXPIRY", "day:2026-11-20", -2),))
    refund = replace(usage("r1:late"), entries=(Entry("REFUND", "day:2026-11-20", 3),))
    record(ledger, [opening(), usage("r1", cost=3), expiry, refund])

    assert totals(ledger) == (18, 0)
    assert sum(buckets(ledger).values()) == 18


def test_what_was_written_off_is_nobodys(ledger: Engine) -> None:
    lines = (Entry("USAGE", "day:2026-11-20", -5), Entry("USAGE", "overdraft", -2), Entry("WRITE_OFF", "overdraft", 2))
    record(ledger, [opening(), usage("r1", cost=7, entries=lines)])

    assert buckets(ledger) == {"credits:signup": 15}
    assert totals(ledger) == (20, 5)


def test_grants_are_known_for_good_with_their_terms(ledger: Engine) -> None:
    bought = replace(grant("g1", amount=100), priority=7, expires_s=1_800_000_000)
    record(ledger, [opening(), bought, bought])
    record(ledger, [replace(grant("g1", amount=100), id="again")])  # As no script writes it.

    with ledger.connect() as connection:
        found = connection.execute(select(grants).order_by(grants.c.id)).all()
    assert [(row.id, row.kind, row.amount, row.priority) for row in found] == [
        ("g1", "TOP_UP", 100, 7), ("signup", "SIGNUP", 15, 0),
    ]  # fmt: skip
    assert found[0].expires_at is not None
    assert found[0].expires_at.timestamp() == 1_800_000_000
    assert found[1].expires_at is None


def test_a_voided_grant_says_when(ledger: Engine) -> None:
    lines = (Entry("ADJUSTMENT", "credits:g1", -100),)
    voided = Event("voided:alice g1", "voided", "alice", NOON_MS, lines, reason="a mistake", grant="g1")
    record(ledger, [grant("g1", amount=100), voided])

    with ledger.connect() as connection:
        assert connection.execute(select(grants.c.voided_at)).scalar_one() is not None
    assert buckets(ledger) == {}
    assert totals(ledger) == (0, 0)


def test_the_newest_status_stands(ledger: Engine) -> None:
    suspended = Event("s2", "status", "alice", NOON_MS + 2000, (), status="suspended")
    earlier = Event("s1", "status", "alice", NOON_MS + 1000, (), status="active")
    record(ledger, [opening(), suspended])
    record(ledger, [earlier, usage("r1", at_ms=NOON_MS + 3000)])

    with ledger.connect() as connection:
        assert connection.execute(select(accounts.c.status)).scalar_one() == "suspended"


def test_reported_tokens_are_used_tokens_and_no_request(ledger: Engine) -> None:
    told = usage("p1", outcome="reported", cost=0, input_tokens=0, output_tokens=0, reported_tokens=1916)
    record(ledger, [usage("r1"), told, told])

    with ledger.connect() as connection:
        row = connection.execute(select(accounts)).one()
    assert (row.used_tokens, row.requests) == (15 + 1916, 1)
