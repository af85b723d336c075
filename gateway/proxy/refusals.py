"""Refusals, in the words of the client's dialect. FACTS section 2 has the forms and what the SDKs do with them.

A refusal names its reason by a code, says in a sentence what is wrong and what helps, and carries `Retry-After` only
when waiting helps. SDKs repeat a 429 on their own; `x-should-retry: false` tells those of OpenAI and Anthropic not to
when the quota is exhausted.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not served."""

    status: int
    #: Machine-readable: insufficient_quota, invalid_api_key, store_unavailable …
    code: str
    #: A sentence or two for people: what is wrong, and what helps.
    message: str
    #: The policy that denied it, for problem+json.
    policy: str | None = None
    #: Until the same call can succeed; None: waiting does not help.
    retry_after_ms: int | None = None


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
    ]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.retry_after_ms is not None:
        # Whole seconds, never earlier than the reset.
        headers.append((b"retry-after", b"%d" % math.ceil(refusal.retry_after_ms / 1000)))
    if refusal.code == "insufficient_quota" or refusal.status in (409, 413):
        headers.append((b"x-should-retry", b"false"))
    return headers, body


def _family(dialect: str) -> str:
    if dialect.startswith("openai") or dialect in ("vercel-data", "cohere", "auto"):
        return "openai"
    return {"anthropic-messages": "anthropic", "dify": "dify", "gemini": "gemini", "gemini-interactions": "gemini"}.get(
        dialect, "problem"
    )


def _body(refusal: Refusal, dialect: str, request_id: str) -> dict[str, Any]:
    family = _family(dialect)
    if family == "openai":
        kind = refusal.code if refusal.code == "insufficient_quota" else _openai_type(refusal.status)
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}
    if family == "anthropic":
        general = "invalid_request_error" if refusal.status < 500 else "api_error"
        error = {"type": _ANTHROPIC_TYPES.get(refusal.status, general), "message": refusal.message}
        return {"type": "error", "error": error, "request_id": request_id}
    if family == "dify":
        return {"code": refusal.code, "message": refusal.message, "status": refusal.status}
    if family == "gemini":
        status = _GEMINI_STATUSES.get(refusal.status, "INVALID_ARGUMENT" if refusal.status < 500 else "INTERNAL")
        reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code, "domain": "quotagate"}
        return {"error": {"code": refusal.status, "message": refusal.message, "status": status, "details": [reason]}}
    problem = {"type": "about:blank", "title": refusal.code.replace("_", " "), "status": refusal.status,
               "detail": refusal.message, "code": refusal.code, "instance": request_id}  # fmt: skip
    if refusal.policy is not None and refusal.status == 429:
        problem["type"] = "https://iana.org/assignments/http-problem-types#quota-exceeded"
        problem["violated-policies"] = [refusal.policy]
    return problem


def _openai_type(status: int) -> str:
    if status == 429:
        return "requests"
    return "invalid_request_error" if status < 500 else "server_error"
