"""Errors as problem+json (RFC 9457), each with a code: what a program can tell apart, and a sentence for people."""

from __future__ import annotations

import logging
import re
from typing import Any

import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from gateway.domain.errors import (
    Conflicting,
    LedgerError,
    NotFound,
    RefusedInput,
    ScriptFault,
    StoreUnavailable,
    StoreUnready,
)
from gateway.proxy.middleware import UNREADY
from gateway.proxy.refusals import CallRefused, Refusal, render

log = logging.getLogger("quotagate.api")

#: A key in a path: its public prefix and what follows, which is not repeated.
_SECRET = re.compile(r"((?:qg[a-z]*|lic)_[A-Za-z0-9]{8})[^/]+")
_PREFIX_ONLY = r"\1…"

MEDIA_TYPE = "application/problem+json"

_STORE = Refusal(503, "store_unavailable", "The quota store cannot be reached. Try again shortly.", retry_after_ms=1000)
_LEDGER = Refusal(503, "ledger_unavailable", "The ledger cannot be reached. Try again shortly.", retry_after_ms=1000)
_INTERNAL = Refusal(500, "internal_error", "The gateway failed on this request. Nothing half-done is left.")


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="Where it stands, such as `body.amount`.")
    what: str


class Problem(BaseModel):
    """What every refusal looks like (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str = Field(description="What a program can tell apart.")
    instance: str | None = Field(None, description="The request's id, as in `X-Request-Id`.")
    errors: list[Fault] | None = None


_WHY = {
    400: "The request cannot be read.",
    401: "The credential is missing or not valid.",
    402: "The balance does not cover it.",
    403: "The credential may not do this, or the account is suspended.",
    404: "There is no such thing.",
    408: "The request took too long to arrive.",
    409: "It contradicts what stands, or is under way already.",
    410: "It is there no more.",
    413: "The request is too large.",
    415: "The body is encoded.",
    422: "The input is not valid; `errors` says where.",
    429: "The balance or a limit does not cover it.",
    503: "Redis, the ledger or the payment provider cannot be reached, or balances are being restored.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes the refusals of an operation. What every request may meet is among them."""
    every = sorted({400, 401, 403, 404, 408, 413, 415, 422, 429, 503, *statuses})
    return {status: {"description": _WHY[status], "content": _CONTENT} for status in every}


_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def refused(request: Request, refusal: Refusal) -> Response:
    headers, body = render(refusal, "problem", request_id(request))
    return Response(body, refusal.status, {name.decode(): value.decode() for name, value in headers})


def request_id(request: Request) -> str:
    id: str = getattr(request.state, "request_id", "")
    return id


def install(app: FastAPI) -> None:
    """Makes every error of an app a problem."""
    for error, answer in _ANSWERS.items():
        app.add_exception_handler(error, answer)


async def _call_refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, CallRefused)
    return refused(request, error.refusal)


async def _not_valid(request: Request, error: Exception) -> Response:
    """What the models refuse. The input itself is not repeated: it may be secret, and need not be JSON."""
    assert isinstance(error, RequestValidationError)
    faults = [_fault(fault["type"], fault["loc"], fault["msg"]) for fault in error.errors()]
    problem = _problem(request, 422, "invalid_request", "The input is not valid.") | {"errors": faults}
    return JSONResponse(problem, 422, media_type=MEDIA_TYPE)


def _fault(kind: str, where: tuple[str | int, ...], what: str) -> dict[str, str]:
    if kind == "json_invalid":
        where, what = where[:1], f"This is no JSON, from character {where[-1]} on"
    elif where == ("body",) and kind in ("model_attributes_type", "model_type", "dict_type"):
        what = "Input should be a JSON object, sent with Content-Type: application/json"
    return {"where": ".".join(map(str, where)), "what": what.removeprefix("Value error, ")}


async def _refused_input(request: Request, error: Exception) -> Response:
    kinds = ((NotFound, 404, "not_found"), (Conflicting, 409, "conflict"), (RefusedInput, 422, "invalid_request"))
    status, code = next((status, code) for kind, status, code in kinds if isinstance(error, kind))
    return refused(request, Refusal(status, code, sentence(error)))


async def _http(request: Request, error: Exception) -> Response:
    """What the router refuses: paths, methods, sizes."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {_SECRET.sub(_PREFIX_ONLY, request.url.path)}"
    code, detail = {
        404: ("not_found", f"{what} is neither a route of this gateway nor its own."),
        405: ("method_not_allowed", f"{what} is not served; another method of this path is."),
        413: ("request_too_large", "The request is too large."),
        400: ("invalid_request_body", "The body cannot be read as JSON."),
    }.get(error.status_code, ("refused", str(error.detail)))
    problem = _problem(request, error.status_code, code, detail)
    return JSONResponse(problem, error.status_code, headers=dict(error.headers or {}), media_type=MEDIA_TYPE)


async def _gone(request: Request, error: Exception) -> Response:
    """Whoever left in the middle of a request reads no answer, and is no fault of the gateway's."""
    return refused(request, Refusal(400, "invalid_request_body", "The body ended before it was whole."))


async def _store_away(request: Request, error: Exception) -> Response:
    log.warning("Redis cannot be used: %s", error, extra={"request_id": request_id(request)})
    return refused(request, UNREADY if isinstance(error, StoreUnready) else _STORE)


async def _ledger_away(request: Request, error: Exception) -> Response:
    cause = error.__cause__ or error  # Without the statement and its values, which SQLAlchemy prints with it.
    log.warning("the ledger cannot be used: %s", cause, extra={"request_id": request_id(request)})
    return refused(request, _LEDGER)


async def _internal(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error, extra={"request_id": request_id(request)})
    return refused(request, _INTERNAL)


_ANSWERS: dict[type[Exception], Any] = {
    CallRefused: _call_refused,
    RequestValidationError: _not_valid,
    RefusedInput: _refused_input,
    HTTPException: _http,
    ClientDisconnect: _gone,
    StoreUnavailable: _store_away,
    redis.RedisError: _store_away,
    LedgerError: _ledger_away,
    SQLAlchemyError: _ledger_away,
    ScriptFault: _internal,
    Exception: _internal,
}


def _problem(request: Request, status: int, code: str, detail: str) -> dict[str, Any]:
    from http import HTTPStatus

    return {
        "type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code,
        "instance": request_id(request),
    }  # fmt: skip


def sentence(error: Exception) -> str:
    """What an error says, as a sentence."""
    text = str(error)
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
