"""Subscriptions: how long their periods are, what the clock makes of them, what a dearer plan costs. Pure.

    pending → active → grace → ended        unpaid at a period's end: a few days of grace, then it is over
                 ↑       │
                 └───────┴── a payment      which begins the next period; of one that has ended, a period from now on

`pending`: its first period is not paid. `active`: a paid period runs. `grace`: the last one is over, the next one has
begun and is not paid; its account keeps the tier, and has no allowance of it. `ended`: its account is on another tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from gateway.domain.catalog import YEAR, Plan
from gateway.domain.money import Money
from gateway.domain.notice import (
    RENEWAL_DUE,
    RENEWAL_OVERDUE,
    SUBSCRIPTION_ENDED,
    SUBSCRIPTION_STARTED,
    Notice,
)
from gateway.domain.period import EPOCH, day_of_month, first_instant_ms, local_date

PENDING, ACTIVE, GRACE, ENDED = "pending", "active", "grace", "ended"
STATES = (PENDING, ACTIVE, GRACE, ENDED)

#: A pending one that nobody has touched for so long is over: no order can be paid for longer.
UNPAID_FOR = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription as it stands. Instants are UTC."""

    id: str
    account: str
    #: By its name in the config.
    plan: str
    #: One of STATES.
    state: str
    #: How its owner pays: see `domain.order`.
    method: str
    channel: str
    #: The local date that its periods go by, "2026-01-31"; "" until it is paid.
    anchor: str
    #: The clock of its local days.
    zone: str
    reset_hour: int
    #: The paid period that runs, or ran last, from 1 on; 0: none did.
    period: int
    period_starts_at: datetime | None
    period_ends_at: datetime | None
    #: Until when its account keeps the tier, and where it goes then.
    tier_ends_at: datetime | None
    tier_after: str
    #: No further period is asked to be paid.
    cancel_at_end: bool
    #: The plan of the next period; "": the same.
    next_plan: str
    #: The order that has paid for the next period; "": none has yet.
    next_order: str
    #: The order that moves it to a dearer plan as soon as it is paid; "": none.
    upgrade_order: str
    created_at: datetime
    #: The last step.
    updated_at: datetime
    ended_at: datetime | None
    #: When something is to be done about it; None: nothing.
    next_act_at: datetime | None

    @property
    def coming_plan(self) -> str:
        """The plan of the period that is to be paid next."""
        return self.next_plan or self.plan

    @property
    def renews(self) -> bool:
        """Whether its owner is to pay for another period."""
        if self.state == ACTIVE:
            return not self.cancel_at_end and not self.next_order
        return self.state in (PENDING, GRACE)

    @property
    def was_cut_short(self) -> bool:
        """Whether it ended before the period that was paid."""
        return self.ended_at is not None and self.period_ends_at is not None and self.ended_at < self.period_ends_at

    @property
    def is_followed_up(self) -> bool:
        """Whether what its last step asks for has been done: Redis knows, its owner was told."""
        return self.next_act_at is None or self.next_act_at > self.updated_at


def anchor_at(now: datetime, zone: str, reset_hour: int) -> date:
    """The local date on which a subscription begins that is paid now."""
    return local_date(_ms(now), ZoneInfo(zone), reset_hour)


def period_end(starts_at: datetime, anchor: date, every: str, zone: str, reset_hour: int = 0) -> datetime:
    """When the period ends that begins then: with the first instant of the anchor's day a month or a year later, or of
    the month's last day where that is too short, and of the day itself again in the next one: 31 January, 28 February,
    31 March."""
    first = local_date(_ms(starts_at), ZoneInfo(zone), reset_hour)
    month = first.year * 12 + first.month - 1 + (12 if every == YEAR else 1)
    return _first_instant(day_of_month(month, anchor.day), zone, reset_hour)


def days_after(at: datetime, days: int, zone: str, reset_hour: int = 0) -> datetime:
    """The first instant of the local day so many days after the one that `at` lies in."""
    day = local_date(_ms(at), ZoneInfo(zone), reset_hour)
    return at if days == 0 else _first_instant(day + timedelta(days=days), zone, reset_hour)


#: What the clock makes of a subscription: the period that was paid ahead begins, or nobody has paid, or it is over.
ClockAct = Literal["begin", "overdue", "end"]


def clock_act(it: Subscription, now: datetime) -> ClockAct | None:
    """What has come about by now and is not written yet. Called again after each, until nothing has."""
    if it.state == PENDING:
        return "end" if now >= it.updated_at + UNPAID_FOR else None
    if it.state == ENDED or it.period_ends_at is None or it.tier_ends_at is None or now < it.period_ends_at:
        return None
    if it.next_order:
        return "begin"
    if now >= it.tier_ends_at:
        return "end"
    return "overdue" if it.state == ACTIVE else None


