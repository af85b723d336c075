"""Refusals, in the words of the client's dialect. FACTS section 2 has the forms and what the SDKs do with them.

A refusal names its reason by a code, says in a sentence what is wrong and what helps, and carries `Retry-After` only
when waiting helps. SDKs repeat a 429 on their own; `x-should-retry` tells those of OpenAI and Anthropic not to when the
quota is exhausted, and to do so when a rate limit is over soon.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Headers = list[tuple[bytes, bytes]]

#: Other statuses below 500 are the client's fault in general, those above it the server's; the same for Gemini.
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_GEMINI_STATUSES = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

#: All SDKs wait as long as they are told up to a minute; beyond it some wait as they please, some not at all.
SHORT_WAIT_MS = 60_000
#: Repeating these on one's own cannot help, or only after a longer wait.
_NEVER_AT_ONCE = ("insufficient_quota", "rate_limit_exceeded", "license_inactive")

#: What helps, where the refusal's own sentence does not say it.
_REMEDIES = {
    "ambiguous_header": "Send it once.",
    "missing_host": "Send one.",
    "invalid_path": "Send it in its plain form.",
    "invalid_request_body": "Send one JSON object.",
    "model_not_priced": "Name another model, or ask the operator to give it a price.",
    "method_not_allowed": "Use a method that this path is served with.",
    "request_timeout": "Send it again, without pauses.",
    "request_too_large": "Send less, or ask the operator to allow more.",
    "websocket_not_supported": "Use plain HTTP.",
    "internal_error": "Try again; if it stays so, tell the operator the request id.",
    "upstream_error": "Try again later.",
    "upstream_broken": "Try again.",
    "upstream_timeout": "Try again, or ask for a shorter answer.",
    "upstream_unreachable": "Try again later.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not served."""

    status: int
    #: Machine-readable: insufficient_quota, invalid_api_key, store_unavailable …
    code: str
    #: A sentence or two for people: what is wrong, and what helps.
    message: str
    #: The policies that denied it, by name.
    violated: tuple[str, ...] = ()
    #: Until the same call can succeed; None: waiting does not help.
    retry_after_ms: int | None = None
    #: What a rate limit counts, as OpenAI's errors say it: "requests" or "tokens".
    kind: str = "requests"
    #: Where what is missing can be bought; "": nowhere.
    topup_url: str = ""
    #: How the caller's quota stands, for its headers.
    quota: tuple[tuple[bytes, bytes], ...] = ()


class CallRefused(Exception):
    """Raised when whoever calls is not believed, and into a call that is under way when its request turns out to be one
    that is not served."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def render(refusal: Refusal, dialect: str, request_id: str) -> tuple[Headers, bytes]:
    """Headers and body of a refusal. The request id is in both, so that a user's report can be found."""
    body = json.dumps(_body(refusal, dialect, request_id), ensure_ascii=False).encode()
    problem = _family(dialect) == "problem"
    headers = [
        (b"content-type", b"application/problem+json" if problem else b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode()),
        *refusal.quota,
    ]
    if dialect == "anthropic-messages":
        headers.append((b"request-id", request_id.encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.topup_url:
        headers.append((b"link", b'<%b>; rel="payment"' % refusal.topup_url.encode()))
    return headers + _waiting(refusal), body


def _waiting(refusal: Refusal) -> Headers:
    """What clients that repeat calls on their own are told."""
    headers: Headers = []
    wait_ms = refusal.retry_after_ms
    if wait_ms is not None:
        # Whole seconds, never earlier than the reset.
        headers.append((b"retry-after", b"%d" % math.ceil(wait_ms / 1000)))
    is_final = refusal.status in (409, 413) and wait_ms is None
    if refusal.code == "rate_limit_exceeded" and wait_ms is not None and wait_ms <= SHORT_WAIT_MS:
        headers += [(b"retry-after-ms", b"%d" % wait_ms), (b"x-should-retry", b"true")]
    elif refusal.code in _NEVER_AT_ONCE or is_final:
        headers.append((b"x-should-retry", b"false"))
    return headers


def _sentences(refusal: Refusal) -> str:
    """What is wrong, and what helps."""
    remedy = _REMEDIES.get(refusal.code)
    return f"{refusal.message} {remedy}" if remedy else refusal.message


def _family(dialect: str) -> str:
    if dialect.startswith("openai") or dialect in ("vercel-data", "cohere", "auto"):
        return "openai"
    return {"anthropic-messages": "anthropic", "dify": "dify", "gemini": "gemini", "gemini-interactions": "gemini"}.get(
        dialect, "problem"
    )


def _body(refusal: Refusal, dialect: str, request_id: str) -> dict[str, Any]:
    family, message = _family(dialect), _sentences(refusal)
    topup = {"topup_url": refusal.topup_url} if refusal.topup_url else {}
    if family == "openai":
        error = {"message": message, "type": _openai_type(refusal), "param": None, "code": refusal.code}
        return {"error": error | topup}
    if family == "anthropic":
        general = "invalid_request_error" if refusal.status < 500 else "api_error"
        error = {"type": _ANTHROPIC_TYPES.get(refusal.status, general), "message": message}
        return {"type": "error", "error": error | topup, "request_id": request_id}
    if family == "dify":
        return {"code": refusal.code, "message": message, "status": refusal.status} | topup
    if family == "gemini":
        status = _GEMINI_STATUSES.get(refusal.status, "INVALID_ARGUMENT" if refusal.status < 500 else "INTERNAL")
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code, "domain": "quotagate"}
        details = [reason, *_help(refusal)]
        return {"error": {"code": refusal.status, "message": message, "status": status, "details": details}}
    problem = _problem_type(refusal) | {"status": refusal.status, "detail": message, "instance": request_id}
    problem["code"] = refusal.code
    if refusal.violated:
        problem["violated-policies"] = list(refusal.violated)
    return problem | topup


def _help(refusal: Refusal) -> list[dict[str, Any]]:
    """As Google's errors point to pages."""
    if not refusal.topup_url:
        return []
    links = [{"description": "Top up", "url": refusal.topup_url}]
    return [{"@type": "type.googleapis.com/google.rpc.Help", "links": links}]


def _openai_type(refusal: Refusal) -> str:
    if refusal.code == "insufficient_quota":
        return refusal.code
    if refusal.code == "rate_limit_exceeded":
        return refusal.kind
    return "invalid_request_error" if refusal.status < 500 else "server_error"


def _problem_type(refusal: Refusal) -> dict[str, Any]:
    """The types that the RateLimit draft registers, where they fit (FACTS section 2)."""
    if refusal.code in ("insufficient_quota", "rate_limit_exceeded"):
        return {"type": f"{_PROBLEMS}#quota-exceeded", "title": "the assigned quota has been exceeded"}
    if refusal.status == 503:
        return {"type": f"{_PROBLEMS}#temporary-reduced-capacity", "title": "the capacity is reduced for a while"}
    return {"type": "about:blank", "title": HTTPStatus(refusal.status).phrase}


_PROBLEMS = "https://iana.org/assignments/http-problem-types"
