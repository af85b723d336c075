"""A system that sells, and a provider without any wire: what a test says is paid, is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select

from gateway.accounts import balances
from gateway.accounts.noting import By
from gateway.accounts.system import System
from gateway.domain.acts import Adjusted
from gateway.domain.errors import NotFound
from gateway.domain.money import Money
from gateway.domain.order import Found, Instruction, Order
from gateway.ledger.sales import order_steps
from gateway.payments import books, crediting, orders, polling, webhooks
from gateway.payments.provider import (
    Created,
    Notification,
    ProviderRefused,
    ProviderUnavailable,
    RefundFound,
    RefundWanted,
    WebhookRefused,
)
from gateway.store import acts
from tests.support.sandbox import Clock

SOLD = """
[payments]
provider = "xendit"
[payments.xendit]
secret_key = "xnd_test"
callback_token = "token"
[payments.any_amount]
units = 1000
price = "16000 IDR"
min_units = 100
max_units = 1_000_000
[packages.small]
title = "Small"
price = "50000 IDR"
amount = 5000
bonus = 500
valid_days = 30
[packages.plain]
price = "10000 IDR"
amount = 1000
"""


@dataclass
class Till:
    """A provider that keeps what it is asked in memory."""

    name: str = "xendit"
    #: What it says of each order, by our reference.
    found: dict[str, Found] = field(default_factory=dict)
    #: What it says of an order by another of its own ids, as when a lost request was made all the same.
    others: dict[str, Found] = field(default_factory=dict)
    #: Raised by the next call of this name.
    faults: dict[str, Exception] = field(default_factory=dict)
    refunds: dict[str, RefundFound] = field(default_factory=dict)
    #: How a refund stands that is asked for now.
    refund_state: str = "succeeded"
    asked: list[str] = field(default_factory=list)

    def create(self, order: Order, *, return_url: str = "") -> Created:
        self._ask("create")
        id = f"pr-{len(self.asked)}"
        self.found[order.id] = Found(order.id, id, "open", money=order.price)
        self._break("lost create")
        return Created(id, Instruction(qr_string=f"QR {order.id}"), None)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notification:
        """Its webhooks are a token, and what they say in words: event, reference, its id, payment, refund."""
        if headers.get("x-token") != "right":
            raise WebhookRefused("the token is not ours")
        event, *ids = body.decode("utf-8", "surrogatepass").split(" ")
        return Notification(body.decode("utf-8", "surrogatepass"), event, *ids)

    def fetch(self, order: Order, provider_id: str = "") -> Found | None:
        self._ask("fetch")
        return self.others.get(provider_id) or self.found.get(order.id)

    def cancel(self, order: Order) -> Found:
        self._ask("cancel")
        if self.found[order.id].state == "open":
            self.say(order.id, state="canceled")
        return self.found[order.id]

    def refund(self, wanted: RefundWanted) -> RefundFound:
        self._ask("refund")
        if wanted.payment_id not in {each.payment_id for each in (*self.found.values(), *self.others.values())}:
            raise ProviderRefused("no such payment")
        found = self.refunds.setdefault(wanted.id, RefundFound(f"rfd-{wanted.id}", self.refund_state))
        self._break("lost refund")
        return found

    def fetch_refund(self, wanted: RefundWanted, provider_id: str) -> RefundFound | None:
        self._ask("fetch_refund")
        return self.refunds.get(wanted.id)

    def payments(self, since: datetime, until: datetime) -> Iterator[Found]:
        self._ask("payments")
        paid = [each for each in (*self.found.values(), *self.others.values()) if each.state == "paid"]
        yield from (each for each in paid if each.paid_at is None or since <= each.paid_at < until)

    def close(self) -> None:
        pass

    def named(self, name: str) -> Till:
        """The only one that is set up."""
        if name != self.name:
            raise ProviderUnavailable(f"{name} is not set up")
        return self

    # ── what a test makes of it ──────────────────────────────────────────────────────────────────────────────────────

    def say(self, order: str, **changes: Any) -> Found:
        """What it says of an order from now on."""
        self.found[order] = replace(self.found[order], **changes)
        return self.found[order]

    def pay(self, order: str, money: Money | None = None, payment: str = "") -> Found:
        changes: dict[str, Any] = {} if money is None else {"money": money}
        return self.say(order, state="paid", payment_id=payment or f"py-{order}", **changes)

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        self._break(what)

    def _break(self, what: str) -> None:
        if what in self.faults:
            raise self.faults.pop(what)


class Shop:
    def __init__(self, system: System, clock: Clock) -> None:
        self.system = system
        self.clock = clock
        self.till = Till()

    def order(self, package: str = "plain", account: str = "ada", write_id: str = "w1", **wanted: Any) -> Order:
        asked = {"package": package, "units": None, "method": "qris", "channel": ""} | wanted
        return orders.top_up(self.system, self.till, account, write_id=write_id, **asked)

    def take(self, order: str, cause: str = "poll") -> Order:
        """What a poll makes of what the provider says now."""
        return crediting.take(self.system, order, self.till.found[order], cause)

    def bought(self, package: str = "plain", account: str = "ada", write_id: str = "w1", **wanted: Any) -> Order:
        """An order that is paid and credited."""
        order = self.order(package, account, write_id, **wanted)
        self.till.pay(order.id)
        return self.take(order.id)

    def hear(self, event: str, order: Order, payment: str = "", token: str = "right", **ids: str) -> webhooks.Outcome:
        """A webhook of the provider's."""
        words = (event, ids.get("reference", order.id), ids.get("provider_id", order.provider_id), payment)
        body = " ".join((*words, ids.get("refund", "")))
        return webhooks.receive(
            self.system, self.till, "xendit", {"x-token": token}, body.encode("utf-8", "surrogatepass")
        )

    def poll(self) -> int:
        """One round of the poller."""
        return polling.poll_due(self.system, self.till)

    def by(self, id: str = "act-1", reason: str = "they asked") -> By:
        return By(id, "admin:olga", reason)

    def rows(self, table: Table) -> list[Any]:
        with self.system.ledger.connect() as connection:
            return list(connection.execute(select(table)).all())

    def spend(self, units: int, account: str = "ada") -> None:
        """As calls do."""
        key = self.system.keys.account(account)
        taken = self.system.runner.run(acts.adjust(key, f"spent {units}", units, "spent", now_ms=self.system.script_ms))
        assert isinstance(taken, Adjusted), taken

    def find(self, order: str) -> Order:
        return books.find(self.system.ledger, order)

    def left(self, account: str = "ada") -> int:
        return balances.read(self.system, account).account.left

    def left_or_nothing(self, account: str = "ada") -> int:
        """0 for an account that nothing has opened."""
        try:
            return self.left(account)
        except NotFound:
            return 0

    def states(self, order: str) -> list[str]:
        """Every state that an order was in."""
        query = select(order_steps.c.state).where(order_steps.c.order == order).order_by(order_steps.c.number)
        with self.system.ledger.connect() as connection:
            return list(connection.execute(query).scalars())
