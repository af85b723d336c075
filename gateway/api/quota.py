"""`GET /api/quota`: what applies to a caller, for the caller to read: policies, balances, and how long they last."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from gateway.api import shown
from gateway.api.callers import Caller
from gateway.api.control import ControlOf
from gateway.api.models import Answer
from gateway.api.problems import problems
from gateway.api.shown import BucketAnswer
from gateway.domain.balance import Balance, balance_of
from gateway.domain.forecast import runs_out_at_ms, units_per_hour
from gateway.domain.policy import Policy, PolicyState
from gateway.domain.principal import Principal
from gateway.domain.reservation import Account
from gateway.domain.tier import Tier
from gateway.proxy.client_ip import client_ip
from gateway.proxy.gate import Gate
from gateway.store import calls

router = APIRouter(tags=["quota"])

_NO_STATE = PolicyState(0, 0, -1, 0)


class BalanceAnswer(Answer):
    left: int
    held: int
    spent: int
    low: bool
    resets_at: datetime | None
    buckets: list[BucketAnswer]


class LimitAnswer(Answer):
    name: str
    limit: str
    by: list[str]
    mode: str
    models: list[str]
    routes: list[str]
    operations: list[str]
    at_once: int
    remaining: int | None
    full_again_in_ms: int | None


class OverrideAnswer(Answer):
    limits_times: str
    until: datetime


class ForecastAnswer(Answer):
    units_per_hour: int | None
    runs_out_at: datetime | None
    resets_at: datetime | None
    lasts_until_reset: bool | None


class QuotaAnswer(Answer):
    account: str
    tier: str
    unit: str
    decimals: int
    balance: BalanceAnswer
    limits: list[LimitAnswer]
    override: OverrideAnswer | None
    forecast: ForecastAnswer | None
    topup_url: str | None = Field(description="Where the account is topped up; null: nowhere.")


_Of = Annotated[str, Query(description="For limits that ask for it.")]


@router.get("/api/quota", response_model=QuotaAnswer, responses=problems(), summary="Balance, limits and forecast")
async def read_quota(
    caller: Caller, control: ControlOf, request: Request, model: _Of = "", operation: _Of = "", route: _Of = ""
) -> dict[str, Any]:
    """What applies to the caller, and how far each limit is used. A limit that asks for a model, a route or an
    operation has no state unless the query names one."""
    return await _quota(control.gate, caller, request, model, operation, route)


async def _quota(
    gate: Gate, principal: Principal, request: Request, model: str, operation: str, route: str
) -> dict[str, Any]:
    config = gate.config
    key = gate.keys.account(principal.account)
    account = await gate.store.run(calls.peek(key))
    tier = config.tier(principal.tier or (account.tier if account is not None else ""))
    policies = tier.limits.of(principal.limits)
    checked = [policy for policy in policies if policy.mode != "throttle"]  # Throttles keep their state elsewhere.
    states = await gate.store.run(
        calls.limits(
            key,
            checked,
            api_key=principal.key,
            ip=client_ip(request.scope, config.trusted_proxies),
            team=principal.team,
            organisation=principal.organisation,
            model=model[:200],
            operation=operation[:200],
            route=route[:200],
        )
    )
    by_policy = dict(zip(checked, states, strict=True))
    balance = balance_of(account, tier) if account is not None else None
    return {
        "account": principal.account,
        "tier": tier.name,
        "unit": config.unit,
        "decimals": config.decimals,
        "balance": _balance(balance, tier),
        "limits": [_limit(policy, by_policy.get(policy, _NO_STATE)) for policy in policies],
        "override": _override(account),
        "forecast": None if balance is None else _forecast(balance, tier),
        "topup_url": config.payments.topup_url_of(principal.account) or None,
    }


def _balance(balance: Balance | None, tier: Tier) -> dict[str, Any]:
    if balance is None:  # Its first call opens it, with this.
        left = tier.signup + sum(allowance.amount for allowance in tier.allowances)
        return {"left": left, "held": 0, "spent": 0, "low": tier.is_low(left), "resets_at": None, "buckets": []}
    account = balance.account
    return {
        "left": balance.available,
        "held": account.held,
        "spent": account.spent,
        "low": tier.is_low(balance.available),
        "resets_at": shown.instant(balance.resets_at_ms) if tier.allowances else None,
        "buckets": [shown.bucket(bucket) for bucket in (*account.buckets, *balance.due)],
    }


def _limit(policy: Policy, state: PolicyState) -> dict[str, Any]:
    """A limit that is not about this caller, or needs a model or route to be named, has None for its state."""
    applies = state.room >= 0
    return {
        "name": policy.name,
        "limit": policy.words,
        "by": list(policy.by),
        "mode": policy.mode,
        "models": list(policy.models),
        "routes": list(policy.routes),
        "operations": list(policy.operations),
        "at_once": state.room if applies else policy.rate.room,
        "remaining": state.remaining if applies else None,
        "full_again_in_ms": state.reset_ms if applies else None,
    }


def _override(account: Account | None) -> Mapping[str, Any] | None:
    found = None if account is None else account.running_override
    return None if found is None else {"limits_times": found.factor, "until": shown.instant(found.until_ms)}


def _forecast(balance: Balance, tier: Tier) -> dict[str, Any]:
    """By the rate of the last hours, against the next reset; nothing resets without an allowance."""
    runs_out_ms = runs_out_at_ms(balance.account, balance.available)
    return {
        "units_per_hour": units_per_hour(balance.account),
        "runs_out_at": shown.instant(runs_out_ms),
        "resets_at": shown.instant(balance.resets_at_ms) if tier.allowances else None,
        "lasts_until_reset": (runs_out_ms is None or runs_out_ms >= balance.resets_at_ms) if tier.allowances else None,
    }
