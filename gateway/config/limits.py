"""Builds policies from their shapes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gateway.config.faults import one_of
from gateway.config.shapes.tiers import LimitShape
from gateway.domain.operation import OWN
from gateway.domain.policy import Policy, PolicySet, default_name, parse_rate
from gateway.domain.tier import Tier

#: What denials by the balance are called.
_TAKEN = ("balance", "credits", "hour", "day", "week", "month")


def build_limits(
    where: str,
    shapes: Sequence[LimitShape],
    warn_at: tuple[int, ...],
    routes: Collection[str],
    operations: Collection[str],
    faults: list[str],
) -> PolicySet:
    """`where`: the path of the list, such as tiers.free.limits. `warn_at`: of limits that have none of their own."""
    policies: list[Policy] = []
    for n, shape in enumerate(shapes):
        policy = _build(f"{where}[{n}]", shape, warn_at, routes, operations, faults)
        if policy is None:
            continue
        if policy.name in _TAKEN:
            faults.append(f'{where}[{n}].name = "{policy.name}": is what the balance is called; choose another name')
        elif any(policy.name == other.name for other in policies):
            faults.append(
                f'{where}[{n}]: two limits are called "{policy.name}"; '
                f'give this one a name of its own, such as name = "{policy.name}-2"'
            )
        policies.append(policy)
    return PolicySet(policies)


def spread_faults(tiers: Mapping[str, Tier], partitions: int) -> list[str]:
    """Limits that could not be kept: accounts that count together would lie in different partitions, each counting for
    itself."""
    return [
        f'tiers.{name}.limits: "{policy.name}" counts by {" and ".join(policy.by)}, over accounts of several '
        f"partitions; that needs store.partitions = 1, which is {partitions}"
        for name, tier in tiers.items()
        for policy in tier.limits.policies
        if partitions > 1 and not {"account", "key"} & set(policy.by)
    ]


def thousandths(shares: Sequence[float]) -> tuple[int, ...]:
    return tuple(sorted(round(share * 1000) for share in shares))


def _build(
    where: str,
    shape: LimitShape,
    warn_at: tuple[int, ...],
    routes: Collection[str],
    operations: Collection[str],
    faults: list[str],
) -> Policy | None:
    try:
        rate = parse_rate(shape.limit)
    except ValueError as error:
        faults.append(f'{where}.limit = "{shape.limit[:200]}": must be {error}')
        return None
    if shape.mode == "throttle" and rate.measure != "output":
        faults.append(f'{where}.mode = "throttle": slows streams, so its limit must be one of output tokens')
    for key, names, known in (("routes", shape.routes, routes), ("operations", shape.operations, operations)):
        faults += [
            f'{where}.{key}[{m}] = "{name}": {one_of(known, "one")}'
            for m, name in enumerate(names)
            if name not in known and not (key == "operations" and name in OWN)
        ]
    if len(set(shape.by)) != len(shape.by):
        faults.append(f"{where}.by: names one of them twice")
    return Policy(
        name=shape.name or default_name(rate, tuple(shape.by)),
        rate=rate,
        by=tuple(shape.by),
        mode=shape.mode,
        models=tuple(shape.models),
        routes=tuple(shape.routes),
        operations=tuple(shape.operations),
        warn_at=warn_at if shape.warn_at is None else thousandths(shape.warn_at),
    )
