"""`peek`: an account and all its buckets in one reading."""

from __future__ import annotations

from gateway.domain.reservation import Account, Bucket
from gateway.domain.usage import Usage
from gateway.store import calls
from tests.lua.caller import (
    EVERY_KIND,
    MIDNIGHT_MS,
    MINUTE_MS,
    MONTH_END_MS,
    NOON_MS,
    PAYG,
    SECOND_MS,
    Caller,
    contents,
)
from tests.lua.conftest import NewCaller


def test_an_unknown_account_is_none(caller: Caller) -> None:
    assert caller.runner.run(calls.peek(caller.key)) is None


def test_everything_about_an_account_in_one_reading(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 9)
    caller.settle("r1", 8, Usage(input=100, output=50))
    caller.now_ms += SECOND_MS
    caller.grant("order-7", 50, expires_s=1_900_000_000)
    caller.reserve("r2", 2)

    assert caller.account() == Account(
        id="ada",
        tier="every",
        zone="",
        status="active",
        version=1,
        granted=64,
        spent=8,
        held=2,
        used_tokens=150,
        requests=2,
        now_ms=NOON_MS + SECOND_MS,
        first_seen_ms=NOON_MS,
        last_seen_ms=NOON_MS + SECOND_MS,
        spent_since=(NOON_MS, 0),
        buckets=(
            Bucket("day", "2026-11-20", amount=3, left=0, held=0, ends_at_ms=MIDNIGHT_MS),
            Bucket("month", "2026-11", amount=4, left=0, held=0, ends_at_ms=MONTH_END_MS),
            Bucket("credits", "order-7", amount=50, left=48, held=None, ends_at_ms=1_900_000_000_000),
            Bucket("credits", "signup", amount=7, left=6, held=None, ends_at_ms=None),
        ),
    )
    assert caller.account().left == 54


def test_a_period_counts_what_open_calls_hold_of_it(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 2)
    caller.reserve("r2", 2)

    held = {bucket.kind: bucket.held for bucket in caller.account().buckets}

    assert held == {"day": 3, "month": 1, "credits": None}


def test_what_an_ended_period_still_had_has_lapsed(new_caller: NewCaller) -> None:
    caller = new_caller(EVERY_KIND)
    caller.reserve("r1", 1)
    caller.now_ms = MIDNIGHT_MS

    account = caller.account()

    assert [bucket.kind for bucket in account.buckets] == ["month", "credits"]
    assert (account.left, account.held, account.lapsed, account.granted) == (11, 1, 2, 14)


def test_what_an_expired_grant_still_has_has_lapsed(new_caller: NewCaller) -> None:
    caller = new_caller(PAYG)
    caller.grant("short", 5, expires_s=(NOON_MS + MINUTE_MS) // 1000)
    caller.grant("long", 3)
    caller.now_ms += MINUTE_MS

    account = caller.account()

    assert (account.left, account.lapsed, account.granted) == (3, 5, 8)


def test_looking_changes_nothing(caller: Caller) -> None:
    caller.reserve("r1", 2)
    caller.now_ms = MIDNIGHT_MS
    before = contents(caller.client)

    caller.account()

    assert contents(caller.client) == before
