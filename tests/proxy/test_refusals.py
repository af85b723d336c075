"""Refusals in every dialect: their form, and when they say to wait."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import http_sf
import pytest

from gateway.domain.route import DIALECTS
from gateway.proxy.refusals import Refusal, render

EXHAUSTED = Refusal(429, "insufficient_quota", "Nothing is left until midnight.", ("day",), 3_600_500)
EMPTY = Refusal(429, "insufficient_quota", "Top up to go on.", ("credits",))
SHOP = Refusal(402, "insufficient_quota", "Top up to go on: https://s.io/?a=1", topup_url="https://s.io/?a=1")
NO_KEY = Refusal(401, "invalid_api_key", "The API key is missing or not valid.")
NO_STORE = Refusal(503, "store_unavailable", "The quota store cannot be reached.", (), 1000)
REFUSALS = [
    EXHAUSTED,
    EMPTY,
    NO_KEY,
    NO_STORE,
    Refusal(400, "invalid_request_body", "The request body is not JSON."),
    Refusal(402, "insufficient_quota", "Top up to go on.", ("credits",)),
    Refusal(403, "account_suspended", "This account is suspended."),
    Refusal(404, "model_not_priced", "There is no price for the model 'x' here."),
    Refusal(405, "method_not_allowed", "GET is not served at /v1/messages."),
    Refusal(408, "request_timeout", "The request body took longer than 60 s."),
    Refusal(409, "conflict", "This id was used before."),
    Refusal(413, "request_too_large", "The request body is larger than 1024 bytes."),
    Refusal(415, "encoded_request", "Send the request body without Content-Encoding."),
    Refusal(429, "rate_limit_exceeded", "60 requests a minute are allowed.", ("requests",), 1500),
    Refusal(500, "internal_error", "The gateway could not decide on this call."),
    Refusal(501, "websocket_not_supported", "WebSocket upgrades are not supported here."),
    Refusal(502, "upstream_broken", "The backend did not answer as it should."),
    Refusal(504, "upstream_timeout", "The backend kept silent for too long."),
    SHOP,
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_where_to_top_up_stands_in_a_field_of_its_own_and_in_a_link(dialect: str) -> None:
    headers, body = rendered(SHOP, dialect)

    assert headers["link"] == '<https://s.io/?a=1>; rel="payment"'
    if dialect in GEMINI:
        assert body["error"]["details"][1]["links"] == [{"description": "Top up", "url": "https://s.io/?a=1"}]
    else:
        assert (body.get("error") or body)["topup_url"] == "https://s.io/?a=1"
    assert "topup_url" not in json.dumps(rendered(EMPTY, dialect))


@pytest.mark.parametrize("dialect", ["openai-chat", "anthropic-messages", "gemini"])
def test_a_message_in_any_language_arrives(dialect: str) -> None:
    refusal = Refusal(404, "model_not_priced", 'There is no price for "模型 é😀\n\\" here.')

    _, body = rendered(refusal, dialect)

    assert body["error"]["message"].startswith(refusal.message)


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

    message = body["error"]["message"]
    assert message.startswith(refusal.message)
    assert body == {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"}


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


@pytest.mark.parametrize(
    ("refusal", "type", "title"),
    [
        (NO_KEY, "about:blank", "Unauthorized"),
        (REFUSALS[13], "https://iana.org/assignments/http-problem-types#quota-exceeded", None),
        (REFUSALS[5], "https://iana.org/assignments/http-problem-types#quota-exceeded", None),
        (NO_STORE, "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity", None),
    ],
)
def test_a_problem_has_the_type_of_its_reason(refusal: Refusal, type: str, title: str | None) -> None:
    _, body = rendered(refusal, "path")

    assert (body["type"], body["title"]) == (type, title or body["title"])


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_every_problem_has_the_members_of_its_rfc(refusal: Refusal) -> None:
    """RFC 9457, section 3.1: their names and kinds; with "about:blank" the title is the status's phrase."""
    _, body = rendered(refusal, "path")

    assert all(isinstance(body[name], str) and body[name] for name in ("type", "title", "detail", "instance"))
    assert body["status"] == refusal.status
    assert urlsplit(body["type"]).scheme in ("about", "https")
    assert body["type"] != "about:blank" or body["title"] == HTTPStatus(refusal.status).phrase
    assert body.get("violated-policies", []) == list(refusal.violated)


def test_every_refusal_says_what_helps() -> None:
    """The codes whose own sentence says it are those that the gateway words with a remedy."""
    worded = {"insufficient_quota", "invalid_api_key", "store_unavailable", "account_suspended", "encoded_request",
              "conflict", "rate_limit_exceeded"}  # fmt: skip
    for refusal in REFUSALS:
        _, body = rendered(refusal, "path")

        assert (body["detail"] == refusal.message) == (refusal.code in worded)


@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_a_rate_limit_says_what_it_counts(kind: str) -> None:
    _, body = rendered(Refusal(429, "rate_limit_exceeded", "Slow down.", ("burst",), 10, kind), "openai-chat")

    assert (body["error"]["type"], body["error"]["code"]) == (kind, "rate_limit_exceeded")


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
    ("retry_after_ms", "said"),
    [
        (1500, {"retry-after": "2", "retry-after-ms": "1500", "x-should-retry": "true"}),
        (60_000, {"retry-after": "60", "retry-after-ms": "60000", "x-should-retry": "true"}),
        (60_001, {"retry-after": "61", "x-should-retry": "false"}),
    ],
)
def test_a_rate_limit_is_to_be_waited_for_when_it_is_over_soon(retry_after_ms: int, said: dict[str, str]) -> None:
    """SDKs that are told of more than a minute repeat at once."""
    for dialect in DIALECTS:
        headers, _ = rendered(Refusal(429, "rate_limit_exceeded", "Slow down.", ("burst",), retry_after_ms), dialect)

        assert {name: value for name, value in headers.items() if "retry" in name} == said
        waited: Any = http_sf.parse(headers["retry-after"].encode(), tltype="item")
        assert waited[0] >= retry_after_ms / 1000


@pytest.mark.parametrize(
    ("retry_after_ms", "seconds"),
    [(1, 1), (999, 1), (1000, 1), (1001, 2), (86_399_999, 86_400), (2_678_400_000, 2_678_400), (0, 0)],
)
def test_a_client_is_never_told_to_come_too_early(retry_after_ms: int, seconds: int) -> None:
    headers, _ = rendered(Refusal(429, "insufficient_quota", "No.", ("day",), retry_after_ms), "openai-chat")

    assert int(headers["retry-after"]) == seconds >= retry_after_ms / 1000


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_refusal_for_want_of_a_credential_says_which_kind_is_wanted(dialect: str) -> None:
    for refusal in REFUSALS:
        headers, _ = rendered(refusal, dialect)

        assert headers.get("www-authenticate") == ("Bearer" if refusal.status == 401 else None)
