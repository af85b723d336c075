"""Orders: what somebody wants to pay for, and the states it goes through. Decided here, from what the provider says.

    created → pending → paid → credited → refunded
       └────────┴→ expired, failed, canceled ─(paid after all)→ paid
       whatever was paid otherwise than ordered → review → paid, refunded or failed, as an operator decides

`created`: we have it, the provider perhaps. `pending`: the provider waits for the money. `paid`: the provider has it.
`credited`: the account has what was bought. An order is never deleted, and each step of it is a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gateway.domain.money import Money

CREATED, PENDING, PAID, CREDITED = "created", "pending", "paid", "credited"
EXPIRED, FAILED, CANCELED, REFUNDED, REVIEW = "expired", "failed", "canceled", "refunded", "review"
STATES = (CREATED, PENDING, PAID, CREDITED, EXPIRED, FAILED, CANCELED, REFUNDED, REVIEW)

#: Where an order can go from each state.
TRANSITIONS: Mapping[str, frozenset[str]] = {
    CREATED: frozenset((PENDING, PAID, REVIEW, EXPIRED, FAILED, CANCELED)),
    PENDING: frozenset((PAID, REVIEW, EXPIRED, FAILED, CANCELED)),
    EXPIRED: frozenset((PAID, REVIEW)),
    FAILED: frozenset((PAID, REVIEW)),
    CANCELED: frozenset((PAID, REVIEW)),
    PAID: frozenset((CREDITED,)),
    CREDITED: frozenset((REFUNDED,)),
    REVIEW: frozenset((PAID, REFUNDED, FAILED)),
    REFUNDED: frozenset(),
}
#: Those in which money may still come.
UNPAID = frozenset((CREATED, PENDING, EXPIRED, FAILED, CANCELED))
#: Those in which its payer may still be expected to pay.
OPEN = frozenset((CREATED, PENDING))

#: What an order is for.
TOPUP, SUBSCRIPTION = "topup", "subscription"

#: How it is paid: a QR code of QRIS, the number of a bank's virtual account, a page of the provider's.
QRIS, VA, LINK = "qris", "va", "link"
METHODS = (QRIS, VA, LINK)


@dataclass(frozen=True, slots=True)
class Instruction:
    """How to pay: one of the three."""

    #: What the QR code says.
    qr_string: str = ""
    #: The number that is paid to, at the bank of the order's channel.
    va_number: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it stands. Units are the smallest ones of balances."""

    #: Also the provider's `reference_id`: unique for good.
    id: str
    account: str
    #: TOPUP or SUBSCRIPTION.
    purpose: str
    #: The package or the plan by its name; "" for a number of units.
    item: str
    #: What is bought, and what is given on top.
    units: int
    bonus: int
    #: What was bought lapses so many days after the payment; 0: never.
    valid_days: int
    price: Money
    provider: str
    #: One of METHODS, and the bank or channel in the provider's words; "" where the method has one alone.
    method: str
    channel: str
    #: One of STATES.
    state: str
    created_at: datetime
    updated_at: datetime
    #: The provider's own id of it; "": it has not answered yet.
    provider_id: str = ""
    instruction: Instruction = field(default_factory=Instruction)
    #: Until when it can be paid. None: the provider has not said.
    expires_at: datetime | None = None
    paid_at: datetime | None = None
    credited_at: datetime | None = None
    #: Of a subscription: its id, and which of its periods is paid for.
    subscription: str = ""
    period: int = 0
    #: Why the provider refused it, or what is to be reviewed.
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What the provider says of an order: the only thing that makes one paid."""

    #: Ours.
    reference_id: str
    #: The provider's id of the order, and of the payment, where there is one.
    provider_id: str
    #: "open", "paid", "expired", "failed" or "canceled".
    state: str
    payment_id: str = ""
    #: What was paid, or is to be.
    money: Money | None = None
    channel: str = ""
    paid_at: datetime | None = None
    #: Why it failed, in the provider's words.
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an order goes, and why."""

    state: str
    note: str = ""


def next_step(order: Order, found: Found) -> Step | None:
    """Where what the provider says takes an order; None: it stays where it is.

    Money that came is never lost: it makes an expired, failed or canceled order paid. Another amount, or another
    currency, than was ordered is for people to look at.
    """
    if order.state not in UNPAID:
        return None
    match found.state:
        case "paid" if not found.payment_id:
            return Step(REVIEW, "the provider says that it is paid, and names no payment")
        case "paid" if found.money is None or found.money != order.price:
            return Step(REVIEW, f"{found.money or 'nothing that we can read'} was paid, and {order.price} was ordered")
        case "paid":
            return Step(PAID)
        case "open":
            return Step(PENDING) if order.state == CREATED else None
        case "expired" | "failed" | "canceled" if order.state in OPEN:
            return Step(found.state, found.reason)
    return None


def facts(order: Order) -> dict[str, Any]:
    """What logs and notices may say of an order: nothing of how it is paid."""
    return {"order": order.id, "state": order.state, "price": str(order.price), "units": order.units}
