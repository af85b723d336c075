"""Whatever a row holds is in the database as it was, however it is written there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from gateway.ledger import bulk
from gateway.ledger.record import record
from gateway.ledger.tables import grants, usage_events
from tests.ledger.events import usage
from tests.ledger.tables import rows

WORDS = [
    "", "NULL", "null", '"', '""', "\\", "\\\\", '\\"', "{}", "{a,b}", ",", "'", "a\nb\tc\r", "ü\u2028\U0001f600", " ",
    "%s", "%(a)s", ":a", "$1", '","', "--",
]  # fmt: skip
INSTANTS = [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)]


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63) + 1])
def test_texts_numbers_and_instants_are_kept_as_they_are(ledger: Engine, number: int) -> None:
    given = [
        ("ada", f"{place} {word}", "TOP_UP", number, word, place, INSTANTS[place % 2], INSTANTS[0], None)
        for place, word in enumerate(WORDS)
    ]
    with ledger.begin() as connection:
        bulk.add_up(connection, grants, given, {"amount": "grants.amount"})

    kept = sorted(rows(ledger, grants), key=lambda row: row["priority"])
    assert [tuple(row.values()) for row in kept] == given


def test_what_is_not_said_is_nothing(ledger: Engine) -> None:
    given = [("ada", "g", "TOP_UP", 1, None, 0, None, INSTANTS[0], None)]
    with ledger.begin() as connection:
        bulk.add_up(connection, grants, given, {"amount": "grants.amount"})

    (row,) = rows(ledger, grants)
    assert (row["reason"], row["expires_at"], row["voided_at"]) == (None, None, None)


@pytest.mark.parametrize("estimated", [True, False])
def test_true_and_false_are_kept(ledger: Engine, estimated: bool) -> None:
    record(ledger, [usage(estimated=estimated)])

    assert [row["estimated"] for row in rows(ledger, usage_events)] == [estimated]