def next_look(it: Subscription, remind_days: Sequence[int], now: datetime) -> datetime | None:
    """The next instant, after now, at which something is to be done about it; None: never again by itself."""
    if it.state == PENDING:
        return it.updated_at + UNPAID_FOR
    if it.state == ENDED or it.period_ends_at is None:
        return None
    instants = [it.tier_ends_at] if it.state == GRACE else [it.period_ends_at, *_reminders(it, remind_days)]
    return min((at for at in instants if at is not None and at > now), default=now)


def reminder(it: Subscription, remind_days: Sequence[int], now: datetime) -> int | None:
    """Which reminder is due: so many days before the end; None: none is yet, or there is nothing to remind of."""
    if it.period_ends_at is None or now >= it.period_ends_at:
        return None
    due = [days for days, at in zip(remind_days, _reminders(it, remind_days), strict=False) if now >= at]
    return min(due, default=None)


def notices(it: Subscription, remind_days: Sequence[int], now: datetime) -> list[Notice]:
    """What its owner is told of it as it stands, if that was not told before."""
    about = f"{it.account} {it.id}"
    facts: dict[str, int | str] = {"subscription": it.id, "plan": it.plan}
    if it.state == ACTIVE:
        facts["ends_at"] = _text(it.period_ends_at)
        found = []
        if _has_just_begun(it, now):
            found.append(Notice(f"{SUBSCRIPTION_STARTED} {about}/{it.period}", SUBSCRIPTION_STARTED, it.account, facts))
        days = reminder(it, remind_days, now)
        if days is not None:
            told: dict[str, int | str] = {
                "subscription": it.id,
                "plan": it.coming_plan,
                "days": days,
                "ends_at": facts["ends_at"],
            }
            id = f"{RENEWAL_DUE} {about}/{it.period + 1}/{days}"
            found.append(Notice(id, RENEWAL_DUE, it.account, told))
        return found
    if it.state == GRACE:
        facts |= {"plan": it.coming_plan, "ends_at": _text(it.tier_ends_at)}
        return [Notice(f"{RENEWAL_OVERDUE} {about}/{it.period + 1}", RENEWAL_OVERDUE, it.account, facts)]
    if it.state == ENDED and it.period:
        id = f"{SUBSCRIPTION_ENDED} {about}/{it.period}"
        return [Notice(id, SUBSCRIPTION_ENDED, it.account, facts | {"ended_at": _text(it.ended_at)})]
    return []


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What the rest of a period costs on a dearer plan, beyond what was paid, and what it adds to the allowance."""

    price: Money
    units: int


def is_upgrade(plan: Plan, to: Plan) -> bool:
    """Whether a change takes effect at once, against the difference: to a plan of the same length that costs more."""
    return plan.every == to.every and to.price.minor > plan.price.minor


def upgrade(plan: Plan, to: Plan, starts_at: datetime, ends_at: datetime, now: datetime) -> Upgrade:
    """The differences of price and allowance, by the share of the period that is left. The price is rounded up, the
    allowance down, and what an account has is not taken from it."""
    rest, whole = _ms(ends_at) - _ms(now), _ms(ends_at) - _ms(starts_at)
    difference = Money(to.price.minor - plan.price.minor, plan.price.currency)
    return Upgrade(difference.share_up(rest, whole), max(0, (to.allowance - plan.allowance) * rest // whole))


def _has_just_begun(it: Subscription, now: datetime) -> bool:
    """Whether it began, or began anew, within a day: a welcome that comes later is none."""
    starts_at = it.period_starts_at
    if starts_at is None or now - starts_at > timedelta(days=1):
        return False
    return anchor_at(starts_at, it.zone, it.reset_hour).isoformat() == it.anchor


def _reminders(it: Subscription, remind_days: Sequence[int]) -> list[datetime]:
    """When its owner is reminded, in the order of `remind_days`."""
    if not it.renews or it.state != ACTIVE or it.period_ends_at is None:
        return []
    return [it.period_ends_at - timedelta(days=days) for days in remind_days]


def _first_instant(day: date, zone: str, reset_hour: int) -> datetime:
    return EPOCH + timedelta(milliseconds=first_instant_ms(day, ZoneInfo(zone), reset_hour))


def _ms(at: datetime) -> int:
    return (at.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)


def _text(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
