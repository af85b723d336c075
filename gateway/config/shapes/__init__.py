"""The shape of `config.toml`: tables, types and ranges, one module a group of tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.config.shapes.api import ApiShape
from gateway.config.shapes.common import Name, Shape
from gateway.config.shapes.gateway import GatewayShape, StoreShape
from gateway.config.shapes.idempotency import IdempotencyShape
from gateway.config.shapes.identity import IdentityShape
from gateway.config.shapes.ledger import LedgerShape
from gateway.config.shapes.licenses import LicensesShape
from gateway.config.shapes.notifications import NotificationsShape
from gateway.config.shapes.observability import ObservabilityShape
from gateway.config.shapes.payments import (
    PackageShape,
    PaymentsShape,
    PlanShape,
    RewardsShape,
    SubscriptionsShape,
)
from gateway.config.shapes.prices import PriceShape
from gateway.config.shapes.routes import OperationShape, RouteShape, UpstreamShape
from gateway.config.shapes.tiers import TierShape


class ConfigShape(Shape):
    gateway: GatewayShape
    store: StoreShape = StoreShape()
    ledger: LedgerShape = LedgerShape()
    identity: IdentityShape = IdentityShape()
    idempotency: IdempotencyShape = IdempotencyShape()
    upstreams: Annotated[dict[Name, UpstreamShape], Field(min_length=1, description="at least one [upstreams.NAME]")]
    routes: Annotated[list[RouteShape], Field(min_length=1, description="at least one [[routes]]")]
    operations: Annotated[dict[Name, OperationShape], Field(min_length=1, description="at least one [operations.NAME]")]
    prices: dict[
        Annotated[str, Field(min_length=1, max_length=200, description="a model name or glob")], PriceShape
    ] = {}
    tiers: Annotated[dict[Name, TierShape], Field(min_length=1, description="at least one [tiers.NAME]")]
    licenses: LicensesShape = LicensesShape()
    api: ApiShape = ApiShape()
    observability: ObservabilityShape = ObservabilityShape()
    notifications: NotificationsShape = NotificationsShape()
    payments: PaymentsShape = PaymentsShape()
    packages: dict[Name, PackageShape] = {}
    plans: dict[Name, PlanShape] = {}
    subscriptions: SubscriptionsShape = SubscriptionsShape()
    rewards: RewardsShape = RewardsShape()
