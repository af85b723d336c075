"""Brings a subscription into Redis: the account's tier, with its end, and what it is no longer to have.

Repeatable, by anyone: whoever writes what they read looks again whether that still stands. An account moves to the
tier after the end by itself (`lua/lib/account.lua`), so nothing here has to be on time. What an operator makes of an
account's tier stands until its next payment: it is known by having no end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select

from gateway.accounts import epoch, payouts
from gateway.accounts.system import System
from gateway.domain.reservation import Account
from gateway.domain.subscription import ACTIVE, ENDED, GRACE, PENDING, Subscription
from gateway.ledger.sales import credits_due, subscription_steps, subscriptions
from gateway.ledger.tables import accounts
from gateway.store import acts, calls
from gateway.subscriptions import course, rows


def apply(system: System, id: str, *, paid: bool = False) -> Subscription:
    """Makes Redis agree with a subscription: the allowance of its period, and the tier. Returns it as it stands then.
    `paid`: its account gets the tier whoever has moved it since. Raises NotFound, StoreUnavailable, and what redis-py
    raises: it is to be repeated then."""
    it = rows.find(system.ledger, id)
    while True:
        _grant(system, it)
        _write(system, it, paid=paid)
        stands = rows.find(system.ledger, id)
        if stands == it:
            return it
        it = stands


def reapply(system: System) -> int:
    """Says once more on which tier accounts are, and until when: after a restore, as the ledger's table of accounts
    knows the tier alone, and after Redis came back from an older copy. What somebody has made of an account's tier
    since it was last paid is left as it is. Returns how many accounts were changed."""
    done = 0
    for it, tier, was_lost in _subscribers(system):
        before = _standing(system, it)
        if before is None:
            continue
        if it.state != ENDED:
            _write(system, it, paid=was_lost)
        elif before.tier == tier and _running(system, it.account) is None:
            _move(system, it, _Terms(it.tier_after, None, ""))
        done += _standing(system, it) != before
    return done


def grants(system: System, it: Subscription) -> dict[str, int]:
    """The grants of the period that runs, and what each adds to its allowance: what was given again, nothing."""
    return {row.id: row.amount if row.kind == "SUBSCRIPTION" else 0 for row in _due(system, it)}


class _Terms(NamedTuple):
    """On which tier an account is, until when (None: for good), and on which one then."""

    tier: str
    ends_ms: int | None
    after: str


def _grant(system: System, it: Subscription) -> None:
    for cause in sorted({row.cause for row in _due(system, it)}):
        payouts.pay(system, cause)


def _write(system: System, it: Subscription, *, paid: bool = False) -> None:
    key = system.keys.account(it.account)
    account = system.runner.run(calls.peek(key, now_ms=system.script_ms))
    if account is None:
        epoch.check_known(system, it.account)
    if it.state == PENDING:
        return
    if it.state == ENDED:
        _end(system, it, account)
        return
    if account is None:  # It opens as any other, with the sign-up grant of the tier that it comes from.
        system.runner.run(calls.open_account(key, system.tier(it.tier_after), now_ms=system.script_ms))
    terms = _terms(system, it)
    # A period that was paid ahead on another tier finds its account there already, without an end.
    is_its = account is None or account.tier_ends_ms is not None or (terms is not None and account.tier == terms.tier)
    if terms is not None and (paid or is_its):
        _move(system, it, terms)


def _end(system: System, it: Subscription, account: Account | None) -> None:
    """Takes back what a subscription gave. An account without an end to its tier was moved by somebody since; so was
    one whose next subscription runs."""
    if account is not None and account.tier_ends_ms is not None and _running(system, it.account) is None:
        _move(system, it, _Terms(it.tier_after, None, ""))
        if (other := _running(system, it.account)) is not None:  # It has begun meanwhile.
            _write(system, other, paid=True)
    if it.was_cut_short:
        _void(system, it)


def _running(system: System, account: str) -> Subscription | None:
    """The account's subscription whose tier it is on by now."""
    it = rows.newest(system.ledger, account)
    return it if it is not None and it.state in (ACTIVE, GRACE) else None


