"""`/metrics`, `/healthz` and `/readyz`: the pages of the control plane that machines read."""

from __future__ import annotations

import asyncio
import hmac

from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.observe.health import Readiness
from gateway.observe.metrics import Metrics


def health_routes(readiness: Readiness) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        health = await readiness.health()
        return JSONResponse({"status": health.status, "checks": health.checks}, 200 if health.is_ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def metrics_route(metrics: Metrics, store: Collector, token: str) -> Route:
    async def page(request: Request) -> Response:
        if not may_scrape(request.headers.get("authorization", ""), token):
            return PlainTextResponse(
                "Send observability.metrics_token as a Bearer token.\n", 401, {"WWW-Authenticate": "Bearer"}
            )
        metrics.fold()
        body, content_type = await asyncio.to_thread(metrics.render, request.headers.get("accept", ""), store)
        return Response(body, headers={"Content-Type": content_type})

    return Route("/metrics", page)


def may_scrape(authorization: str, token: str) -> bool:
    """Whether a request with this Authorization header may read metrics that this token guards; "": anyone may."""
    return not token or hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())
