"""Reads `config.toml` into frozen domain values. Every fault is found at once, and named by the key it stands at.

Three steps: TOML into the shapes of `gateway.config.shapes` (types, ranges, unknown keys), then what only the whole
file can tell (names that point nowhere), then a proof on dummies: every tier prices every route's call once before any
client does. So a config that loads can be run.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.config.api import Api, build_api
from gateway.config.faults import describe, one_of
from gateway.config.idempotency import Idempotency, build_idempotency
from gateway.config.identity import (
    JwtIssuer,
    Network,
    TrustedHeader,
    build_anonymous_tier,
    build_jwt_issuers,
    build_proxies,
    build_trusted_header,
)
from gateway.config.licenses import build_license_tier
from gateway.config.limits import spread_faults
from gateway.config.notifications import Notifications, build_notifications, notification_warnings
from gateway.config.observability import Observability, build_observability
from gateway.config.payments import (
    Payments,
    build_packages,
    build_payments,
    build_plans,
    build_rewards,
    build_subscriptions,
)
from gateway.config.prices import build_price, build_price_list
from gateway.config.routes import build_holding, build_route, build_upstream, outage_warnings
from gateway.config.shapes import ConfigShape
from gateway.config.tiers import build_tier
from gateway.domain.catalog import Package, Plan, Rewards, Subscriptions
from gateway.domain.errors import ConfigError
from gateway.domain.operation import Holding
from gateway.domain.price import ONE, Charge, FixedPrice, ListPrice, Multiplier, Price, PriceList
from gateway.domain.principal import is_license
from gateway.domain.route import Routes, Upstream
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage

_SHORTEST_MONTH_S = 28 * 86_400
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Config:
    """One config file, read and proved. A call keeps the one it started with."""

    source: str
    host: str
    port: int
    default_tier: str
    unit: str
    decimals: int
    max_request_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    #: Of a refusal for an exhausted balance: 429 or 402.
    exhausted_status: int
    redis_url: str = field(repr=False)
    database_url: str = field(repr=False)
    partitions: int
    deadline_s: float
    lease_ms: int
    remember_ms: int
    trusted_proxies: tuple[Network, ...]
    trusted_header: TrustedHeader | None
    #: None: the header `Idempotency-Key` means nothing.
    idempotency: Idempotency | None
    jwt_issuers: tuple[JwtIssuer, ...]
    #: Of callers who show nothing; "": they are refused.
    anonymous_tier: str
    upstreams: Mapping[str, Upstream]
    routes: Routes
    operations: Mapping[str, Price]
    prices: PriceList
    tiers: Mapping[str, Tier]
    #: Of the accounts of license keys; "": no license is made.
    license_tier: str = ""
    #: Operations that some tier prices or limits by what their requests hold: those are read.
    read_operations: frozenset[str] = frozenset()
    #: How the API holds what each operation costs.
    holdings: Mapping[str, Holding] = field(default_factory=dict)
    #: What is allowed but probably not meant; said once, at start.
    warnings: tuple[str, ...] = ()
    api: Api = field(default_factory=Api)
    notifications: Notifications = field(default_factory=Notifications)
    observability: Observability = field(default_factory=Observability)
    #: Whole months of usage rows before the running one that are kept; 0: all of them.
    keep_usage_months: int = 0
    payments: Payments = field(default_factory=Payments)
    packages: Mapping[str, Package] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    rewards: Rewards = field(default_factory=Rewards)

    def tier(self, name: str) -> Tier:
        """A tier by its name; the default one when this file does not have it, or no longer."""
        return self.tiers.get(name) or self.tiers[self.default_tier]

    def first_tier(self, account: str) -> str:
        """The name of the tier that an unknown account is opened on, unless its credential names one."""
        return self.license_tier if self.license_tier and is_license(account) else self.default_tier

    def charge(self, tier: Tier, operation: str, model: str, multiplier: Multiplier = ONE) -> Charge | None:
        """What a call of this operation and model is charged by; None: the model has no price.

        `multiplier`: the route's own, which comes on top of the tier's.
        """
        price = tier.operations.get(operation) or self.operations[operation]
        return price if isinstance(price, FixedPrice) else self.prices.find(model, tier.multiplier.times(multiplier))


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The config in a file. Raises ConfigError with every fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    return parse(text, str(path), environ)


def parse(text: str, source: str, environ: Mapping[str, str] = os.environ) -> Config:
    """The config in a text. Raises ConfigError with every fault."""
    unset: list[tuple[str, str]] = []
    emptied: dict[str, str] = {}
    try:
        tables = tomllib.loads(text)
        shape = ConfigShape.model_validate(_with_environment(tables, (), environ, unset, emptied))
    except ValidationError as error:
        faults = [_with_cause(fault, emptied) for fault in describe(error, ConfigShape)]
        raise ConfigError(source, faults) from None
    except RecursionError:
        raise ConfigError(source, ["is nested too deeply"]) from None
    except ValueError as error:  # TOMLDecodeError is one, and so is a number of too many digits.
        raise ConfigError(source, [f"is not TOML: {error}"]) from None
    config = _assemble(shape, source, unset)
    _prove(config, shape)
    return config


def _with_environment(
    value: Any,
    path: tuple[str, ...],
    environ: Mapping[str, str],
    unset: list[tuple[str, str]],
    emptied: dict[str, str],
) -> Any:
    """Replaces env:NAME in every text. A header that needs an unset variable is left out, and noted with the name of
    its upstream. Other texts lack what it would say; `emptied` gets the variable by the text's path."""
    if isinstance(value, dict):
        replaced = {k: _with_environment(v, (*path, k), environ, unset, emptied) for k, v in value.items()}
        return {k: v for k, v in replaced.items() if v is not None}
    if isinstance(value, list):
        return [_with_environment(item, path, environ, unset, emptied) for item in value]
    if not isinstance(value, str):
        return value
    missing = [name for name in _ENV.findall(value) if not environ.get(name)]
    if missing and len(path) == 4 and (path[0], path[2]) == ("upstreams", "headers"):
        unset.append((path[1], f"{'.'.join(path)} is left out: the environment variable {missing[0]} is not set"))
        return None
    if missing:
        emptied[".".join(path)] = missing[0]
    return _ENV.sub(lambda match: environ.get(match[1], ""), value)


