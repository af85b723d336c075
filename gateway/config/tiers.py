"""Builds tiers from their shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from zoneinfo import ZoneInfo

from gateway.config.faults import one_of
from gateway.config.limits import build_limits, thousandths
from gateway.config.prices import build_multiplier, build_price
from gateway.config.shapes.gateway import GatewayShape
from gateway.config.shapes.tiers import WEEKDAYS, AllowanceShape, TierShape
from gateway.domain.price import Price
from gateway.domain.tier import BURN_ORDER, Allowance, Tier

_WEEKDAY_NUMBERS = {name: number for number, name in enumerate(WEEKDAYS)}


def build_tier(
    name: str,
    shape: TierShape,
    gateway: GatewayShape,
    operations: Mapping[str, Price],
    routes: Collection[str],
    faults: list[str],
) -> Tier:
    """A tier. What it leaves open is as `gateway` says. `routes`: the paths that limits may name."""
    warn_at = thousandths(shape.warn_at)
    faults += [
        f"tiers.{name}.operations.{operation}: {one_of(operations, 'an operation')}"
        for operation in shape.operations
        if operation not in operations
    ]
    return Tier(
        name=name,
        signup=shape.signup,
        allowances=_build_allowances(f"tiers.{name}.allowance", shape.allowance, faults),
        burn_order=_build_burn_order(name, shape, faults),
        zone=ZoneInfo(shape.timezone or gateway.timezone),
        reset_hour=gateway.reset_hour if shape.reset_hour is None else shape.reset_hour,
        warn_below=shape.warn_below,
        warn_at=warn_at,
        limits=build_limits(f"tiers.{name}.limits", shape.limits, warn_at, routes, operations, faults),
        operations={operation: build_price(price) for operation, price in shape.operations.items()},
        multiplier=build_multiplier(shape.multiplier),
    )


def _build_allowances(path: str, shapes: list[AllowanceShape], faults: list[str]) -> tuple[Allowance, ...]:
    kinds: set[str] = set()
    for n, shape in enumerate(shapes):
        if shape.every in kinds:
            faults.append(f'{path}[{n}].every = "{shape.every}": a tier has one allowance of a kind')
        kinds.add(shape.every)
    return tuple(_build_allowance(f"{path}[{n}]", shape, faults) for n, shape in enumerate(shapes))


def _build_allowance(path: str, shape: AllowanceShape, faults: list[str]) -> Allowance:
    begins = shape.begins
    if begins in WEEKDAYS and shape.every != "week":
        faults.append(f'{path}.from = "{begins}": only weeks begin on a weekday')
    if isinstance(begins, int) and shape.every != "month":
        faults.append(f"{path}.from = {begins}: only months begin on a day of the month")
    return Allowance(
        every=shape.every,
        amount=shape.amount,
        first_day=begins if isinstance(begins, int) else _WEEKDAY_NUMBERS.get(begins),
        # Hours and days begin alike, whenever the account was opened.
        is_anchored=begins == "start" and shape.every in ("week", "month"),
        rollover=shape.rollover,
    )


def _build_burn_order(name: str, shape: TierShape, faults: list[str]) -> tuple[str, ...]:
    order = tuple(shape.burn_order or BURN_ORDER)
    faults += [
        f'tiers.{name}.burn_order: leaves out "{allowance.every}", which the tier has an allowance of'
        for allowance in shape.allowance
        if allowance.every not in order
    ]
    if len(set(order)) != len(order):
        faults.append(f"tiers.{name}.burn_order: names a bucket twice")
    return order
