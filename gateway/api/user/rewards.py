"""`/api/rewards`: what a user can have: codes redeemed, check-ins, what is had once, referrals."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import Field, StringConstraints

from gateway.accounts.overview import overview
from gateway.accounts.system import System
from gateway.api.callers import Caller
from gateway.api.control import SystemOf
from gateway.api.models import Answer, Input
from gateway.api.problems import problems
from gateway.api.writes import RepeatableRoute, WriteId
from gateway.domain.errors import StoreUnavailable
from gateway.domain.operation import REWARDS
from gateway.domain.principal import Principal
from gateway.proxy.identity.refusals import INSUFFICIENT_SCOPE
from gateway.proxy.refusals import CallRefused
from gateway.rewards import check_ins, one_offs, redemptions, referrals
from gateway.rewards.check_ins import CheckInState
from gateway.rewards.one_offs import OneOffState

router = APIRouter(prefix="/api/rewards", tags=["rewards"], route_class=RepeatableRoute)


def _claimant(caller: Caller) -> Principal:
    if not caller.may(REWARDS):
        raise CallRefused(INSUFFICIENT_SCOPE)
    return caller


#: The user who calls, by a credential that may be used for this.
Claimant = Annotated[Principal, Depends(_claimant)]
Code = Annotated[str, StringConstraints(min_length=1, max_length=100)]
RewardName = Annotated[str, Path(max_length=64, description="As the list of rewards names it.", examples=["survey"])]
Left = Annotated[
    int | None, Field(description="Units that the next call can draw on; null while that cannot be told: they follow.")
]


class CodeInput(Input):
    code: Code = Field(
        description="However it is written: lower case, with or without dashes.", examples=["WELCOME2026"]
    )


class StreakAnswer(Answer):
    days: int = Field(description="So many check-ins in a row.")
    amount: int = Field(description="What that day gives on top.")


class CheckInAnswer(Answer):
    amount: int
    due: bool = Field(description="Whether the account can check in now.")
    streak: int = Field(description="Days in a row until now.")
    next_at: datetime
    streaks: list[StreakAnswer]


class OneOffAnswer(Answer):
    name: str
    title: str
    amount: int
    claimable: bool
    claimed_at: datetime | None


class ReferralAnswer(Answer):
    code: str = Field(description="The caller's own: whoever it brings names it.")
    referrer_amount: int = Field(description="What the caller has of each account that it brings.")
    referred_amount: int = Field(description="What that account has.")
    when: str = Field(description="`first_order`: once it has paid an order; `first_use`: once it has made a call.")
    within_days: int = Field(description="For so many days from its first call on an account can name a code.")
    most: int = Field(description="For so many accounts at the most the caller is rewarded.")
    rewarded: int
    waiting: int = Field(description="Accounts that have named the code, and have not paid or called yet.")
    referred: bool = Field(description="Whether the caller has named who brought it.")


class RewardsAnswer(Answer):
    codes: bool = Field(description="Whether redemption codes are taken.")
    check_in: CheckInAnswer | None
    once: list[OneOffAnswer]
    referral: ReferralAnswer | None


class GivenAnswer(Answer):
    amount: int = Field(description="Units that were given.")
    left: Left


class RedeemedAnswer(GivenAnswer):
    expires_at: datetime | None = Field(description="When what was given lapses.")


class CheckedInAnswer(GivenAnswer):
    day: str = Field(description="The local date that it counts for.", examples=["2026-11-20"])
    streak: int = Field(description="Days in a row, this one included.")
    next_at: datetime


@router.get("", response_model=RewardsAnswer, responses=problems(), summary="What can be had")
def read_rewards(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """What the caller can have, and has had, of what is given here."""
    rules = system.config.rewards
    return {
        "codes": rules.codes,
        "check_in": _check_in(check_ins.state_of(system, caller.account)),
        "once": [_one_off(each) for each in one_offs.offered(system, caller.account)],
        "referral": None if rules.referral is None else _referral(referrals.overview(system, caller.account)),
    }


@router.post("/redeem", response_model=RedeemedAnswer, responses=problems(409, 410), summary="Redeem a code")
def redeem_code(body: CodeInput, caller: Claimant, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Gives what the code gives, once for each request. A credential with scopes needs `rewards` among them, as all
    writes here do. 404: there is no such code, and after ten of those within an
    hour 429. 410, `code_expired`: it is taken no more. 409: `code_used_up`, or `code_already_redeemed` by the caller
    as often as it may be."""
    redeemed = redemptions.redeem(system, caller.account, body.code, id)
    return {"amount": redeemed.amount, "expires_at": redeemed.expires_at, "left": _left(system, caller)}


@router.post("/check-in", response_model=CheckedInAnswer, responses=problems(409), summary="Check in")
def check_in(caller: Claimant, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Once each local day of the account. 409, `already_checked_in`: not yet again; `Retry-After` says when."""
    done = check_ins.check_in(system, caller.account, id)
    return {
        "amount": done.amount, "day": done.day, "streak": done.streak, "next_at": done.next_at,
        "left": _left(system, caller),
    }  # fmt: skip


@router.get("/referral", response_model=ReferralAnswer, responses=problems(), summary="Bring others")
def read_referral(caller: Caller, system: SystemOf) -> dict[str, Any]:
    """The caller's own code, what it gives, and whom it has brought so far, in numbers."""
    return _referral(referrals.overview(system, caller.account))


@router.post("/referral", response_model=ReferralAnswer, responses=problems(409), summary="Say who brought you")
def name_referrer(body: CodeInput, caller: Claimant, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Notes whose code brought the caller, once and while it is new. Both are rewarded when the caller has paid its
    first order, or made its first call, as `when` says. 409: `already_referred`, `referral_too_late`,
    `referral_not_possible`."""
    referrals.refer(system, caller.account, body.code)
    return _referral(referrals.overview(system, caller.account))


@router.post("/{name}/claim", response_model=GivenAnswer, responses=problems(409), summary="Claim a reward")
def claim_reward(name: RewardName, caller: Claimant, system: SystemOf, id: WriteId) -> dict[str, Any]:
    """Gives a reward that is had once. 409, `already_claimed`: the caller has had it."""
    amount = one_offs.claim(system, caller.account, name, id)
    return {"amount": amount, "left": _left(system, caller)}


def _left(system: System, caller: Principal) -> int | None:
    """What was decided stands, whether or not Redis can be asked now."""
    with contextlib.suppress(StoreUnavailable):
        return overview(system, caller).left
    return None


def _check_in(state: CheckInState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    streaks = [{"days": days, "amount": amount} for days, amount in state.rule.streaks.items()]
    return {
        "amount": state.rule.amount, "due": state.is_due, "streak": state.streak, "next_at": state.next_at,
        "streaks": streaks,
    }  # fmt: skip


def _one_off(state: OneOffState) -> dict[str, Any]:
    rule = state.rule
    return {
        "name": rule.name, "title": rule.title, "amount": rule.amount, "claimed_at": state.claimed_at,
        "claimable": rule.by_user and state.claimed_at is None,
    }  # fmt: skip


def _referral(found: referrals.Overview) -> dict[str, Any]:
    rule = found.rule
    return {
        "code": found.code, "referrer_amount": rule.referrer, "referred_amount": rule.referred, "when": rule.when,
        "within_days": rule.within_days, "most": rule.most, "rewarded": found.rewarded, "waiting": found.waiting,
        "referred": found.is_referred,
    }  # fmt: skip
