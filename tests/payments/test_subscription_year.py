"""A year of one account, day by day: with renewals, a failed one, grace, two changes of plan and two cancellations."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest
import redis
from sqlalchemy import Engine

from gateway.domain.order import Order
from tests.payments.club import Club

#: What the account has from these local instants on, until the next one: worked out by hand.
EXPECTED = [
    ("2027-01-31 10:00", "plus", 1000),  # The first period, from the payment on.
    ("2027-02-28 00:00", "plus", 1000),  # The 31st of February.
    ("2027-03-31 00:00", "plus", 1000),
    ("2027-04-30 00:00", "plus", 0),  # Not paid: in grace it keeps the tier alone.
    ("2027-05-03 09:00", "plus", 1000),  # Paid, for the period that began on 30 April.
    ("2027-05-31 00:00", "plus", 1000),
    ("2027-06-15 12:00", "prime", 1966),  # 14 and a half days of 30 are left: 2000 more, by that share.
    ("2027-06-30 00:00", "prime", 3000),
    ("2027-07-31 00:00", "plus", 1000),  # The cheaper plan that was chosen in July.
    ("2027-08-31 00:00", "plus", 0),  # Nobody pays …
    ("2027-09-05 00:00", "free", 0),  # … and after five days it is over. In Santiago no clock shows this midnight.
    ("2027-10-31 08:00", "plus", 1000),  # Anew.
    ("2027-11-30 00:00", "free", 0),  # Canceled in time.
    ("2027-12-31 23:30", "prime", 3000),
    ("2028-01-10 18:00", "free", 0),  # Canceled at once.
]


def events(club: Club) -> list[tuple[str, Callable[[], object]]]:
    """What happens when, besides the clock."""
    bills: list[Order | None] = []
    return [
        ("2027-01-31 10:00", lambda: club.join("plus")),
        ("2027-02-25 12:30", club.pay),  # The order that the reminder has brought.
        ("2027-03-30 23:59", club.pay),  # In the last minute.
        ("2027-05-03 09:00", club.pay),
        ("2027-05-12 09:00", club.pay),  # Long before.
        ("2027-06-15 12:00", lambda: bills.append(club.change("prime"))),
        ("2027-06-15 12:00", lambda: club.pay(bills[0])),
        ("2027-06-28 12:00", club.pay),
        ("2027-07-10 12:00", lambda: bills.append(club.change("plus"))),
        ("2027-07-29 20:00", club.pay),
        ("2027-10-31 08:00", lambda: club.join("plus")),
        ("2027-11-12 12:00", club.cancel),
        ("2027-12-31 23:30", lambda: club.join("prime")),
        ("2028-01-10 18:00", lambda: club.cancel(at_once=True)),
    ]


@pytest.mark.parametrize("zone", ["Asia/Jakarta", "America/Santiago"])
def test_tier_and_allowance_are_right_on_every_day_of_a_year(
    redis_client: redis.Redis, quick_ledger: Engine, zone: str
) -> None:
    club = Club(redis_client, quick_ledger, zone)
    starts = [club.instant(at) for at, *_ in EXPECTED]
    happening = [(club.instant(at), act) for at, act in events(club)]
    days = [date(2027, 1, 31) + timedelta(days=number) for number in range(366)]
    noons = [club.instant(f"{day} 12:00") for day in days]
    midnights = [club.instant(f"{day} 00:00") for day in days[1:]]
    looks = sorted({*noons, *midnights, *starts, *(at for at, _ in happening)})
    tick = timedelta(milliseconds=1)
    seen = 0

    def look(at: datetime) -> None:
        nonlocal seen
        club.now = at
        _, tier, allowance = EXPECTED[bisect_right(starts, at) - 1]
        assert club.has() == (tier, allowance), (at, club.row())
        seen += 1

    for at in looks:
        if at > starts[0]:
            look(at - tick)
        club.now = at
        if at in midnights and at != starts[0]:  # The tier has changed before anybody did anything.
            tier = EXPECTED[bisect_right(starts, at) - 1][1]
            assert (club.account().tier, club.called()) == (tier, tier), at
        for when, act in happening:
            if when == at:
                act()
        club.work()
        look(at)
        look(at + tick)

    assert seen > 3 * 365
    assert club.account().lapsed + club.account().left == club.account().granted - club.account().spent
