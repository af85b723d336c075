"""What a caller hears whose account may not spend, or whose payment provider does not answer: the one place where
outcomes of acts become refusals."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from starlette.responses import Response

from gateway.accounts.admission import NotAdmitted
from gateway.api.control import Control
from gateway.api.problems import refused, request_id, sentence
from gateway.config import Config
from gateway.domain.reservation import Suspended
from gateway.payments.provider import ProviderRefused, ProviderUnavailable
from gateway.proxy import verdicts
from gateway.proxy.refusals import Refusal
from gateway.rewards.recipient import RewardRefused

#: Rewards are refused with 409, but for these.
_REWARD_STATUSES = {"account_not_eligible": 403, "code_expired": 410, "too_many_tries": 429}

log = logging.getLogger("quotagate.api")

#: The provider's own words are for operators, who find them in the log.
_PROVIDER_AWAY = Refusal(
    503, "provider_unavailable",
    "The payment provider has not answered. Try again shortly, with the same Idempotency-Key: it goes on with the same "
    "payment.",
    retry_after_ms=5000,
)  # fmt: skip


def install(app: FastAPI) -> None:
    app.add_exception_handler(NotAdmitted, _not_admitted)
    app.add_exception_handler(ProviderUnavailable, _provider_away)
    app.add_exception_handler(ProviderRefused, _provider_refused)
    app.add_exception_handler(RewardRefused, _reward_refused)


async def _reward_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RewardRefused)
    status = _REWARD_STATUSES.get(error.code, 409)
    return refused(request, Refusal(status, error.code, sentence(error), retry_after_ms=error.retry_after_ms))


async def _not_admitted(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotAdmitted)
    control: Control = request.app.state.control
    return refused(request, refusal_of(error, control.config))


async def _provider_away(request: Request, error: Exception) -> Response:
    log.warning("a payment provider is away: %s", error, extra={"request_id": request_id(request)})
    return refused(request, _PROVIDER_AWAY)


async def _provider_refused(request: Request, error: Exception) -> Response:
    return refused(request, Refusal(422, "provider_refused", sentence(error)))


def refusal_of(error: NotAdmitted, config: Config) -> Refusal:
    """402 or 429 for a balance, 429 for a limit, 403 for an account that is suspended."""
    outcome = error.outcome
    if isinstance(outcome, Suspended):
        return Refusal(403, "account_suspended", f"This account is {outcome.status}. Ask the operator.")
    if error.policy is not None:
        return verdicts.over_limit(error.policy, outcome, [])
    why = f"Insufficient tokens: this costs {error.amount} {config.unit}(s), and {outcome.left} are left."
    return verdicts.over_balance(why, outcome, error.account, config, [])
