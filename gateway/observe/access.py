"""The access log: one line a governed call, when it has ended."""

from __future__ import annotations

import logging

from gateway.observe.observation import Observation

log = logging.getLogger("quotagate.access")


def write(seen: Observation) -> None:
    fields: dict[str, object] = {
        "request_id": seen.request_id,
        "account": seen.account,
        "key": seen.key,
        "tier": seen.tier,
        "route": seen.route,
        "model": seen.model,
        "status": seen.status,
        "outcome": seen.outcome,
        "cost": seen.cost,
        "duration_ms": _ms(seen.arrived_at, seen.ended_at),
    }
    if seen.usage is not None:
        fields |= {
            "input_tokens": seen.usage.input,
            "output_tokens": seen.usage.output,
            "estimated": seen.usage.estimated,
        }
    if seen.answering_at:
        fields["first_byte_ms"] = _ms(seen.reserved_at, seen.answering_at)
    if seen.code:
        fields["code"] = seen.code
    if seen.policy is not None:
        fields["policy"] = seen.policy
    log.info("call %s", seen.outcome, extra=fields)


def _ms(begin: float, end: float) -> float:
    return round((end - begin) * 1000, 3)
