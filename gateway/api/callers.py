"""Who calls the API: users by the credentials of governed calls, operators by admin keys, the cron by its secret.

A handler names what it wants: `caller: Caller`, `admin: Annotated[Actor, needs("accounts:write")]`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.concurrency import run_in_threadpool

from gateway.accounts import admin_keys, api_keys
from gateway.api.control import Control
from gateway.domain.errors import StoreUnavailable
from gateway.domain.principal import Principal
from gateway.proxy.identity.credential import shown_in, text_of
from gateway.proxy.refusals import CallRefused, Refusal

UNAUTHENTICATED = Refusal(
    401, "invalid_admin_key", "The admin key is missing or not valid. Send it as: Authorization: Bearer YOUR_KEY."
)

#: What takes API keys by their record in the ledger, while Redis cannot be asked. It moves no balance.
SERVED_WITHOUT_REDIS = frozenset(("/api/user/update-tokens",))

#: How OpenAPI describes what `Identifier` and `admin_keys` read.
_USER = (
    Security(
        HTTPBearer(auto_error=False, scheme_name="bearer", description="An API key, a license key, or a JWT of a user.")
    ),
    Security(APIKeyHeader(name="x-api-key", auto_error=False, scheme_name="apiKey", description="An API key.")),
)
_ADMIN = Security(HTTPBearer(auto_error=False, scheme_name="admin", description="An admin key."))
_CRON = Security(HTTPBearer(auto_error=False, scheme_name="cron", description="The cron secret of the config."))


class Actor(NamedTuple):
    """Who acts on other people's accounts."""

    #: As the audit log names them: "admin:NAME" or "cron".
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "*" in self.scopes


async def owner_of(request: Request) -> str:
    """Whose request it is, one word: what an `Idempotency-Key` belongs to. Raises CallRefused, StoreUnavailable."""
    if request.url.path.startswith("/api/admin/"):
        return (await _actor(request)).name
    if is_cron(request):
        return "cron"
    if (admin := await _admin(request)) is not None:
        return admin.name
    return (await _caller(request)).account


async def scopes_of(request: Request) -> list[str]:
    """What the credential of a request is for; none: all that a caller may do. Raises as `owner_of` does."""
    if is_cron(request):
        return []
    admin = await _admin(request)
    return sorted(admin.scopes if admin is not None else (await _caller(request)).scopes)


async def _caller(request: Request) -> Principal:
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        control: Control = request.app.state.control
        headers = dict(request.scope["headers"])
        try:
            known = await control.gate.identifier.identify(request.scope, headers, control.config)
        except StoreUnavailable:
            known = await _recorded(request, headers)
            if known is None:
                raise
        request.state.principal = known
    return known


async def _recorded(request: Request, headers: dict[bytes, bytes]) -> Principal | None:
    """Whose API key it is as the ledger has it, for what is served without Redis; None: nobody's."""
    if request.url.path not in SERVED_WITHOUT_REDIS:
        return None
    control: Control = request.app.state.control
    key = text_of(shown_in(headers)).decode("latin-1")
    return await run_in_threadpool(lambda: api_keys.recorded(control.system, key))


async def _described_caller(request: Request, bearer: Annotated[Any, _USER[0]], key: Annotated[Any, _USER[1]]) -> Any:
    return await _caller(request)


#: The user who calls.
Caller = Annotated[Principal, Depends(_described_caller)]


def needs(scope: str) -> Any:
    """A dependency: an admin who may do this. Raises CallRefused."""

    async def admin(request: Request, bearer: Annotated[Any, _ADMIN]) -> Actor:
        return _allowed(await _actor(request), scope)

    return Depends(admin)


def needs_or_cron(scope: str) -> Any:
    """The same, or whoever has the cron secret."""

    async def admin(request: Request, bearer: Annotated[Any, _ADMIN], cron: Annotated[Any, _CRON]) -> Actor:
        if is_cron(request):
            return Actor("cron", frozenset((scope,)))
        return _allowed(await _actor(request), scope)

    return Depends(admin)


def is_cron(request: Request) -> bool:
    control: Control = request.app.state.control
    secret = control.config.api.cron_secret
    return bool(secret) and secrets.compare_digest(_bearer(request), secret.encode())


def _allowed(actor: Actor, scope: str) -> Actor:
    if not actor.may(scope):
        raise CallRefused(Refusal(403, "insufficient_scope", f"This admin key may not do this: it lacks {scope}."))
    return actor


async def _actor(request: Request) -> Actor:
    actor = await _admin(request)
    if actor is None:
        raise CallRefused(UNAUTHENTICATED)
    return actor


async def _admin(request: Request) -> Actor | None:
    """The admin whose key the request shows, asked for once a request."""
    if not hasattr(request.state, "admin"):
        key = _bearer(request).decode("latin-1")
        control: Control = request.app.state.control
        find: Callable[[], Any] = lambda: admin_keys.find(control.system, key)  # noqa: E731
        found = await run_in_threadpool(find) if key.startswith(admin_keys.PREFIX) else None
        request.state.admin = None if found is None else Actor(f"admin:{found.name}", frozenset(found.scopes))
    admin: Actor | None = request.state.admin
    return admin


def _bearer(request: Request) -> bytes:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
