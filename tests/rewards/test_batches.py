"""Batches of codes: made once, listed, exported, voided."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.accounts.noting import By, new_by
from gateway.domain.errors import Conflicting, NotFound, RefusedInput
from gateway.ledger.sales import code_batches, codes
from gateway.rewards import batches
from gateway.rewards.batches import Batch, BatchTerms
from gateway.rewards.redemptions import redeem
from tests.accounts.licensed import audited
from tests.rewards.giving import HOUR, Giving, together

TERMS = BatchTerms("spring", 50, count=3)


def make(giving: Giving, terms: BatchTerms = TERMS, id: str = "act-1") -> Batch:
    return batches.create(giving.system, By(id, "admin:eve"), terms)


def exported(giving: Giving, id: str) -> list[list[str]]:
    text = b"".join(batches.as_csv(giving.system, id)).decode()
    return list(csv.reader(io.StringIO(text)))


def test_a_batch_has_as_many_codes_as_were_asked_for(giving: Giving) -> None:
    made = make(giving, BatchTerms("spring", 50, 3, "", 2, 1, 30, giving.now + HOUR))

    assert (made.codes, made.uses, made.max_uses, made.valid_days, made.actor) == (3, 0, 2, 30, "admin:eve")
    assert (made.created_at, made.expires_at, made.voided_at) == (giving.now, giving.now + HOUR, None)
    assert len({row.code for row in giving.rows(codes)}) == 3
    assert audited(giving.system) == [("codes.create", "admin:eve", f"codes:{made.id}")]


def test_a_repeat_makes_no_second_one(giving: Giving) -> None:
    assert together([partial(make, giving)] * 6) == [make(giving)] * 6

    assert (len(giving.rows(code_batches)), len(giving.rows(codes)), len(audited(giving.system))) == (1, 3, 1)
    for other in ({"amount": 51}, {"per_account": 2}, {"valid_days": 1}, {"expires_at": giving.now + HOUR}):
        with pytest.raises(Conflicting, match="before as another batch"):
            make(giving, replace(TERMS, **other))


def test_a_code_that_was_chosen_is_kept_as_it_is_and_is_there_once(giving: Giving) -> None:
    made = make(giving, BatchTerms("spring", 50, code="Welcome-2026", max_uses=9))

    assert [row.code for row in giving.rows(codes)] == ["WELCOME2026"]
    with pytest.raises(Conflicting, match="there is a code WELCOME2026 already"):
        make(giving, BatchTerms("again", 50, code="welcome2026"), "act-2")
    assert [batch.id for batch in batches.listed(giving.system).items] == [made.id]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": ""}, "the name must be 1-100"),
        ({"name": "a\nb"}, "the name must be 1-100"),
        ({"amount": 0}, "amount = 0: must be from 1"),
        ({"amount": 2**53}, "amount = .*must be from 1"),
        ({"count": 100_001}, "count = 100001: must be from 1 to 100000"),
        ({"max_uses": 0}, "max_uses = 0"),
        ({"per_account": 0}, "per_account = 0"),
        ({"valid_days": 3661}, "valid_days = 3661"),
        ({"code": "no"}, "the code 'no' cannot be"),
        ({"code": "WELCOME", "count": 2}, "is one code"),
    ],
)
def test_what_cannot_be_a_batch_is_told(giving: Giving, change: dict[str, Any], why: str) -> None:
    terms: dict[str, Any] = {"name": "spring", "amount": 50} | change

    with pytest.raises(RefusedInput, match=why):
        make(giving, BatchTerms(**terms))
    assert giving.rows(code_batches) == []


def test_codes_that_are_taken_no_more_are_not_made(giving: Giving) -> None:
    for instant in (giving.now, giving.now.replace(tzinfo=None), giving.now + timedelta(days=3_000_000 - 400_000)):
        with pytest.raises(RefusedInput, match="an instant to come"):
            make(giving, BatchTerms("spring", 50, expires_at=instant))


def test_batches_and_codes_are_listed_page_by_page(giving: Giving) -> None:
    made = [make(giving, BatchTerms(f"b{n}", 50, count=n), f"act-{n}") for n in (1, 2, 3)]

    first = batches.listed(giving.system, limit=2)
    second = batches.listed(giving.system, first.next_cursor, limit=2)

    assert sorted(batch.id for batch in (*first.items, *second.items)) == sorted(batch.id for batch in made)
    assert second.next_cursor is None
    page = batches.codes_of(giving.system, made[2].id, limit=2)
    rest = batches.codes_of(giving.system, made[2].id, page.next_cursor, limit=2)
    found = [code for code, _ in (*page.items, *rest.items)]
    assert (len(found), found) == (3, sorted(found))


def test_a_code_is_found_with_who_has_redeemed_it(giving: Giving) -> None:
    made = make(giving, BatchTerms("spring", 50, code="WELCOME", max_uses=9, per_account=2))
    for number, account in enumerate(("ada", "bob", "ada")):
        redeem(giving.system, account, "WELCOME", f"w{number}")
        giving.now += HOUR

    found = batches.look_up(giving.system, "welcome")

    assert (found.code, found.uses, found.batch) == ("WELCOME", 3, batches.find(giving.system, made.id))
    assert [(row["account"], row["number"]) for row in found.redemptions.items] == [("ada", 2), ("bob", 1), ("ada", 1)]
    assert found.batch.uses == 3


@pytest.mark.parametrize("typed", ["", "WELCOMER", "x" * 500])
def test_what_there_is_not_is_not_found(giving: Giving, typed: str) -> None:
    for look in (batches.look_up, batches.find, batches.codes_of, batches.as_csv):
        with pytest.raises(NotFound):
            look(giving.system, typed)
    with pytest.raises(NotFound):
        batches.void(giving.system, new_by("admin:eve"), typed)


def test_an_export_has_a_line_a_code_and_nothing_that_a_spreadsheet_runs(
    giving: Giving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PART", 2)
    made = make(giving, BatchTerms("=SUM(A1)", 50, count=5, max_uses=2))
    [redeemed, *_] = [code for code, _ in batches.codes_of(giving.system, made.id).items]
    redeem(giving.system, "ada", redeemed, "w1")

    header, *lines = exported(giving, made.id)

    assert header == ["code", "batch", "name", "amount", "uses", "max_uses", "expires_at", "voided_at"]
    assert len(lines) == 5
    assert all(re.fullmatch(r"([0-9A-Z]{4}-){3}[0-9A-Z]{4}", line[0]) for line in lines)
    assert {tuple(line[1:4]) for line in lines} == {(made.id, "'=SUM(A1)", "50")}
    assert [line[4] for line in lines] == ["1", "0", "0", "0", "0"]


def test_a_batch_is_voided_once_and_noted_once(giving: Giving) -> None:
    made = make(giving)
    voided = batches.void(giving.system, By("act-2", "admin:eve", "leaked"), made.id)
    giving.now += HOUR

    again = batches.void(giving.system, By("act-3", "admin:bob"), made.id)

    assert voided.voided_at == again.voided_at == giving.now - HOUR
    assert [act[:2] for act in audited(giving.system)] == [
        ("codes.create", "admin:eve"), ("codes.void", "admin:eve"), ("codes.void", "admin:bob"),
    ]  # fmt: skip


def test_a_hundred_thousand_codes_are_made_and_exported(giving: Giving) -> None:
    made = make(giving, BatchTerms("many", 1, count=100_000))

    assert made.codes == 100_000
    assert sum(part.count(b"\n") for part in batches.as_csv(giving.system, made.id)) == 100_001
