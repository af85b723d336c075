"""The control plane as one app: the APIs, their description, and the routes of operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from gateway.api import outcomes, problems, quota, webhooks
from gateway.api.admin import accounts, balances, codes, holds, keys, ledger, system
from gateway.api.admin import licenses as admin_licenses
from gateway.api.admin import payments as admin_payments
from gateway.api.admin import subscriptions as admin_subscriptions
from gateway.api.control import Control
from gateway.api.docs import docs_routes
from gateway.api.guard import MAX_BODY_BYTES, Guard
from gateway.api.problems import Problem
from gateway.api.user import billing, operations, reports, resets, rewards, tokens, usage
from gateway.api.user import credits as user_credits
from gateway.api.user import licenses as user_licenses
from gateway.api.user import payments as user_payments
from gateway.api.user import subscriptions as user_subscriptions
from gateway.proxy.middleware import ASGIApp

#: In the order in which they are described.
ROUTERS: tuple[APIRouter, ...] = (
    quota.router,
    tokens.router,
    billing.router,
    resets.router,
    user_credits.router,
    usage.router,
    reports.router,
    operations.router,
    user_payments.router,
    user_subscriptions.router,
    webhooks.router,
    rewards.router,
    user_licenses.router,
    admin_licenses.router,
    admin_payments.router,
    admin_subscriptions.router,
    accounts.router,
    balances.router,
    codes.router,
    keys.router,
    holds.router,
    ledger.router,
    system.router,
)

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def build_api(control: Control, routes: Sequence[BaseRoute], lifespan: Lifespan) -> ASGIApp:
    """`routes`: what is served beside the APIs and not described: probes, metrics."""
    rules = control.config.api
    middleware: list[Middleware] = []
    if rules.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(rules.cors_origins),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Session-Id"],
                expose_headers=["Idempotent-Replayed", "Link", "Retry-After", "X-Request-Id"],
            )
        )
    app = FastAPI(
        title="Quotagate",
        version=version("quotagate"),
        summary="Balances, usage, licenses and administration of a Quotagate.",
        openapi_url="/openapi.json" if rules.enabled and rules.docs else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=middleware,
        max_body_size=MAX_BODY_BYTES,
        responses=problems.problems(),
        # Spans and logs of its own would say what this project keeps to itself.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.control = control
    problems.install(app)
    outcomes.install(app)
    app.router.routes.extend(routes)
    if rules.enabled and rules.docs:
        app.router.routes.extend(docs_routes())
    for router in ROUTERS if rules.enabled else (quota.router,):
        app.include_router(router)
    _describe_problems(app)
    return Guard(app, control)


def _describe_problems(app: FastAPI) -> None:
    """Every refusal is described by one schema, which no endpoint returns itself."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        model = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= model.pop("$defs", {}) | {"Problem": model}
        return document

    app.openapi = openapi  # type: ignore[method-assign]
