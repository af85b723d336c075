"""Builds tiers from their shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo

from gateway.config.faults import one_of
from gateway.config.limits import build_limits, thousandths
from gateway.config.prices import build_multiplier, build_price
from gateway.config.shapes.tiers import TierShape
from gateway.domain.price import Price
from gateway.domain.tier import BURN_ORDER, Tier


def build_tier(
    name: str,
    shape: TierShape,
    zone: ZoneInfo,
    operations: Mapping[str, Price],
    routes: Collection[str],
    faults: list[str],
) -> Tier:
    """`routes`: the paths that there are, for limits that name some."""
    warn_at = thousandths(shape.warn_at)
    amounts = {"day": 0, "month": 0}
    for n, allowance in enumerate(shape.allowance):
        if amounts[allowance.every]:
            faults.append(
                f'tiers.{name}.allowance[{n}].every = "{allowance.every}": a tier has one allowance of a kind'
            )
        amounts[allowance.every] = allowance.amount
    faults += [
        f"tiers.{name}.operations.{operation}: {one_of(operations, 'an operation')}"
        for operation in shape.operations
        if operation not in operations
    ]
    order = tuple(shape.burn_order or BURN_ORDER)
    for kind, amount in amounts.items():
        if amount and kind not in order:
            faults.append(f'tiers.{name}.burn_order: leaves out "{kind}", which the tier has an allowance of')
    if len(set(order)) != len(order):
        faults.append(f"tiers.{name}.burn_order: names a bucket twice")
    return Tier(
        name=name,
        signup=shape.signup,
        day_amount=amounts["day"],
        month_amount=amounts["month"],
        burn_order=order,
        zone=ZoneInfo(shape.timezone) if shape.timezone else zone,
        warn_below=shape.warn_below,
        warn_at=warn_at,
        limits=build_limits(f"tiers.{name}.limits", shape.limits, warn_at, routes, operations, faults),
        operations={operation: build_price(price) for operation, price in shape.operations.items()},
        multiplier=build_multiplier(shape.multiplier),
    )
