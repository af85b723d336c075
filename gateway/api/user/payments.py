"""`/api/payments`: credits that an account buys, from the price list to the picture that it pays by.

An order is made once a request: with an `Idempotency-Key` a repeat goes on with the order that the first one made, also
where the provider gave no answer to it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import ConfigDict, Field, StringConstraints

from gateway.accounts.system import System
from gateway.api import qr
from gateway.api.callers import Caller
from gateway.api.control import ProvidersOf, SystemOf
from gateway.api.models import Answer, Cursor, Input, Limit, Page, SomeUnits
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.errors import Conflicting, NotFound
from gateway.domain.money import Money
from gateway.domain.operation import PAYMENTS
from gateway.domain.order import FAILED, PENDING, STATES, VA, Order
from gateway.domain.principal import Principal, is_named
from gateway.payments import books, listing, orders, polling
from gateway.payments.provider import ProviderRefused
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused, Refusal

router = APIRouter(prefix="/api/payments", tags=["payments"], route_class=RepeatableRoute)

_NOBODY_S_OWN = Refusal(403, "account_not_eligible", "This account is nobody's own: nothing is bought for it.")


def _payer(caller: Caller) -> Principal:
    if not caller.may(PAYMENTS):
        raise CallRefused(INSUFFICIENT_SCOPE)
    if not is_named(caller.account):  # Of a license, or of whoever comes from an address.
        raise CallRefused(_NOBODY_S_OWN)
    return caller


#: The user who calls, for an account of their own, by a credential that may be used for this.
Payer = Annotated[Principal, Depends(_payer)]
MethodName = Literal["qris", "va", "link"]
State = Annotated[
    str | None, Query(description=f"Only in this state: {', '.join(STATES)}.", pattern=f"^({'|'.join(STATES)})$")
]
OrderId = Annotated[
    str, Path(pattern="^ord_[0-9a-z]{20}$", description="The payment's id.", examples=["ord_0123456789abcdefghjk"])
]


class MoneyAnswer(Answer):
    amount_minor: int = Field(description="In the currency's minor units, as ISO 4217 has them.", examples=[5_000_000])
    currency: str = Field(examples=["IDR"])
    text: str = Field(description="For people.", examples=["50000 IDR"])


class PackageAnswer(Answer):
    name: str
    title: str
    price: MoneyAnswer
    amount: int = Field(description="Units.")
    bonus: int = Field(description="Units that are given on top.")
    valid_days: int = Field(description="They lapse so many days after the payment; 0: never.")


class AnyAmountAnswer(Answer):
    """Any number of units, at a price a so many."""

    amount: int = Field(description="So many units cost `price`; any other number its share, rounded up.")
    price: MoneyAnswer
    min_amount: int
    max_amount: int
    valid_days: int


class MethodAnswer(Answer):
    method: MethodName
    channels: list[str] = Field(description="One of these must be named, such as the bank; empty: none is.")


class MethodsAnswer(Answer):
    is_sandbox: bool = Field(description="No real money is paid.")
    methods: list[MethodAnswer]
    unit: str
    decimals: int = Field(description="Places after the point, when amounts are shown to people.")
    packages: list[PackageAnswer] = Field(description="In the order of the config.")
    any_amount: AnyAmountAnswer | None = Field(description="null: only packages are sold.")


class TopUp(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"package": "small", "method": "qris"},
                {"amount": 1000, "method": "va", "channel": "BCA"},
            ]
        }
    )

    package: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="By its name; else `amount`."
    )
    amount: SomeUnits | None = Field(None, description="Units; else `package`.")
    method: MethodName
    channel: Annotated[str, StringConstraints(max_length=64)] = Field("", description="Of `va`: the bank.")


class InstructionAnswer(Answer):
    """How to pay: what is null is not of this method."""

    qr_string: str | None = Field(description="What the QR code says.")
    qr_svg_url: str | None = Field(description="The same as a picture, for whoever may see the payment.")
    qr_png_url: str | None
    va_number: str | None = Field(description="The number to pay to, at `bank`.")
    bank: str | None
    url: str | None = Field(description="The page to pay on.")


class PaymentAnswer(Answer):
    id: str
    state: str = Field(examples=list(STATES))
    purpose: Literal["topup", "subscription"]
    package: str | None = Field(description="Or the plan; null: a number of units.")
    amount: int = Field(description="Units that are bought.")
    bonus: int
    price: MoneyAnswer
    method: str
    channel: str
    instruction: InstructionAnswer | None = Field(description="Null when there is nothing to be paid.")
    expires_at: datetime | None = Field(description="Until when it can be paid.")
    created_at: datetime
    paid_at: datetime | None
    credited_at: datetime | None


@router.get("/methods", response_model=MethodsAnswer, responses=problems(), summary="What is sold, and how it is paid")
def read_methods(caller: Caller, system: SystemOf, providers: ProvidersOf) -> dict[str, Any]:
    """Without any method nothing is sold here."""
    config = system.config
    sold = config.payments.any_amount
    return {
        "is_sandbox": providers.is_sandbox,
        "methods": [{"method": name, "channels": channels} for name, channels in providers.methods().items()],
        "unit": config.unit,
        "decimals": config.decimals,
        "packages": [
            {
                "name": each.name, "title": each.title, "price": money(each.price), "amount": each.units,
                "bonus": each.bonus, "valid_days": each.valid_days,
            }
            for each in config.packages.values()
        ],
        "any_amount": None if sold is None else {
            "amount": sold.units, "price": money(sold.price), "min_amount": sold.min_units,
            "max_amount": sold.max_units, "valid_days": sold.valid_days,
        },
    }  # fmt: skip


@router.post("/topup", status_code=201, response_model=PaymentAnswer, responses=problems(409), summary="Buy credits")
def top_up(wanted: TopUp, caller: Payer, id: WriteId, system: SystemOf, providers: ProvidersOf) -> dict[str, Any]:
    """A package, or a number of units, with how to pay it. A credential with scopes needs `payments` among them, as all
    writes here do. When the provider gives no answer in time the code is `provider_unavailable`: the same request with
    the same `Idempotency-Key` goes on with the order."""
    providers.check(wanted.method, wanted.channel)
    order = orders.top_up(
        system, providers.for_new_orders(), caller.account, package=wanted.package, units=wanted.amount,
        method=wanted.method, channel=wanted.channel, write_id=id,
    )  # fmt: skip
    if order.state == FAILED:  # A repeat is refused as the first one was.
        raise ProviderRefused(order.note)
    return answer_of(order)


@router.get("", response_model=Page[PaymentAnswer], responses=problems(), summary="Payments, newest first")
def list_payments(
    caller: Caller, system: SystemOf, state: State = None, cursor: Cursor = None, limit: Limit = 50
) -> dict[str, Any]:
    """As they were heard of last; one by its id is asked for at the provider."""
    found = listing.of_account(system.ledger, caller.account, state=state, cursor=cursor, limit=limit)
    return {"items": [answer_of(order) for order in found.items], "next_cursor": found.next_cursor}


@router.get("/{id}", response_model=PaymentAnswer, responses=problems(), summary="One payment")
def read_payment(id: OrderId, caller: Caller, system: SystemOf, providers: ProvidersOf) -> dict[str, Any]:
    """As it stands at the provider now, which is asked every few seconds at the most."""
    return answer_of(polling.live(system, providers, _own(system, caller.account, id)))


@router.post("/{id}/cancel", response_model=PaymentAnswer, responses=problems(409), summary="Cancel a payment")
def cancel(id: OrderId, caller: Payer, write: WriteId, system: SystemOf, providers: ProvidersOf) -> dict[str, Any]:
    """Nobody can pay it any more then. One that was paid meanwhile is answered as paid."""
    return answer_of(polling.cancel(system, providers, _own(system, caller.account, id), "user"))


def _picture(kind: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return problems(409) | {200: {"description": "The picture.", "content": content}}


@router.get(
    "/{id}/qr.svg", response_class=Response, responses=_picture("image/svg+xml"), summary="Its QR code as an SVG"
)
def read_svg(id: OrderId, caller: Caller, system: SystemOf) -> Response:
    """With the white around it that a camera needs."""
    return Response(qr.svg(_code(_own(system, caller.account, id))), media_type="image/svg+xml")


@router.get("/{id}/qr.png", response_class=Response, responses=_picture("image/png"), summary="Its QR code as a PNG")
def read_png(id: OrderId, caller: Caller, system: SystemOf) -> Response:
    """The same as pixels."""
    return Response(qr.png(_code(_own(system, caller.account, id))), media_type="image/png")


def answer_of(order: Order) -> dict[str, Any]:
    """An order as its owner sees it."""
    return {
        "id": order.id, "state": order.state, "purpose": order.purpose, "package": order.item or None,
        "amount": order.units, "bonus": order.bonus, "price": money(order.price), "method": order.method,
        "channel": order.channel, "instruction": _instruction(order), "expires_at": order.expires_at,
        "created_at": order.created_at, "paid_at": order.paid_at, "credited_at": order.credited_at,
    }  # fmt: skip


def money(amount: Money) -> dict[str, Any]:
    return {"amount_minor": amount.minor, "currency": amount.currency, "text": str(amount)}


def _instruction(order: Order) -> dict[str, Any] | None:
    """Of an order that can be paid; nobody shall pay another one."""
    said = order.instruction
    if order.state != PENDING:
        return None
    path = f"/api/payments/{order.id}/qr"
    return {
        "qr_string": said.qr_string or None,
        "qr_svg_url": f"{path}.svg" if said.qr_string else None,
        "qr_png_url": f"{path}.png" if said.qr_string else None,
        "va_number": said.va_number or None,
        "bank": order.channel if order.method == VA else None,
        "url": said.url or None,
    }


def _code(order: Order) -> str:
    """What the order's QR code says. Raises Conflicting where there is none, or none to be paid any more."""
    if order.state != PENDING:
        raise Conflicting(f"payment {order.id} is {order.state}: it has no QR code to be paid by")
    if not order.instruction.qr_string:
        raise Conflicting(f"payment {order.id} is paid by {order.method}, without a QR code")
    return order.instruction.qr_string


def _own(system: System, account: str, id: str) -> Order:
    """An order of this account. Raises NotFound for another's too: whose it is, is nobody else's to know."""
    order = books.find(system.ledger, id)
    if order.account != account:
        raise NotFound(f"there is no payment {id!r}")
    return order
