"""Lists of payments: in pages, by what people look for, and summed up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.domain.errors import RefusedInput
from gateway.domain.money import parse_money
from gateway.payments import listing, refunds
from tests.payments.shop import Shop


def test_orders_are_listed_in_pages_the_newest_first(any_shop: Shop) -> None:
    made = []
    for number in range(5):
        made.append(any_shop.order(write_id=f"w{number}").id)
        any_shop.clock.forward(seconds=1)
    any_shop.order(account="bob", write_id="bob's")

    seen, cursor = [], None
    while True:
        page = listing.of_account(any_shop.system.ledger, "ada", cursor=cursor, limit=2)
        seen += [order.id for order in page.items]
        if (cursor := page.next_cursor) is None:
            break

    assert seen == made[::-1]


def test_orders_are_found_by_what_people_look_for(any_shop: Shop) -> None:
    paid, since = any_shop.bought(), any_shop.clock.now
    any_shop.clock.forward(hours=1)
    other = any_shop.order(account="bob", write_id="w2", method="va", channel="BCA")
    ledger = any_shop.system.ledger

    def ids(**wanted: object) -> list[str]:
        return [order.id for order in listing.listed(ledger, **wanted).items]  # type: ignore[arg-type]

    assert ids() == [other.id, paid.id]
    assert ids(state="credited") == [paid.id]
    assert ids(method="va") == [other.id]
    assert ids(account="bob") == [other.id]
    assert ids(provider="stripe") == []
    assert ids(since=since + timedelta(minutes=1)) == ids(q=other.id) == ids(q=other.provider_id) == [other.id]
    assert ids(until=since + timedelta(minutes=1)) == [paid.id]
    assert listing.listed(ledger, state="credited").items[0].state == "credited"


def test_orders_are_summed_up_by_state_method_and_day(any_shop: Shop) -> None:
    any_shop.clock.now = any_shop.clock.now.replace(hour=16, minute=59)  # 23:59 in Jakarta.
    any_shop.bought()
    any_shop.bought("small", write_id="w2")
    first = any_shop.clock.now
    any_shop.clock.forward(minutes=1)
    any_shop.bought(write_id="w3", method="va", channel="BCA")
    any_shop.order(write_id="w4")
    any_shop.clock.forward(minutes=1)

    def sums(by: listing.By) -> list[tuple[str, int, str]]:
        return [(each.name, each.count, str(each.money)) for each in listing.totals(any_shop.system, by)]

    assert sums("state") == [("credited", 3, "70000 IDR"), ("pending", 1, "10000 IDR")]
    assert sums("method") == [("qris", 2, "60000 IDR"), ("va", 1, "10000 IDR")]
    day, next_day = (f"{at + timedelta(hours=7):%Y-%m-%d}" for at in (first, any_shop.clock.now))
    assert sums("day") == [(day, 2, "60000 IDR"), (next_day, 1, "10000 IDR")]


def test_days_are_summed_up_for_a_year_at_the_most(shop: Shop) -> None:
    now = shop.clock.now

    assert listing.totals(shop.system, "day", since=now - timedelta(days=366), until=now) == []
    with pytest.raises(RefusedInput, match="366"):
        listing.totals(shop.system, "day", since=now - timedelta(days=367), until=now)


def test_one_order_is_shown_with_all_that_happened_to_it(any_shop: Shop) -> None:
    order = any_shop.order()
    any_shop.till.pay(order.id)
    any_shop.hear("payment.capture", order, "py-1")
    made = refunds.refund(any_shop.system, any_shop.till, any_shop.by(), order, parse_money("100 IDR"))
    any_shop.hear("refund.succeeded", order, refund=made.id, reference="")

    whole = listing.whole(any_shop.system.ledger, any_shop.find(order.id))

    assert [step["state"] for step in whole.steps] == ["created", "pending", "paid", "credited", "refunded"]
    assert [payment["counted"] for payment in whole.payments] == [True]
    assert [refund["state"] for refund in whole.refunds] == ["succeeded"]
    assert [event["event"] for event in whole.events] == ["payment.capture", "refund.succeeded"]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (None, datetime(1, 1, 1, tzinfo=UTC)),
        (datetime(9999, 12, 31, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)),
    ],
)
def test_days_beyond_the_calendar_are_refused(shop: Shop, since: datetime | None, until: datetime) -> None:
    with pytest.raises(RefusedInput, match="beyond the calendar"):
        listing.totals(shop.system, "day", since=since, until=until)
