"""What the ledger tells of many calls at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, case, func, select

from gateway.ledger.tables import accounts, usage_events

#: What holds can be grouped by. The ledger does not keep the tier of each call: `tier` is the account's of today.
HOLD_GROUPS: Mapping[str, ColumnElement[str]] = {
    "route": usage_events.c.route,
    "model": usage_events.c.model,
    "operation": usage_events.c.operation,
    "tier": accounts.c.tier,
}

#: A suggested number of tokens is a multiple of this: an exact one would look truer than it is.
_TOKENS_STEP = 64


class HoldReport(NamedTuple):
    """How well the holds of a group of calls fitted what the calls cost. Percents and means are rounded up."""

    group: str
    calls: int
    mean_held: int
    mean_cost: int
    #: Cost in percent of what was held at the end: half of the calls, 95 and 99 in 100, took no more than this.
    used_p50_percent: int
    used_p95_percent: int
    used_p99_percent: int
    #: Calls that held more than at first, or cost more.
    outgrew_percent: int
    #: What 95 in 100 calls generated, rounded up to a multiple of 64.
    suggested_default_output_tokens: int
    #: What 99 in 100 calls cost: so many never need to hold more.
    suggested_max_hold: int


def holds(engine: Engine, by: str, since: datetime) -> Iterator[HoldReport]:
    """Holds against costs, group by group, of the calls that held anything and were settled from then on."""
    with engine.connect() as connection:
        for row in connection.execute(_holds(HOLD_GROUPS[by], since)):
            group, calls, held, cost, p50, p95, p99, outgrew, output_tokens, dear = row
            yield HoldReport(
                group=group or "",
                calls=calls,
                mean_held=_up(held, calls),
                mean_cost=_up(cost, calls),
                used_p50_percent=p50,
                used_p95_percent=p95,
                used_p99_percent=p99,
                outgrew_percent=_up(100 * outgrew, calls),
                suggested_default_output_tokens=_up(output_tokens, _TOKENS_STEP) * _TOKENS_STEP,
                suggested_max_hold=dear,
            )


def _holds(group: ColumnElement[str], since: datetime) -> Select[Any]:
    """Each call gets its place in its group by each measure; a percentile is the measure of the call in that place."""
    event = usage_events.c
    used_percent = (event.cost * 100 + event.held - 1) // event.held
    measured = (
        select(
            group.label("grouped_by"),
            event.held,
            event.cost,
            event.output_tokens,
            used_percent.label("used_percent"),
            case(((event.held > event.first_held) | (event.cost > event.held), 1), else_=0).label("outgrew"),
            func.count().over(partition_by=group).label("calls"),
            _place(group, used_percent).label("used_place"),
            _place(group, event.output_tokens).label("output_place"),
            _place(group, event.cost).label("cost_place"),
        )
        .select_from(usage_events.join(accounts, accounts.c.id == event.account))
        .where(event.outcome == "settled", event.held > 0, event.occurred_at >= since)
        .subquery()
    )
    call = measured.c
    return (
        select(
            call.grouped_by,
            call.calls,
            func.sum(call.held),
            func.sum(call.cost),
            _at(50, call.used_place, call.calls, call.used_percent),
            _at(95, call.used_place, call.calls, call.used_percent),
            _at(99, call.used_place, call.calls, call.used_percent),
            func.sum(call.outgrew),
            _at(95, call.output_place, call.calls, call.output_tokens),
            _at(99, call.cost_place, call.calls, call.cost),
        )
        .group_by(call.grouped_by, call.calls)
        .order_by(call.calls.desc(), call.grouped_by)
    )


def _place(group: ColumnElement[str], measure: ColumnElement[int]) -> ColumnElement[int]:
    return func.row_number().over(partition_by=group, order_by=measure)


def _at(
    percent: int, place: ColumnElement[int], calls: ColumnElement[int], measure: ColumnElement[int]
) -> ColumnElement[int]:
    """The percentile by nearest rank: the smallest measure that so many percent of the calls do not exceed."""
    return func.max(case((place == (calls * percent + 99) // 100, measure)))


def _up(amount: Any, parts: int) -> int:
    """A quotient, rounded up. PostgreSQL's sums are Decimals."""
    return -(-int(amount) // parts)
