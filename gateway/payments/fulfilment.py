"""What a paid order gives, by its purpose, and what of it can be taken back: credits, or a period of a subscription."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from gateway.accounts import epoch, payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.acts import Voided
from gateway.domain.catalog import BONUS_PRIORITY, BOUGHT_PRIORITY
from gateway.domain.order import TOPUP, Order
from gateway.ledger.erase import ERASED
from gateway.ledger.sales import credits_due
from gateway.rewards import referrals
from gateway.store import acts, calls
from gateway.store.acts import VoidKind
from gateway.subscriptions import applying, course

#: Ends the id of a grant that was given on top of what was paid for.
_BONUS = ":bonus"
#: What the ledger calls units that are taken back, and given again where the money stays.
TAKEN_BACK: VoidKind = "REVERSAL"


def cause(order: Order) -> str:
    """What the grants of an order name as theirs."""
    return f"order:{order.id}"


def due(connection: Connection, system: System, order: Order, now: datetime) -> list[Due] | str:
    """What an order that is paid now gives; called in the transaction that makes it paid. A text: why people are to
    look at it first."""
    if order.account.startswith(ERASED):
        return "its account was erased"
    if order.purpose == TOPUP:
        return _credits(order, now)
    return course.paid(connection, system.config, order, now)


def complete(system: System, order: Order) -> None:
    """Brings it into Redis; as often as it is called. Raises StoreUnavailable."""
    payouts.pay(system, cause(order))
    if order.subscription:
        applying.apply(system, order.subscription, paid=True)


def credited(system: System, order: Order) -> None:
    """What else follows, once an order is credited: it may be the first one of an account that another one brought."""
    referrals.on_credited(system, order.account)


def grants(system: System, order: Order) -> set[str]:
    """The ids of all that an order ever gave."""
    query = select(credits_due.c.id).where(credits_due.c.cause == cause(order), credits_due.c.account == order.account)
    with system.ledger.connect() as connection:
        return set(connection.execute(query).scalars())


def left(system: System, order: Order) -> dict[str, int]:
    """What an order's grants have left, by their ids: only those that have something. What open calls hold is not
    counted: it is theirs. Raises StoreUnavailable."""
    ids = grants(system, order)
    account = system.runner.run(calls.peek(system.keys.account(order.account), now_ms=system.script_ms))
    if account is None:
        epoch.check_known(system, order.account)
    buckets = () if account is None else account.buckets
    return {each.id: each.left for each in buckets if each.kind == "credits" and each.id in ids and each.left}


def take_back(system: System, order: Order, grants: Collection[str], id: str, reason: str) -> dict[str, int]:
    """Ends some of an order's grants, and takes what they have left. As often as it is called, it takes once, and says
    each time what that was, by the grants' ids. Raises StoreUnavailable."""
    taken = {}
    for grant in sorted(grants):
        call = acts.void(
            system.keys.account(order.account), id, grant, reason, kind=TAKEN_BACK, now_ms=system.script_ms
        )
        outcome = system.runner.run(call)
        if not isinstance(outcome, Voided):
            epoch.check_known(system, order.account)
        taken[grant] = outcome.amount if isinstance(outcome, Voided) else 0
    system.nudge(order.account)
    return taken


def unused(order: Order, taken: Mapping[str, int]) -> tuple[int, int]:
    """How much of what was paid for is not used, of how much: what `taken` holds of it. A bonus was not paid for; of a
    plan without an allowance nothing is unused."""
    bought = sum(units for grant, units in taken.items() if not grant.endswith(_BONUS))
    return min(bought, order.units), max(1, order.units)


def withdraw(connection: Connection, system: System, order: Order, now: datetime) -> bool:
    """Keeps a period from beginning that was paid ahead, as its money goes back; called in the transaction that says
    so. Returns whether there was one: then all that was paid for is unused."""
    return order.subscription != "" and course.withdraw(connection, system.config, order, now)


def give_back(
    connection: Connection, system: System, order: Order, taken: Mapping[str, int], refund: str, now: datetime
) -> list[Due]:
    """What is to be given again, on the same terms, because its money stays; called in the transaction that says so."""
    is_one = (credits_due.c.account == order.account) & credits_due.c.id.in_(taken)
    again = [
        Due(
            order.account, f"refund:{refund}:back" + (_BONUS if row.id.endswith(_BONUS) else ""), TAKEN_BACK,
            taken[row.id], f"refund {refund} failed", cause(order), row.priority, row.expires_at,
        )
        for row in connection.execute(select(credits_due).where(is_one).order_by(credits_due.c.id))
        if taken[row.id]
    ]  # fmt: skip
    return [*again, *course.keep(connection, system.config, order, now)] if order.subscription else again


def _credits(order: Order, now: datetime) -> list[Due]:
    name = order.item or f"{order.units} units"
    expires_at = payouts.expiry(now, order.valid_days)
    bought = Due(
        order.account, f"order:{order.id}", "TOP_UP", order.units, f"payment {order.id}: {name}", cause(order),
        BOUGHT_PRIORITY, expires_at,
    )  # fmt: skip
    if not order.bonus:
        return [bought]
    bonus = Due(
        order.account, f"order:{order.id}{_BONUS}", "REWARD", order.bonus, f"payment {order.id}: bonus of {name}",
        cause(order), BONUS_PRIORITY, expires_at,
    )  # fmt: skip
    return [bought, bonus]
