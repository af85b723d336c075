"""Check-ins: a reward for each local day on which an account asks for it, and more for days in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from gateway.accounts import payouts
from gateway.accounts.payouts import Due
from gateway.accounts.system import System
from gateway.domain.catalog import CheckIn
from gateway.domain.errors import NotFound
from gateway.domain.period import DAY, day_windows, first_instant_ms
from gateway.ledger import bulk
from gateway.ledger.sales import claims
from gateway.rewards.recipient import Recipient, RewardRefused, recipient

RULE = "check_in"
#: Between two check-ins of an account whose clock was changed meanwhile.
_AFTER_CHANGE = timedelta(hours=20)


class CheckedIn(NamedTuple):
    """A check-in that counts."""

    #: The local date.
    day: str
    #: Days in a row, this one included.
    streak: int
    #: Units, those of the streak included.
    amount: int
    #: When the next one can be made.
    next_at: datetime


@dataclass(frozen=True, slots=True)
class CheckInState:
    """How an account's check-ins stand."""

    rule: CheckIn
    #: Whether one can be made now.
    is_due: bool
    #: Days in a row until now; 0: none, or the row is broken.
    streak: int
    #: When the next one can be made: now, if it is due.
    next_at: datetime


def check_in(system: System, account: str, write_id: str = "") -> CheckedIn:
    """Checks an account in, once each local day: of its zone, else of its tier's, from the tier's reset hour on.
    `write_id`: the request's own, whose repeat is answered alike.

    A second one needs a later date than the first was made on. Where the account was put into another zone, or on a
    tier with another hour, in between, it also needs 20 hours: a change of clocks is no second day. Days follow each
    other by the calendar of the zone, so a date that the zone skips breaks no streak.

    Raises NotFound where there are no check-ins; RewardRefused as `already_checked_in`, `account_not_eligible`;
    NotAdmitted for an account that is suspended.
    """
    rule, now = system.config.rewards.check_in, system.now()
    if rule is None:
        raise NotFound("check-ins are not rewarded here")
    today = _today(recipient(system, account), now)
    with system.ledger.begin() as connection:
        bulk.begin(connection)
        last = _last(connection, account)
        if last is not None and write_id and last.write_id == write_id:  # It counts already: its answer was lost.
            day, streak = last.period, last.streak
            given = _given(rule, account, day, streak, system.config.rewards.priority, last.at)
        else:
            before = _state(rule, today, last, now)
            if not before.is_due:
                raise _already(before.next_at, now)
            day, streak = today.id, before.streak + 1
            row = {
                "account": account, "rule": RULE, "period": day, "at": now, "write_id": write_id, "streak": streak,
                "clock": today.clock,
            }  # fmt: skip
            if not bulk.insert_once(connection, claims, row):  # Another one was faster, in this moment.
                raise _already(today.ends_at, now)
            given = _given(rule, account, day, streak, system.config.rewards.priority, now)
            payouts.owe(connection, given, now)
    payouts.pay_now(system, _cause(day), account)
    return CheckedIn(day, streak, sum(each.amount for each in given), max(today.after(day), now))


def state_of(system: System, account: str) -> CheckInState | None:
    """How they stand; None: there are none. Raises as `check_in` does for an account that cannot have any."""
    rule, now = system.config.rewards.check_in, system.now()
    if rule is None:
        return None
    today = _today(recipient(system, account), now)
    with system.ledger.connect() as connection:
        return _state(rule, today, _last(connection, account), now)


class _Today(NamedTuple):
    """The local day of an account."""

    #: Its date.
    id: str
    starts_at: datetime
    ends_at: datetime
    who: Recipient

    @property
    def clock(self) -> str:
        return f"{self.who.zone.key} {self.who.tier.reset_hour}"

    def after(self, day: str) -> datetime:
        """When the day after another one begins, by this clock."""
        return _at(first_instant_ms(date.fromisoformat(day) + DAY, self.who.zone, self.who.tier.reset_hour))


def _today(who: Recipient, now: datetime) -> _Today:
    window = day_windows(int(now.timestamp() * 1000), who.zone, who.tier.reset_hour)
    return _Today(window.id, _at(window.starts_ms), _at(window.ends_ms), who)


def _last(connection: Connection, account: str) -> Row[Any] | None:
    is_its = (claims.c.account == account) & (claims.c.rule == RULE)
    return connection.execute(select(claims).where(is_its).order_by(claims.c.period.desc()).limit(1)).one_or_none()


def _state(rule: CheckIn, today: _Today, last: Row[Any] | None, now: datetime) -> CheckInState:
    if last is None:
        return CheckInState(rule, True, 0, now)
    follows_at = today.after(last.period)
    next_at = max(now, follows_at)
    if last.clock != today.clock:
        next_at = max(next_at, last.at + _AFTER_CHANGE)
    streak = last.streak if follows_at >= today.starts_at else 0
    return CheckInState(rule, next_at <= now, streak, next_at)


def _given(rule: CheckIn, account: str, day: str, streak: int, priority: int, now: datetime) -> Sequence[Due]:
    expires_at, cause = payouts.expiry(now, rule.valid_days), _cause(day)
    given = [Due(account, f"{RULE}:{day}", "REWARD", rule.amount, "check-in", cause, priority, expires_at)]
    if (more := rule.streaks.get(streak)) is not None:
        id, reason = f"streak:{streak}:{day}", f"{streak} check-ins in a row"
        given.append(Due(account, id, "REWARD", more, reason, cause, priority, expires_at))
    return given


def _cause(day: str) -> str:
    return f"reward:{RULE}:{day}"


def _already(next_at: datetime, now: datetime) -> RewardRefused:
    message = f"this account has checked in; it can do so again at {next_at.isoformat(timespec='seconds')}"
    return RewardRefused("already_checked_in", message, (next_at - now) // timedelta(milliseconds=1))


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
