"""Every fault of the sandbox, alone and with each other one, times webhook and poller in either order, times webhooks
that never come: an order is credited exactly once or not at all, as the provider's own record says.

The provider is the Xendit of the gateway over the sandbox, without a socket. Nothing below says what a fault should
lead to: what is expected is read from the sandbox's books after the payer has paid.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event, select

from gateway.accounts.epoch import ensure_epoch
from gateway.accounts.noting import new_by
from gateway.accounts.system import System
from gateway.config import parse
from gateway.domain.money import Money
from gateway.domain.order import Order
from gateway.ledger import database
from gateway.ledger.migrate import migrate
from gateway.ledger.sales import credits_due, orders, payment_differences, payments
from gateway.ledger.sales import refunds as refunds_table
from gateway.payments import books, comparison, polling, refunds, webhooks
from gateway.payments.orders import top_up
from gateway.payments.provider import Provider, ProviderUnavailable, WebhookRefused
from gateway.payments.xendit import Xendit
from gateway.store import calls
from tests.payments.shop import SOLD
from tests.support.config import config_text
from tests.support.sandbox import Clock, Sandbox

FAULTS: Mapping[str, Any] = {
    "duplicate": 3,
    "reordered": True,
    "dropped": True,
    "late": True,
    "wrong_amount": True,
    "wrong_currency": True,
    "wrong_token": True,
    "slow_create": 60,
    "lost_create": 1,
    "lost_refund": 1,
    "failed_refund": True,
    "unavailable": 1,
    "slow_webhook": 60,
}
#: None, each alone, and all pairs.
COMBINED = [faults for number in range(3) for faults in itertools.combinations(FAULTS, number)]
HOWS = [f"{first} first{lost}" for first in ("webhook", "poll") for lost in ("", ", webhooks lost")]
PRICE, UNITS = Money(1_000_000, "IDR"), 1000


@dataclass
class Market:
    """A system, its one provider, and the clock of both."""

    system: System
    sandbox: Sandbox
    provider: Provider

    def named(self, name: str) -> Provider:
        assert name == self.provider.name
        return self.provider

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────────

    def order(self) -> Order:
        """A payer asks until there is an answer, three times at the most; the order is there in any case."""
        for _ in range(3):
            try:
                return top_up(
                    self.system, self.provider, "ada", package="plain", units=None, method="qris", channel="",
                    write_id="w1",
                )  # fmt: skip
            except ProviderUnavailable:
                continue
        known = books.by_write(self.system.ledger, "w1")
        assert known is not None
        return known

    def hear(self) -> None:
        """All webhooks that the sandbox posts."""
        self.sandbox.deliver(self._post)

    def poll(self, rounds: int = 1) -> None:
        """Rounds of the poller, each when the next order or refund is due."""
        for _ in range(rounds):
            with self.system.ledger.connect() as connection:
                due = [
                    at
                    for column in (orders.c.next_poll_at, refunds_table.c.next_poll_at)
                    for at in connection.execute(select(column)).scalars()
                    if at is not None
                ]
            if not due:
                return
            self.sandbox.clock.now = max(self.sandbox.clock.now, min(due))
            polling.poll_due(self.system, self)
            refunds.poll_due(self.system, self)

    def _post(self, headers: dict[str, str], body: bytes) -> int:
        try:
            webhooks.receive(self.system, self, "xendit", {k.lower(): v for k, v in headers.items()}, body)
        except WebhookRefused:
            return 401
        return 200

    # ── what stands ──────────────────────────────────────────────────────────────────────────────────────────────────

    def right_payments(self, order: Order) -> int:
        """How often the order was paid as it should be, in the provider's books."""
        return sum(
            Money(each["captures"][0]["capture_amount"] * 100, each["currency"]) == PRICE
            for each in self.sandbox.paid(order.id)
        )

    def given_back(self) -> bool:
        """Whether money went back, in the provider's books."""
        return any(each["status"] == "SUCCEEDED" for each in self.sandbox.bank.refunds.values())

    def bought(self) -> int:
        """What the account has of what it paid for."""
        account = self.system.runner.run(calls.peek(self.system.keys.account("ada"), now_ms=self.system.script_ms))
        return 0 if account is None else sum(bucket.left for bucket in account.buckets if bucket.id != "signup")

    def count(self, table: Any, *which: Any) -> int:
        with self.system.ledger.connect() as connection:
            return len(connection.execute(select(table).where(*which)).all())


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One SQLite for all cases; what it writes need not outlive the machine."""
    engine = database.connect(database.sqlite_url(tmp_path_factory.mktemp("faults")))
    migrate(engine)
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def xendit() -> Iterator[tuple[Sandbox, Xendit]]:
    sandbox = Sandbox()
    provider = Xendit(sandbox.settings(), transport=sandbox.transport)
    yield sandbox, provider
    provider.close()


@pytest.fixture
def market(redis_client: redis.Redis, engine: Engine, xendit: tuple[Sandbox, Xendit]) -> Market:
    sandbox, provider = xendit
    sandbox.bank.reset()
    sandbox.clock.now = Clock().now
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM credits_due")
        for table in ("orders", "payments", "webhook_events", "refunds", "payment_differences"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    config = parse(config_text() + SOLD, "config.toml", {})
    system = System(config, redis_client, engine, sandbox.clock)
    ensure_epoch(system, "a test")
    return Market(system, sandbox, provider)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("faults", COMBINED, ids=" ".join)
def test_an_order_ends_as_the_providers_record_says(market: Market, faults: tuple[str, ...], how: str) -> None:
    # Given an order that is asked for, and paid, while all this goes wrong,
    switches = {name: FAULTS[name] for name in faults}
    market.sandbox.fault(**switches)
    order = market.order()
    if "late" in faults:
        market.sandbox.clock.forward(hours=49)
        market.poll(2)
    market.sandbox.fault(**switches)
    market.sandbox.pay(order.id)

    # when it is heard of in this order,
    first = how.split(maxsplit=1)[0]
    for what in ("webhook", "poll") if first == "webhook" else ("poll", "webhook"):
        if what == "poll":
            market.poll(3)
        elif "lost" not in how:
            market.hear()
    market.poll(12)

    # then it is credited as often as it was rightly paid, which is once at the most.
    times = market.right_payments(order)
    order = books.find(market.system.ledger, order.id)
    assert times in (0, 1)
    assert order.state == ("credited" if times else "review")
    assert market.bought() == times * UNITS
    assert market.count(credits_due) == market.count(payments, payments.c.counted) == times
    assert market.count(payments) == len(market.sandbox.paid(order.id)) == 1

    # And where it is given back, the account has either its money or its units.
    if times and {"lost_refund", "failed_refund"} & set(faults):
        market.sandbox.fault(**switches)
        refunds.refund(market.system, market, new_by("admin:olga", "asked for"), order, None)
        if "lost" not in how:
            market.hear()
        market.poll(3)
        assert market.bought() == (0 if market.given_back() else UNITS)
        is_back = books.find(market.system.ledger, order.id).state == "refunded"
        assert is_back == market.given_back() == ("failed_refund" not in faults)

    # The books agree, whatever way it took.
    now = market.sandbox.clock.now
    market.sandbox.fault(unavailable=0)
    comparison.compare(market.system, market, now - timedelta(days=12), now + timedelta(minutes=1))
    assert market.count(payment_differences) == 0


def test_the_table_has_every_switch_of_the_sandbox(market: Market) -> None:
    assert set(FAULTS) == set(market.sandbox.bank.faults.as_json())
