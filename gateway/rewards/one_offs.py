"""Rewards that an account has once: those that it claims itself, and those that operators give."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select

from gateway.accounts import payouts
from gateway.accounts.admission import NotAdmitted
from gateway.accounts.noting import By, of_account, once
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.catalog import OneOff
from gateway.domain.errors import Conflicting, NotFound
from gateway.ledger import bulk
from gateway.ledger.sales import claims
from gateway.rewards.recipient import RewardRefused, recipient


class OneOffState(NamedTuple):
    """A reward, and when the account had it."""

    rule: OneOff
    claimed_at: datetime | None


def offered(system: System, account: str) -> list[OneOffState]:
    """Those that an account can claim itself, and those that it has."""
    is_its = (claims.c.account == account) & claims.c.rule.startswith("once:")
    with system.ledger.connect() as connection:
        claimed = {row.rule: row.at for row in connection.execute(select(claims).where(is_its))}
    found = [OneOffState(rule, claimed.get(_once(rule))) for rule in system.config.rewards.once.values()]
    return [each for each in found if each.rule.by_user or each.claimed_at is not None]


def claim(system: System, account: str, name: str, write_id: str = "") -> int:
    """Gives an account a reward that it asks for itself. Returns its amount. `write_id`: the request's own, whose
    repeat is answered alike.

    Raises NotFound when there is none that it can ask for; RewardRefused as `already_claimed`, `account_not_eligible`;
    NotAdmitted for an account that is suspended.
    """
    rule = system.config.rewards.once.get(name)
    if rule is None or not rule.by_user:
        raise NotFound(f"there is no reward {name!r} that can be claimed")
    recipient(system, account)
    if not _claim(system, account, rule, write_id):
        raise RewardRefused("already_claimed", f"the reward {name} was claimed before, and is had once")
    return rule.amount


def give(system: System, by: By, account: str, name: str) -> int:
    """Gives an account a reward, once, however often operators ask for it. Returns its amount.

    Raises NotFound; Conflicting for an account that is suspended; RewardRefused as `account_not_eligible`.
    """
    rule = system.config.rewards.once.get(name)
    if rule is None:
        raise NotFound(f"there is no reward {name!r} in {system.config.source}")
    try:
        recipient(system, account)
    except NotAdmitted:
        raise Conflicting(f"account {account} is suspended, and is given nothing") from None

    def act() -> dict[str, Any]:
        _claim(system, account, rule, by.id)
        return {"reward": name, "amount": rule.amount}

    # An account has it once, whoever gives it how often: so it has one note.
    by = replace(by, id="reward-" + hashlib.sha256(f"{account} {name}".encode()).hexdigest()[:40])
    once(system, by, "account.reward", of_account(account), dict, act)
    return rule.amount


def _claim(system: System, account: str, rule: OneOff, write_id: str) -> bool:
    """Gives it, the first time. Returns whether it was given, now or by an earlier try of this request."""
    now, id = system.now(), _once(rule)
    given = Due(
        account, id, "REWARD", rule.amount, rule.title, f"reward:{id}", system.config.rewards.priority,
        payouts.expiry(now, rule.valid_days),
    )  # fmt: skip
    with system.ledger.begin() as connection:
        row = {"account": account, "rule": id, "period": "", "at": now, "write_id": write_id}
        is_given = bulk.insert_once(connection, claims, row)
        if is_given:
            payouts.owe(connection, [given], now)
        elif write_id:
            is_it = (claims.c.account == account) & (claims.c.rule == id)
            is_given = connection.execute(select(claims.c.write_id).where(is_it)).scalar_one() == write_id
    payouts.pay_now(system, given.cause, account)
    return is_given


def _once(rule: OneOff) -> str:
    return f"once:{rule.name}"
