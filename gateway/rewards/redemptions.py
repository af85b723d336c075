"""Codes redeemed: each as often as it may be, by each account as often as it may, whoever asks at once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.errors import Conflicting, NotFound
from gateway.ledger import bulk
from gateway.ledger.sales import code_batches, codes, redemptions
from gateway.rewards import tries, words
from gateway.rewards.recipient import RewardRefused, recipient


class Redeemed(NamedTuple):
    """A code that was redeemed. A repeat gives the same."""

    code: str
    #: Units that it gave.
    amount: int
    #: When they lapse; None: never.
    expires_at: datetime | None


def redeem(system: System, account: str, text: str, write_id: str) -> Redeemed:
    """Redeems a code for an account, once by `write_id`. `text`: as somebody typed it.

    Raises NotFound for a code that there is not; RewardRefused as `code_expired`, `code_used_up`,
    `code_already_redeemed`, `too_many_tries`, `account_not_eligible`; NotAdmitted for an account that is suspended.
    """
    if not system.config.rewards.codes:
        raise NotFound("redemption codes are not taken here")
    recipient(system, account)
    try:
        with tries.counted(system, account), system.ledger.begin() as connection:
            bulk.begin(connection)
            redeemed = _redeem(system, connection, account, text, write_id)
    except IntegrityError:
        raise Conflicting("this was asked for before with another code") from None
    payouts.pay_now(system, _cause(redeemed.code), account)
    return redeemed


def _redeem(system: System, connection: Connection, account: str, text: str, write_id: str) -> Redeemed:
    now = system.now()
    row = _locked(connection, text)
    before = _before(connection, row.code, account)
    if write_id in before:
        return Redeemed(row.code, row.amount, payouts.expiry(before[write_id], row.valid_days))
    _check(row, len(before), now)
    _take(connection, row)
    number, cause, expires_at = len(before) + 1, _cause(row.code), payouts.expiry(now, row.valid_days)
    made = {"code": row.code, "account": account, "number": number, "at": now, "write_id": write_id}
    connection.execute(insert(redemptions).values(made))
    given = Due(
        account, f"{cause}:{number}", "REWARD", row.amount, f"code {words.grouped(row.code)}", cause,
        system.config.rewards.priority, expires_at,
    )  # fmt: skip
    payouts.owe(connection, [given], now)
    return Redeemed(row.code, row.amount, expires_at)


def _cause(code: str) -> str:
    return f"code:{code}"


def _locked(connection: Connection, text: str) -> Row[Any]:
    """The code and its batch. Nobody else decides on it until this transaction ends. Raises NotFound."""
    for reading in words.readings(text):
        query = select(codes, code_batches).join_from(codes, code_batches, codes.c.batch == code_batches.c.id)
        row = connection.execute(query.where(codes.c.code == reading).with_for_update(of=codes)).one_or_none()
        if row is not None:
            return row
    raise NotFound("there is no such code")


def _before(connection: Connection, code: str, account: str) -> dict[str, datetime]:
    """When this account has redeemed it, by what each redemption was asked for with."""
    is_own = (redemptions.c.code == code) & (redemptions.c.account == account)
    found = connection.execute(select(redemptions.c.write_id, redemptions.c.at).where(is_own))
    return {row.write_id: row.at for row in found}


def _check(row: Row[Any], before: int, now: datetime) -> None:
    if before >= row.per_account:
        times = "before" if row.per_account == 1 else f"{before} times before"
        raise RewardRefused("code_already_redeemed", f"you have redeemed this code {times}; no more is given for it")
    if row.voided_at is not None:
        raise RewardRefused("code_expired", "this code is not taken any more")
    if row.expires_at is not None and row.expires_at <= now:
        raise RewardRefused("code_expired", f"this code was taken until {row.expires_at.isoformat()}")


def _take(connection: Connection, row: Row[Any]) -> None:
    one_more = update(codes).where(codes.c.code == row.code, codes.c.uses < row.max_uses).values(uses=codes.c.uses + 1)
    if connection.execute(one_more).rowcount != 1:
        raise RewardRefused("code_used_up", "this code was redeemed as often as it can be")
