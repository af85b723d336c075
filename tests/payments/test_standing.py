"""How payments stand, in numbers."""

from __future__ import annotations

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.money import parse_money
from gateway.payments import fulfilment
from gateway.payments.standing import Standing, standing
from tests.payments.shop import Shop


def test_what_is_open_and_what_waits_for_somebody_is_counted(any_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert standing(any_shop.system.ledger) == Standing(0, 0, 0, 0)

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    any_shop.order(write_id="open")
    reviewed, twice, waits = (any_shop.order("small", write_id=name) for name in ("reviewed", "twice", "waits"))
    any_shop.till.pay(reviewed.id, parse_money("10 IDR"))
    any_shop.till.pay(twice.id)
    any_shop.till.pay(waits.id)
    for order in (reviewed, twice):
        any_shop.take(order.id)
    any_shop.till.pay(twice.id, payment="py-second")
    any_shop.take(twice.id)
    monkeypatch.setattr(fulfilment, "complete", away)
    any_shop.take(waits.id)

    found = standing(any_shop.system.ledger)

    assert found == Standing(open_orders=1, in_review=1, credits_waiting=2, differences_open=1)
