"""An account, added up."""

from __future__ import annotations

from gateway.domain.reservation import Account, Bucket


def account(*buckets: Bucket, lapsed: int = 0) -> Account:
    return Account(
        id="ada", tier="free", zone="", status="active", version=1, granted=100, spent=0, held=7, used_tokens=0,
        requests=0, now_ms=0, first_seen_ms=0, last_seen_ms=0, buckets=buckets, lapsed=lapsed,
    )  # fmt: skip


def test_what_is_left_is_the_sum_of_the_buckets_without_what_is_held_or_lapsed() -> None:
    day = Bucket("day", "2026-11-20", amount=5, left=3, held=2, ends_at_ms=1000)
    signup = Bucket("credits", "signup", amount=15, left=10, held=None, ends_at_ms=None)

    assert account(day, signup, lapsed=4).left == 13


def test_an_account_without_buckets_has_nothing_left() -> None:
    assert account(lapsed=4).left == 0
