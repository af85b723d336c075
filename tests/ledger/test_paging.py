"""Cursors: what was given out is taken back, and nothing else."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.domain.errors import RefusedInput
from gateway.ledger import history
from gateway.ledger.paging import decode, encode

NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)
KINDS = (datetime, int, str)


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-(2**63) + 1, 2**63 - 1), st.text(max_size=200))
def test_a_place_comes_back_as_it_was(at: datetime, number: int, word: str) -> None:
    if "\0" not in word:
        assert decode(encode([at, number, word]), KINDS) == [at, number, word]


def test_it_goes_into_a_url_as_it_is() -> None:
    assert encode([NOW, 1, "?>~ü" * 9]).replace("-", "").replace("_", "").isalnum()


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=7)))

    assert decode(encode([there]), [datetime]) == [NOW]


def raw(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "ü", "!!!!", "a" * 3000, raw({}), raw("a"), raw(None), raw([]), raw([NOW.isoformat(), 1]),
        raw([NOW.isoformat(), 1, "a", "b"]), raw([1, 1, "a"]), raw(["soon", 1, "a"]),
        raw(["2026-11-20T10:00:00", 1, "a"]),
        raw([NOW.isoformat(), "1", "a"]), raw([NOW.isoformat(), True, "a"]), raw([NOW.isoformat(), 1.5, "a"]),
        raw([NOW.isoformat(), 2**63, "a"]), raw([NOW.isoformat(), 1, None]), raw([NOW.isoformat(), 1, "a\0"]),
        " " + encode([NOW, 1, "a"]), "W" * 1500,
        base64.urlsafe_b64encode(b"[" * 900).decode(), raw([NOW.isoformat(), 1, "\ud800"]),
    ],
)  # fmt: skip
def test_what_was_never_given_out_is_refused(cursor: str) -> None:
    with pytest.raises(RefusedInput, match="cursor"):
        decode(cursor, KINDS)


@given(st.text(max_size=300))
def test_whatever_comes_is_refused_or_read(cursor: str) -> None:
    with contextlib.suppress(RefusedInput):
        assert [type(value) for value in decode(cursor, KINDS)] == list(KINDS)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_has_a_row_to_a_thousand(ledger: Engine, limit: int) -> None:
    with pytest.raises(RefusedInput, match=f"limit = {limit}: must be from 1 to 1000"):
        history.transactions(ledger, "alice", limit=limit)