def _void(system: System, it: Subscription) -> None:
    for row in _due(system, it):
        reason = f"subscription {it.id} was canceled"
        call = acts.void(system.keys.account(it.account), f"end-{it.id}", row.id, reason, now_ms=system.script_ms)
        system.runner.run(call)
    system.nudge(it.account)


def _due(system: System, it: Subscription) -> Sequence[Row[Any, Any, Any, Any]]:
    """What the running period gives: id, kind, cause and amount of each grant. A change of plan adds one, and so does a
    refund that failed."""
    name = course.grants_of(it.id, it.period)
    is_its = (credits_due.c.id == name) | credits_due.c.id.startswith(f"{name}:", autoescape=True)
    is_of_account = credits_due.c.account == it.account
    causes = select(credits_due.c.cause).where(is_of_account, is_its)
    query = select(credits_due.c.id, credits_due.c.kind, credits_due.c.cause, credits_due.c.amount)
    with system.ledger.connect() as connection:
        return connection.execute(query.where(is_of_account, credits_due.c.cause.in_(causes))).all()


def _terms(system: System, it: Subscription) -> _Terms | None:
    """None: the config has its plan no more, and its account stays as it is until its tier ends."""
    plan = system.config.plans.get(it.plan)
    if plan is None:
        return None
    coming = system.config.plans.get(it.next_plan) if it.next_order else None
    if coming is not None and coming.tier != plan.tier:
        return _Terms(plan.tier, _ms(it.period_ends_at), coming.tier)
    return _Terms(plan.tier, _ms(it.tier_ends_at), it.tier_after)


def _ms(at: datetime | None) -> int | None:
    return None if at is None else round(at.timestamp() * 1000)


def _move(system: System, it: Subscription, terms: _Terms) -> None:
    key = system.keys.account(it.account)
    known = system.runner.run(calls.peek(key, now_ms=system.script_ms))
    call = calls.open_account(
        key, system.tier(terms.tier), zone="" if known is None else known.zone, move=True,
        tier_ends_ms=terms.ends_ms or 0, tier_after=terms.after, now_ms=system.script_ms,
    )  # fmt: skip
    system.runner.run(call)
    system.nudge(it.account)


def _standing(system: System, it: Subscription) -> _Terms | None:
    account = system.runner.run(calls.peek(system.keys.account(it.account), now_ms=system.script_ms))
    return None if account is None else _Terms(account.tier, account.tier_ends_ms, account.tier_after)


def _subscribers(system: System) -> Iterator[tuple[Subscription, str, bool]]:
    """Those that live, and those that ended and whose accounts are on the tier of their plan all the same, by the
    ledger. With that tier, and whether the ledger has not heard that their last payment moved them there."""
    of_it = (subscription_steps.c.subscription == subscriptions.c.id) & (subscription_steps.c.act != "refunded")
    is_paid = of_it & subscription_steps.c.cause.startswith("order:")
    paid_at = select(func.max(subscription_steps.c.at)).where(is_paid).scalar_subquery()
    query = select(
        subscriptions, accounts.c.tier.label("has_tier"), (accounts.c.tier_set_at < paid_at).label("was_before")
    ).join(accounts, accounts.c.id == subscriptions.c.account)
    lives = subscriptions.c.state.in_((ACTIVE, GRACE))
    was_left = (subscriptions.c.state == ENDED) & (accounts.c.tier_set_at < subscriptions.c.ended_at)
    with system.ledger.connect() as connection:
        found = connection.execute(query.where(lives | was_left).order_by(subscriptions.c.id)).mappings().all()
    for row in found:
        plan = system.config.plans.get(row["plan"])
        if plan is not None and (row["state"] != ENDED or row["has_tier"] == plan.tier):
            yield rows.read(row), plan.tier, bool(row["was_before"]) and row["has_tier"] != plan.tier
