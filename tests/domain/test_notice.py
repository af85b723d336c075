"""What an account is told, from how it stands."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.balance import balance_of
from gateway.domain.notice import KINDS, Notice, notices_of
from gateway.domain.reservation import Account, Bucket
from gateway.domain.tier import Allowance, Tier

#: 2026-11-20 10:00 UTC; its day ends at midnight.
NOW_MS = 1_795_168_800_000
MIDNIGHT_MS = NOW_MS + 14 * 3_600_000
DAILY = Tier("free", allowances=(Allowance("day", 100),), warn_below=20)
PAYG = Tier("payg", warn_below=20)


def account(id: str = "ada", **change: Any) -> Account:
    known: dict[str, Any] = {
        "tier": "free", "zone": "", "status": "active", "version": 1, "granted": 100, "spent": 0, "held": 0,
        "used_tokens": 0, "requests": 1, "now_ms": NOW_MS, "first_seen_ms": NOW_MS - 1, "last_seen_ms": NOW_MS,
    }  # fmt: skip
    return Account(id, **known | change)


def day(left: int, held: int = 0, amount: int = 100, id: str = "2026-11-20") -> Bucket:
    return Bucket("day", id, amount, left, held, MIDNIGHT_MS)


def told(
    who: Account, tier: Tier = DAILY, kinds: Any = KINDS, thresholds: tuple[int, ...] = (800, 950)
) -> list[Notice]:
    return notices_of(balance_of(who, tier), tier, kinds, thresholds)


def ids(who: Account, tier: Tier = DAILY, **how: Any) -> list[str]:
    return [notice.id for notice in told(who, tier, **how)]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (100, []),
        (21, []),
        (20, ["low_balance ada day:2026-11-20", "threshold ada day:2026-11-20/800"]),
        (6, ["low_balance ada day:2026-11-20", "threshold ada day:2026-11-20/800"]),
        (5, ["low_balance ada day:2026-11-20", "threshold ada day:2026-11-20/950"]),
        (1, ["low_balance ada day:2026-11-20", "threshold ada day:2026-11-20/950"]),
        (0, ["exhausted ada day:2026-11-20", "threshold ada day:2026-11-20/950", "reset ada day:2026-11-20"]),
    ],
)
def test_an_allowance_is_told_as_it_is_used(left: int, expected: list[str]) -> None:
    assert ids(account(buckets=(day(left),))) == expected


def test_what_open_calls_hold_counts_as_left() -> None:
    assert ids(account(buckets=(day(0, held=100),), held=100)) == []
    assert ids(account(buckets=(day(0, held=21),), held=21)) == []


def test_credits_are_what_is_left_when_an_allowance_is_used_up() -> None:
    grant = Bucket("credits", "g1", 500, 400, None, None)

    assert ids(account(buckets=(day(0), grant))) == ["threshold ada day:2026-11-20/950", "reset ada day:2026-11-20"]


def test_a_reset_is_told_when_the_next_period_begins_with_what_it_will_have() -> None:
    (reset,) = told(account(buckets=(day(0, amount=70),)), kinds=("reset",))

    assert reset.due_ms == MIDNIGHT_MS
    assert reset.facts == {"allowance": "day", "period": "2026-11-20", "amount": 100}


def test_an_allowance_that_the_tier_no_longer_gives_is_not_told_to_come_back() -> None:
    assert "reset" not in {notice.kind for notice in told(account(buckets=(day(0),)), PAYG)}


def test_without_an_allowance_each_refill_begins_a_period() -> None:
    assert ids(account(granted=500), PAYG) == ["exhausted ada granted:500"]
    low = Bucket("credits", "g2", 200, 20, None, None)
    assert ids(account(granted=700, buckets=(low,)), PAYG) == ["low_balance ada granted:700"]


def test_an_account_that_was_never_given_anything_is_not_told_that_it_has_nothing() -> None:
    assert told(account(granted=0), PAYG) == []


def test_an_allowance_that_the_next_call_opens_is_not_used_up() -> None:
    assert told(account()) == []


def test_of_several_allowances_the_one_that_ends_next_names_the_period() -> None:
    month = Bucket("month", "2026-11", 1000, 0, 0, MIDNIGHT_MS + 10**9)

    found = ids(account(buckets=(day(0), month)), kinds=("exhausted",))

    assert found == ["exhausted ada day:2026-11-20"]


def test_only_the_kinds_that_are_asked_for_are_told() -> None:
    assert [notice.kind for notice in told(account(buckets=(day(0),)), kinds=("exhausted",))] == ["exhausted"]
    assert told(account(buckets=(day(0),)), kinds=()) == []


def test_a_license_is_told_to_be_inactive_and_nothing_else() -> None:
    (notice,) = told(account("license:lk_Ab", granted=9), PAYG)

    assert (notice.id, notice.facts["license"]) == ("license_inactive license:lk_Ab granted:9", "lk_Ab")
    assert told(account("license:lk_Ab", granted=9, buckets=(Bucket("credits", "g", 9, 1, None, None),)), PAYG) == []