def _with_cause(fault: str, emptied: Mapping[str, str]) -> str:
    """A fault, and the variable that is not set where that is its cause."""
    name = emptied.get(fault.partition(" ")[0])
    return f"{fault}; the environment variable {name} is not set" if name else fault


def _assemble(shape: ConfigShape, source: str, unset: list[tuple[str, str]]) -> Config:
    faults: list[str] = []
    host, _, port = shape.gateway.listen.rpartition(":")
    upstreams = {name: build_upstream(name, item) for name, item in shape.upstreams.items()}
    operations = {name: build_price(item.price) for name, item in shape.operations.items()}
    routes = [build_route(n, item, upstreams, operations, faults) for n, item in enumerate(shape.routes)]
    paths = {item.path for item in shape.routes}
    tiers = {
        name: build_tier(name, item, shape.gateway, operations, paths, faults) for name, item in shape.tiers.items()
    }
    prices = build_price_list(shape.prices, operations, tiers, [route for route in routes if route])
    served = [(method, item.path) for item in shape.routes for method in item.methods]
    faults += [
        f'routes: {method} "{path}" is served by two of them; only the first would ever be asked'
        for method, path in sorted({pair for pair in served if served.count(pair) > 1})
    ]
    faults += spread_faults(tiers, shape.store.partitions)
    if 0 < shape.ledger.keep_usage_months * _SHORTEST_MONTH_S < shape.store.remember_s:
        faults.append(
            f"store.remember_s = {shape.store.remember_s}: Redis would remember calls whose usage is deleted after "
            f"ledger.keep_usage_months = {shape.ledger.keep_usage_months}"
        )
    if shape.gateway.default_tier not in tiers:
        faults.append(f'gateway.default_tier = "{shape.gateway.default_tier}": {one_of(tiers, "a tier")}')
    observability = build_observability(shape.observability, faults)
    api = build_api(shape.api, faults)
    notifications = build_notifications(shape.notifications, faults)
    license_tier = build_license_tier(shape.licenses, tiers, faults)
    payments = build_payments(shape.payments, faults)
    plans = build_plans(shape.plans, tiers, faults)
    subscriptions = build_subscriptions(shape.subscriptions, tiers, faults)
    warnings = [warning for upstream, warning in unset if upstreams[upstream].base_url]
    warnings += outage_warnings(shape.routes, operations, tiers)
    warnings += notification_warnings(shape.notifications)
    proxies = build_proxies(shape.gateway.trusted_proxies)
    trusted_header = build_trusted_header(shape.identity.trusted_header, proxies, faults)
    jwt_issuers = build_jwt_issuers(shape.identity.jwt, faults)
    anonymous_tier = build_anonymous_tier(shape.identity.anonymous, tiers, faults)
    if faults:
        raise ConfigError(source, faults)
    return Config(
        source=source,
        host=host.strip("[]"),
        port=int(port),
        default_tier=shape.gateway.default_tier,
        unit=shape.gateway.unit,
        decimals=shape.gateway.decimals,
        max_request_bytes=shape.gateway.max_request_bytes,
        header_timeout_s=shape.gateway.header_timeout_s,
        body_timeout_s=shape.gateway.body_timeout_s,
        exhausted_status=shape.gateway.exhausted_status,
        redis_url=shape.store.redis_url,
        database_url=shape.store.database_url,
        partitions=shape.store.partitions,
        deadline_s=shape.store.deadline_s,
        lease_ms=round(shape.store.lease_s * 1000),
        remember_ms=shape.store.remember_s * 1000,
        trusted_proxies=proxies,
        trusted_header=trusted_header,
        jwt_issuers=jwt_issuers,
        anonymous_tier=anonymous_tier,
        idempotency=build_idempotency(shape.idempotency),
        upstreams=upstreams,
        routes=Routes(tuple(route for route in routes if route)),
        operations=operations,
        prices=prices,
        tiers=tiers,
        license_tier=license_tier,
        read_operations=frozenset(name for name in operations if _must_read(name, operations, tiers)),
        holdings={name: build_holding(item) for name, item in shape.operations.items()},
        warnings=tuple(warnings),
        api=api,
        observability=observability,
        keep_usage_months=shape.ledger.keep_usage_months,
        notifications=notifications,
        payments=payments,
        packages=build_packages(shape.packages),
        plans=plans,
        subscriptions=subscriptions,
        rewards=build_rewards(shape.rewards),
    )


def _must_read(operation: str, operations: Mapping[str, Price], tiers: Mapping[str, Tier]) -> bool:
    prices = [operations[operation], *(tier.operations.get(operation) for tier in tiers.values())]
    return any(isinstance(price, ListPrice) for price in prices) or any(t.limits.needs_body for t in tiers.values())


def _prove(config: Config, shape: ConfigShape) -> None:
    """Prices one call of every route in every tier. Raises ConfigError with what could never be served."""
    faults = []
    for name, tier in config.tiers.items():
        for n, route in enumerate(shape.routes):
            charge = config.charge(tier, route.operation, "any-model")
            if charge is None and not shape.prices:
                operation = f'routes[{n}].operation = "{route.operation}"'
                faults.append(f"{operation} is priced by tokens for tiers.{name}, and [prices] is empty")
            elif charge is not None:
                charge.cost(Usage(1000, 100, 100, 1000, 100, audio_ms=1000, images=1))
    if faults:
        raise ConfigError(config.source, list(dict.fromkeys(faults)))
