"""`/api-docs`: the APIs' description for people to read and try, served from this process alone.

Swagger UI stands beside it in `static/`; `static/NOTICE` says which. The page may load nothing from anywhere else, and
runs no script that stands in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

#: Swagger UI draws its icons from `data:` images, and sets styles from its script, which a policy of styles allows.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "docs.js")


def docs_routes() -> list[BaseRoute]:
    """The page and what it loads."""
    assets = [Route(f"/api-docs/{name}", _file(name), methods=["GET"]) for name in _FILES]
    return [Route("/api-docs", _file("docs.html"), methods=["GET"]), *assets]


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    body = (files("gateway.api") / "static" / name).read_bytes()
    # What belongs to a version of this package may be kept for a while; the page itself is asked for anew.
    keep = {} if name == "docs.html" else {"Cache-Control": "public, max-age=3600"}
    media_type = _TYPES[name.rpartition(".")[2]]

    async def serve(request: Request) -> Response:
        return Response(body, headers=_HEADERS | keep, media_type=media_type)

    return serve
