"""What a call is charged, once its answer has ended, however it ended. Decides; does nothing."""

from __future__ import annotations

from enum import Enum

from gateway.domain.price import Charge, FixedPrice
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from gateway.meters import Meter
from gateway.proxy.request import RequestFacts


class End(Enum):
    """How an answer came to its end."""

    #: As its upstream meant it.
    WHOLE = "whole"
    #: Its client left, or this process stops.
    LEFT = "left"
    #: The upstream, or the inner app, broke it off.
    BROKEN = "broken"


def bill(
    end: End,
    status: int,
    sent: bool,
    started: bool,
    meter: Meter | None,
    charge: Charge,
    facts: RequestFacts,
    route: Route,
    held: int,
) -> tuple[int, Usage] | None:
    """Units to charge and the usage behind them; None: nothing, the hold goes back in full.

    `status`: of the answer, 0 without one. `sent`: the request has gone to the backend. `started`: some of the answer
    has reached the client. `held`: units that are held for the call.
    """
    if meter is None:  # The answer never began. Who leaves then has the backend work all the same.
        if end is not End.LEFT or not sent:
            return None
        usage = asked_for(facts)
        return charge.cost(usage), usage
    reported = meter.reported() if end is End.WHOLE else used_so_far(meter)
    failed = meter.failed or status >= 300 or end is End.BROKEN
    if isinstance(charge, FixedPrice):
        # A failure gives it back. What the answer of a success used is still written down.
        if failed:
            return None
        return charge.units, reported or (Usage() if route.dialect == "auto" else counted(meter, facts))
    if reported is None:
        nothing_delivered = end is End.BROKEN and not started
        if status >= 300 or nothing_delivered or (failed and meter.counted_output() == 0):
            return None
    usage = reported or counted(meter, facts)
    if usage.total == 0 and charge.is_by_tokens:  # It says how long it heard, or what it drew: tokens are counted.
        usage = counted(meter, facts)._replace(audio_ms=usage.audio_ms, images=usage.images)
    if reported is None and not failed and end is End.WHOLE and route.on_missing_usage == "charge_hold":
        return held, usage
    return charge.cost(usage), usage


def used_so_far(meter: Meter) -> Usage | None:
    """What an answer that is not whole has reported. Before its end that can be a running total, or only its input:
    what was counted stands for the output then."""
    reported, output = meter.reported(), meter.counted_output()
    if reported is None or meter.complete or reported.output >= output:
        return reported
    return reported._replace(output=output, estimated=True)


def counted(meter: Meter, facts: RequestFacts) -> Usage:
    """An estimate from the bytes that passed, for an answer that reported nothing."""
    return asked_for(facts)._replace(output=meter.counted_output())


def asked_for(facts: RequestFacts) -> Usage:
    """What a call uses before its answer says anything."""
    return Usage(input=facts.input_tokens, estimated=True, audio_ms=facts.audio_ms, images=facts.images)
