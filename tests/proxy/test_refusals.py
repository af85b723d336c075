"""Refusals in every dialect: their form, and when they say to wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.route import DIALECTS
from gateway.proxy.refusals import Refusal, render

EXHAUSTED = Refusal(429, "insufficient_quota", "Nothing is left until midnight.", "day", 3_600_500)
EMPTY = Refusal(429, "insufficient_quota", "Top up to go on.", "credits")
NO_KEY = Refusal(401, "invalid_api_key", "The API key is missing or not valid.")
NO_STORE = Refusal(503, "store_unavailable", "The quota store cannot be reached.", None, 1000)
REFUSALS = [
    EXHAUSTED,
    EMPTY,
    NO_KEY,
    NO_STORE,
    Refusal(400, "invalid_request_body", "The request body is not JSON."),
    Refusal(402, "insufficient_quota", "Top up to go on.", "credits"),
    Refusal(403, "account_suspended", "This account is suspended."),
    Refusal(404, "model_not_priced", "There is no price for the model 'x' here."),
    Refusal(405, "method_not_allowed", "GET is not served at /v1/messages."),
    Refusal(408, "request_timeout", "The request body took longer than 60 s."),
    Refusal(409, "conflict", "This id was used before."),
    Refusal(413, "request_too_large", "The request body is larger than 1024 bytes."),
    Refusal(415, "encoded_request", "Send the request body without Content-Encoding."),
    Refusal(429, "rate_limit_exceeded", "60 requests a minute are allowed.", "requests", 1500),
    Refusal(500, "internal_error", "The gateway could not decide on this call."),
    Refusal(501, "websocket_not_supported", "WebSocket upgrades are not supported here."),
    Refusal(502, "upstream_broken", "The backend did not answer as it should."),
    Refusal(504, "upstream_timeout", "The backend kept silent for too long."),
]
OPENAI = [name for name in DIALECTS if name.startswith("openai")] + ["vercel-data", "cohere", "auto"]
GEMINI = ["gemini", "gemini-interactions"]


def rendered(refusal: Refusal, dialect: str) -> tuple[dict[str, str], Any]:
    """Headers and body, read back."""
    headers, body = render(refusal, dialect, "req_1")
    assert len({name for name, _ in headers}) == len(headers)
    return {name.decode(): value.decode() for name, value in headers}, json.loads(body)


# ── every dialect ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_refusal_says_what_is_wrong_and_which_request_it_was(dialect: str) -> None:
    for refusal in REFUSALS:
        headers, body = render(refusal, dialect, "req_1")

        assert refusal.message.encode() in body
        assert (b"content-length", b"%d" % len(body)) in headers
        assert (b"x-request-id", b"req_1") in headers
        assert dict(headers)[b"content-type"] in (b"application/json", b"application/problem+json")


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages", "gemini"])
def test_a_message_in_any_language_arrives(dialect: str) -> None:
    refusal = Refusal(404, "model_not_priced", 'There is no price for "模型 é😀\n\\" here.')

    _, body = rendered(refusal, dialect)

    assert body["error"]["message"] == refusal.message


@pytest.mark.parametrize(
    ("refusal", "type"),
    [
        (EXHAUSTED, "insufficient_quota"),
        (NO_KEY, "invalid_request_error"),
        (REFUSALS[13], "requests"),
        (NO_STORE, "server_error"),
    ],
)
def test_openais_form(refusal: Refusal, type: str) -> None:
    for dialect in OPENAI:
        headers, body = rendered(refusal, dialect)

        assert body == {"error": {"message": refusal.message, "type": type, "param": None, "code": refusal.code}}
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("refusal", "type"),
    [
        (NO_KEY, "authentication_error"),
        (EXHAUSTED, "rate_limit_error"),
        (REFUSALS[5], "billing_error"),
        (REFUSALS[7], "not_found_error"),
        (REFUSALS[11], "request_too_large"),
        (NO_STORE, "overloaded_error"),
        (REFUSALS[14], "api_error"),
    ],
)
def test_anthropics_form(refusal: Refusal, type: str) -> None:
    _, body = rendered(refusal, "anthropic-messages")

    assert body == {"type": "error", "error": {"type": type, "message": refusal.message}, "request_id": "req_1"}


def test_difys_form() -> None:
    _, body = rendered(EXHAUSTED, "dify")

    assert body == {"code": "insufficient_quota", "message": EXHAUSTED.message, "status": 429}


@pytest.mark.parametrize("dialect", GEMINI)
@pytest.mark.parametrize(
    ("refusal", "status"),
    [(NO_KEY, "UNAUTHENTICATED"), (EXHAUSTED, "RESOURCE_EXHAUSTED"), (NO_STORE, "UNAVAILABLE")],
)
def test_geminis_form(refusal: Refusal, status: str, dialect: str) -> None:
    _, body = rendered(refusal, dialect)

    assert body["error"]["code"] == refusal.status
    assert body["error"]["status"] == status
    assert body["error"]["message"] == refusal.message
    assert body["error"]["details"][0]["reason"] == refusal.code


@pytest.mark.parametrize("dialect", ["ollama", "path", "made-up"])
def test_the_form_of_every_other_dialect_is_a_problem(dialect: str) -> None:
    """RFC 9457, with the types of the RateLimit draft."""
    headers, body = rendered(EXHAUSTED, dialect)

    assert headers["content-type"] == "application/problem+json"
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["violated-policies"] == ["day"]
    assert (body["status"], body["detail"], body["code"]) == (429, EXHAUSTED.message, "insufficient_quota")


def test_a_problem_that_is_no_quotas_violates_no_policy() -> None:
    _, body = rendered(NO_STORE, "path")

    assert (body["type"], "violated-policies" in body) == ("about:blank", False)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_clients_fault_is_not_called_the_servers(dialect: str) -> None:
    faults = [refusal for refusal in REFUSALS if refusal.status < 500]
    words = (b"api_error", b"server_error", b'"INTERNAL"')

    assert [f.status for f in faults if any(word in render(f, dialect, "req_1")[1] for word in words)] == []


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_is_told_to_wait_only_when_waiting_helps(dialect: str) -> None:
    for refusal in REFUSALS:
        headers, _ = rendered(refusal, dialect)

        assert ("retry-after" in headers) == (refusal.retry_after_ms is not None)


@pytest.mark.parametrize(
    ("retry_after_ms", "seconds"),
    [(1, 1), (999, 1), (1000, 1), (1001, 2), (86_399_999, 86_400), (2_678_400_000, 2_678_400), (0, 0)],
)
def test_a_client_is_never_told_to_come_too_early(retry_after_ms: int, seconds: int) -> None:
    headers, _ = rendered(Refusal(429, "insufficient_quota", "No.", "day", retry_after_ms), "openai-chat")

    assert int(headers["retry-after"]) == seconds >= retry_after_ms / 1000


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_for_want_of_a_credential_says_which_kind_is_wanted(dialect: str) -> None:
    for refusal in REFUSALS:
        headers, _ = rendered(refusal, dialect)

        assert headers.get("www-authenticate") == ("Bearer" if refusal.status == 401 else None)
