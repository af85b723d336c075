"""What a caller hears whose account may not spend: the one place where outcomes of acts become refusals."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response

from gateway.accounts.admission import NotAdmitted
from gateway.api.control import Control
from gateway.api.problems import refused, sentence
from gateway.config import Config
from gateway.domain.reservation import Suspended
from gateway.proxy import verdicts
from gateway.proxy.refusals import Refusal
from gateway.rewards.recipient import RewardRefused

#: Rewards are refused with 409, but for these.
_REWARD_STATUSES = {"account_not_eligible": 403, "code_expired": 410, "too_many_tries": 429}


def install(app: FastAPI) -> None:
    app.add_exception_handler(NotAdmitted, _not_admitted)
    app.add_exception_handler(RewardRefused, _reward_refused)


async def _reward_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RewardRefused)
    status = _REWARD_STATUSES.get(error.code, 409)
    return refused(request, Refusal(status, error.code, sentence(error), retry_after_ms=error.retry_after_ms))


async def _not_admitted(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAdmitted)
    control: Control = request.app.state.control
    return refused(request, refusal_of(error, control.config))


def refusal_of(error: NotAdmitted, config: Config) -> Refusal:
    """402 or 429 for a balance, 429 for a limit, 403 for an account that is suspended."""
    outcome = error.outcome
    if isinstance(outcome, Suspended):
        return Refusal(403, "account_suspended", f"This account is {outcome.status}. Ask the operator.")
    if error.policy is not None:
        return verdicts.over_limit(error.policy, outcome, [])
    why = f"Insufficient tokens: this costs {error.amount} {config.unit}(s), and {outcome.left} are left."
    return verdicts.over_balance(why, outcome, error.account, config, [])
