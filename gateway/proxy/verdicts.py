"""What a decision means beyond yes and no: why a call was refused and what helps, and what the operator hears of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gateway.config import Config
from gateway.domain.policy import Applied, Policy
from gateway.domain.reservation import Denied, Suspended
from gateway.observe.observer import Observer
from gateway.proxy import contract
from gateway.proxy.gate import Decision
from gateway.proxy.refusals import Headers, Refusal

log = logging.getLogger("quotagate.proxy")

INTERNAL = Refusal(500, "internal_error", "The gateway could not decide on this call. Nothing was charged.")


def refusal_of(decision: Decision, account: str, config: Config, dialect: str, now_ms: int) -> Refusal:
    """Why a call of this account was not let in, and what helps."""
    verdict = decision.verdict
    if isinstance(verdict, Denied):
        quota = contract.denial_headers(decision, verdict, now_ms, dialect)
        if (policy := next((p for p in decision.applied.checked if p.name == verdict.policy), None)) is not None:
            return over_limit(policy, verdict, quota)
        why = f"This call may cost up to {decision.amount} {config.unit}(s), and {verdict.left} are left."
        return over_balance(why, verdict, account, config, quota)
    if isinstance(verdict, Suspended):
        return Refusal(403, "account_suspended", f"This account is {verdict.status}. Ask the operator.")
    # A conflict, or an id that has ended: ids are made here, so this is no fault of the client.
    log.error("reserve answered %r to an id of this process", verdict, extra={"request_id": verdict.id})
    return INTERNAL


def over_balance(why: str, verdict: Denied, account: str, config: Config, quota: Headers) -> Refusal:
    """What a caller hears whose balance does not cover a call, and where it can be topped up."""
    remedy = "Top up to go on" if verdict.retry_after_ms is None else "Wait for the reset, or top up"
    url = config.payments.topup_url_of(account)
    return Refusal(
        config.exhausted_status,
        "insufficient_quota",
        f"{why} {remedy}: {url}" if url else f"{why} {remedy}.",
        verdict.violated,
        verdict.retry_after_ms,
        topup_url=url,
        quota=tuple(quota),
    )


def over_limit(policy: Policy, verdict: Denied, quota: Headers) -> Refusal:
    """What a caller hears whom a limit does not let in."""
    whose = "" if policy.by == ("account",) else f" by {' and '.join(policy.by)}"
    message = f"The limit {policy.name} ({policy.words}{whose}) does not let this call in"
    if verdict.retry_after_ms is None:
        message += ": it is larger than the limit itself. Ask for less at once."
    elif policy.rate.measure == "concurrent":
        message += " while others are running. Wait for one of them to end."
    else:
        message += f". Try again in {_in_words(verdict.retry_after_ms)}."
    kind = "requests" if policy.rate.measure in ("requests", "concurrent") else "tokens"
    return Refusal(
        429, "rate_limit_exceeded", message, verdict.violated, verdict.retry_after_ms, kind, quota=tuple(quota)
    )


def _in_words(ms: int) -> str:
    return f"{ms} ms" if ms < 1000 else f"{-(-ms // 1000)} s"


def note(applied: Applied, flat: Sequence[int], observer: Observer) -> None:
    """Counts the policies that would have denied the call if they were enforced, and those that are nearly used up."""
    for policy, state in applied.with_states(flat):
        if policy.mode == "shadow":
            if state.denies:
                observer.shadow_denied(policy.name)
        elif contract.share_used(policy.warn_at, state.room - state.remaining, state.room) is not None:
            observer.near_limit(policy.name)
