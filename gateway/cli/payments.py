"""`quotagate payments`: what was ordered and paid, asked about, decided, given back and compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DataOption, JsonOption, actor, opened

if TYPE_CHECKING:
    from gateway.domain.money import Money
    from gateway.domain.order import Order
    from gateway.payments.listing import Whole

payments_app = typer.Typer(help="Payments: listed, checked, reviewed, refunded, compared.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="The payment's id.")]
#: What belongs to a payment, and what is told of each.
_PARTS = {
    "steps": ("number", "at", "state_before", "state", "cause", "note"),
    "payments": ("id", "amount", "currency", "channel", "paid_at", "counted"),
    "refunds": ("id", "amount", "currency", "units", "state", "actor", "reason", "note"),
    "events": ("event", "received_at", "times", "outcome", "note"),
}
ReasonOption = Annotated[str, typer.Option(help="For the audit log.")]


class Decision(StrEnum):
    """What can become of a payment that is in review."""

    credit = "credit"
    refund = "refund"
    dismiss = "dismiss"


@payments_app.command("list")
def list_payments(
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as review.")] = None,
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 50,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List payments, newest first."""
    from gateway.domain.errors import RefusedInput
    from gateway.domain.order import STATES
    from gateway.payments import listing

    if state is not None and state not in STATES:
        raise RefusedInput(f'state = "{state}": must be one of {", ".join(STATES)}')
    with opened(config, data) as system:
        found = listing.listed(system.ledger, state=state, account=account, limit=limit)
        show.rows("payments", (_row(order) for order in found.items), json)


@payments_app.command("show")
def show_payment(
    id: IdArgument, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """Show a payment: how it stands, and every step that it took."""
    from gateway.payments import books, listing

    with opened(config, data) as system:
        whole = listing.whole(system.ledger, books.find(system.ledger, id))
        if json:
            show.line(_row(whole.order) | {name: list(_part(whole, name)) for name in _PARTS})
            return
        show.rows(f"payment {id}", [_row(whole.order)], json)
        for name in _PARTS:
            show.rows(name, _part(whole, name), json)


@payments_app.command()
def check(id: IdArgument, config: ConfigOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """Ask the provider about a payment now, and do what follows from its answer."""
    from gateway.accounts.noting import new_by
    from gateway.payments import books, polling, providers

    with opened(config, data) as system:
        order = books.find(system.ledger, id)
        _tell(polling.check(system, providers.of(system.config), new_by(actor()), order), json)


@payments_app.command()
def review(
    id: IdArgument,
    decision: Annotated[Decision, typer.Option(help="credit: as it was ordered; refund: all of it; dismiss: neither.")],
    reason: ReasonOption,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Decide about a payment that is in review."""
    from gateway.accounts.noting import new_by
    from gateway.payments import books, providers
    from gateway.payments import review as acts

    with opened(config, data) as system:
        order, by = books.find(system.ledger, id), new_by(actor(), reason)
        _tell(acts.decide(system, providers.of(system.config), by, order, decision.value), json)


@payments_app.command()
def refund(
    id: IdArgument,
    reason: ReasonOption,
    amount: Annotated[
        str | None, typer.Option(help='Such as "10000 IDR".', show_default="what was not used, at its price")
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Take back what was not used, and give the money back."""
    from gateway.accounts.noting import new_by
    from gateway.payments import books, providers, refunds

    with opened(config, data) as system:
        order, money = books.find(system.ledger, id), None if amount is None else _money(amount)
        refunds.refund(system, providers.of(system.config), new_by(actor(), reason), order, money)
        _tell(books.find(system.ledger, id), json)


@payments_app.command()
def compare(
    days: Annotated[int, typer.Option(help="How many days to look back.", min=1, max=90)] = 2,
    config: ConfigOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Compare the provider's payments with ours, and credit what was not. Exits with 1 when they differ."""
    from gateway.payments import comparison, differences, providers

    with opened(config, data) as system:
        until = system.now()
        comparison.compare(system, providers.of(system.config), until - timedelta(days=days), until)
        found = differences.listed(system.ledger, limit=1000).items
        show.rows("differences that nobody has looked at", found, json)
    if found:
        raise typer.Exit(1)


def _part(whole: Whole, name: str) -> Iterator[dict[str, Any]]:
    return ({column: row[column] for column in _PARTS[name]} for row in getattr(whole, name))


def _money(text: str) -> Money:
    from gateway.domain.errors import RefusedInput
    from gateway.domain.money import parse_money

    try:
        return parse_money(text)
    except ValueError as error:
        raise RefusedInput(f"--amount {text!r}: {error}") from None


def _tell(order: Order, as_json: bool) -> None:
    if as_json:
        show.line(_row(order))
    else:
        typer.echo(f"payment {order.id} of account {order.account} is {order.state}{order.note and f': {order.note}'}")


def _row(order: Order) -> dict[str, Any]:
    """An order without how it is paid: whoever reads that could pay it."""
    return {
        "id": order.id,
        "account": order.account,
        "state": order.state,
        "purpose": order.purpose,
        "item": order.item,
        "units": order.units,
        "bonus": order.bonus,
        "price": str(order.price),
        "provider": order.provider,
        "method": order.method,
        "channel": order.channel,
        "created_at": order.created_at,
        "expires_at": order.expires_at,
        "paid_at": order.paid_at,
        "credited_at": order.credited_at,
        "note": order.note,
    }
