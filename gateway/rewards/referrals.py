"""Referrals: an account says who brought it, and both are rewarded once it has paid, or called, for the first time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, insert, or_, select, text, update

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.catalog import Referral
from gateway.domain.errors import NotFound
from gateway.domain.order import CREDITED
from gateway.ledger import bulk
from gateway.ledger.sales import orders, referral_codes, referrals
from gateway.ledger.tables import accounts
from gateway.rewards import tries, words
from gateway.rewards.recipient import Recipient, RewardRefused, recipient

log = logging.getLogger("quotagate")

#: How many the worker decides at a time.
BATCH = 500
#: Forty bits: whoever has it gains something by spreading it.
_CODE_LENGTH = 8
#: Of a chain of referrers longer than this nobody knows where it ends, and no account is added to it.
_LONGEST_CHAIN = 1000


class Overview(NamedTuple):
    """An account as a referrer."""

    code: str
    rule: Referral
    #: Accounts that named it: those that it was rewarded for, and those that may still come to it.
    rewarded: int
    waiting: int
    #: Whether the account itself has named who brought it.
    is_referred: bool


def overview(system: System, account: str) -> Overview:
    """How an account can refer others, and did. Its code is made when it is first asked for.

    Raises NotFound where referrals are not rewarded; RewardRefused as `account_not_eligible`; NotAdmitted for an
    account that is suspended.
    """
    rule = _rule(system)
    recipient(system, account)
    code = _own_code(system, account)
    its, is_rewarded = referrals.c.referrer == account, referrals.c.rewarded_at.is_not(None)
    with system.ledger.connect() as connection:
        rewarded = _count(connection, its & is_rewarded)
        waiting = _count(connection, its & _WAITING)
        is_referred = _count(connection, referrals.c.account == account) > 0
    return Overview(code, rule, rewarded, waiting, is_referred)


def refer(system: System, account: str, code: str) -> None:
    """Notes who brought an account, by the referrer's code. The same code again changes nothing.

    Raises NotFound for a code that there is not, and where referrals are not rewarded; RewardRefused as
    `already_referred`, `referral_too_late`, `referral_not_possible` (its own code, or one of an account that it brought
    itself, at whatever remove), `too_many_tries`, `account_not_eligible`; NotAdmitted for an account that is suspended.
    """
    rule, now = _rule(system), system.now()
    who = recipient(system, account)
    with tries.counted(system, account):
        referrer = _owner(system, code)
    _check_referrer(system, account, referrer)
    with system.ledger.begin() as connection:
        _alone(connection)
        known = connection.execute(select(referrals.c.referrer).where(referrals.c.account == account)).scalar()
        if known == referrer:
            return
        if known is not None:
            raise RewardRefused("already_referred", "this account has named who brought it, and can do so once")
        _check_time(connection, rule, who, now)
        if account in _chain(connection, referrer):
            raise RewardRefused("referral_not_possible", "this code is of an account that you have brought yourself")
        connection.execute(insert(referrals).values(account=account, referrer=referrer, at=now))


def settle_due(system: System) -> int:
    """Rewards the referrals whose time has come, up to `BATCH` of them. Returns how many were decided."""
    rule = system.config.rewards.referral
    return 0 if rule is None else _settle(system, rule, _WAITING)


def on_credited(system: System, account: str) -> None:
    """Does the same for the referral of one account, whose order was credited: its referrer waits for no clock."""
    rule = system.config.rewards.referral
    if rule is not None and rule.when == "first_order":
        _settle(system, rule, _WAITING & (referrals.c.account == account))


# ── named ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rule(system: System) -> Referral:
    rule = system.config.rewards.referral
    if rule is None:
        raise NotFound("referrals are not rewarded here")
    return rule


def _own_code(system: System, account: str) -> str:
    query = select(referral_codes.c.code).where(referral_codes.c.account == account)
    while True:
        with system.ledger.begin() as connection:
            code: str | None = connection.execute(query).scalar()
            if code is not None:
                return code
            # Whoever has made the account's, or another account's like it, in this moment: it is looked for again.
            made = {"account": account, "code": words.new(_CODE_LENGTH), "created_at": system.now()}
            bulk.insert_once(connection, referral_codes, made)


def _owner(system: System, code: str) -> str:
    with system.ledger.connect() as connection:
        for reading in words.readings(code):
            query = select(referral_codes.c.account).where(referral_codes.c.code == reading)
            owner: str | None = connection.execute(query).scalar()
            if owner is not None:
                return owner
    raise NotFound("there is no such referral code")


def _check_referrer(system: System, account: str, referrer: str) -> None:
    if referrer == account:
        raise RewardRefused("referral_not_possible", "this code is your own")
    try:
        recipient(system, referrer)
    except (NotAdmitted, RewardRefused):
        raise RewardRefused("referral_not_possible", "the account that this code belongs to cannot refer") from None


def _check_time(connection: Connection, rule: Referral, who: Recipient, now: datetime) -> None:
    if who.first_seen_at is not None and now - who.first_seen_at > timedelta(days=rule.within_days):
        raise RewardRefused("referral_too_late", f"an account can name who brought it for {rule.within_days} days")
    has_paid = (orders.c.account == who.account) & orders.c.paid_at.is_not(None)
    if rule.when == "first_order" and connection.execute(select(exists().where(has_paid))).scalar():
        raise RewardRefused("referral_too_late", "an account can name who brought it until it pays its first order")


def _chain(connection: Connection, account: str) -> Iterator[str]:
    """The account, who brought it, who brought that one …"""
    for _ in range(_LONGEST_CHAIN):
        yield account
        found = connection.execute(select(referrals.c.referrer).where(referrals.c.account == account)).scalar()
        if found is None:
            return
        account = found
    raise RewardRefused("referral_not_possible", "the account that this code belongs to cannot refer any more")


def _alone(connection: Connection) -> None:
    """Lets one referral be noted at a time: two at once could close a loop that neither of them sees."""
    bulk.begin(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE referrals IN SHARE ROW EXCLUSIVE MODE"))


# ── rewarded ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#: In these words, so that their index is used.
_WAITING = referrals.c.rewarded_at.is_(None) & text("refused = ''")


def _settle(system: System, rule: Referral, which: ColumnElement[bool]) -> int:
    query = select(referrals.c.account, referrals.c.referrer).where(which, _has_come(rule), ~_is_suspended())
    with system.ledger.connect() as connection:
        due = connection.execute(query.order_by(referrals.c.at).limit(BATCH)).all()
    for account, referrer in due:
        _decide(system, rule, account, referrer)
    return len(due)


def _has_come(rule: Referral) -> ColumnElement[bool]:
    """Whether the referred account has done what it takes."""
    if rule.when == "first_order":
        return exists().where(orders.c.account == referrals.c.account, orders.c.state == CREDITED)
    return exists().where(accounts.c.id == referrals.c.account, accounts.c.requests > 0)


def _is_suspended() -> ColumnElement[bool]:
    """Whether one of the two is: they wait until it is resumed."""
    is_one = or_(accounts.c.id == referrals.c.account, accounts.c.id == referrals.c.referrer)
    return exists().where(is_one, accounts.c.status != "active")


def _decide(system: System, rule: Referral, account: str, referrer: str) -> None:
    """Rewards both once, or refuses it for good where the referrer has had as much as it may."""
    now = system.now()
    expires_at, priority = payouts.expiry(now, rule.valid_days), system.config.rewards.priority
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        # Referrals of one referrer are counted one after the other.
        its_code = select(referral_codes.c.code).where(referral_codes.c.account == referrer)
        connection.execute(its_code.with_for_update())
        before = _count(connection, (referrals.c.referrer == referrer) & referrals.c.rewarded_at.is_not(None))
        outcome: dict[str, object] = {"rewarded_at": now}
        if before >= rule.most:
            outcome = {"refused": f"the referrer was rewarded for {before} accounts before"}
        waiting = update(referrals).where(referrals.c.account == account, _WAITING)
        if connection.execute(waiting.values(outcome)).rowcount != 1 or "refused" in outcome:
            return
        # Neither is told the other's id.
        given = [
            Due(who, id, "REFERRAL", amount, reason, id, priority, expires_at)
            for who, id, amount, reason in (
                (referrer, f"referral:{before + 1}", rule.referrer, "an account that you brought"),
                (account, "referral:own", rule.referred, "you were brought by another account"),
            )
            if amount
        ]
        payouts.owe(connection, sorted(given, key=lambda due: due.account), now)
    for each in given:
        payouts.pay_now(system, each.cause, each.account)


def _count(connection: Connection, which: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(referrals).where(which)).scalar_one())
