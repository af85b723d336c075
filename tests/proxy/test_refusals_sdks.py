"""What the real SDKs make of refusals. They take seconds to import, so the tests that use them do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from gateway.proxy.refusals import Refusal, render

EXHAUSTED = Refusal(429, "insufficient_quota", "Nothing is left until midnight.", ("day",), 3_600_500)
EMPTY = Refusal(429, "insufficient_quota", "Top up to go on.", ("credits",))
NO_KEY = Refusal(401, "invalid_api_key", "The API key is missing or not valid.")
SHOP = Refusal(402, "insufficient_quota", "Top up to go on: https://s.io/", ("credits",), topup_url="https://s.io/")
TOO_LARGE = Refusal(413, "request_too_large", "The request body is larger than 1024 bytes.")
NO_STORE = Refusal(503, "store_unavailable", "The quota store cannot be reached.", (), 2500)

RATE_LIMITED = Refusal(429, "rate_limit_exceeded", "60 requests a minute are allowed.", ("burst",), 1250)
LATER = Refusal(429, "rate_limit_exceeded", "900 requests a day are allowed.", ("day",), 3_600_000)

#: A refusal, and the error that both SDKs raise for it.
ERRORS = [
    (Refusal(400, "invalid_request_body", "The request body is not JSON."), "BadRequestError"),
    (NO_KEY, "AuthenticationError"),
    (Refusal(403, "account_suspended", "This account is suspended."), "PermissionDeniedError"),
    (Refusal(404, "model_not_priced", "There is no price for the model 'x' here."), "NotFoundError"),
    (Refusal(409, "conflict", "This id was used before."), "ConflictError"),
    (EXHAUSTED, "RateLimitError"),
    (Refusal(402, "insufficient_quota", "Top up to go on.", ("credits",)), "APIStatusError"),
    (SHOP, "APIStatusError"),
    (RATE_LIMITED, "RateLimitError"),
    (Refusal(501, "websocket_not_supported", "No WebSockets here."), "InternalServerError"),
    (Refusal(504, "upstream_timeout", "The backend kept silent."), "InternalServerError"),
    (NO_STORE, "InternalServerError"),
    (Refusal(502, "upstream_broken", "The backend did not answer as it should."), "InternalServerError"),
]


def ask_as_openai(http: httpx2.Client) -> Any:
    """The error that OpenAI's client raises."""
    import openai

    client = openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=http)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    return caught.value


def ask_as_anthropic(http: httpx2.Client) -> Any:
    """The error that Anthropic's client raises."""
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=http)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    return caught.value


Ask = Callable[[httpx2.Client], Any]
SDKS = pytest.mark.parametrize(
    ("ask", "dialect"),
    [
        pytest.param(ask_as_openai, "openai-chat", id="openai"),
        pytest.param(ask_as_anthropic, "anthropic-messages", id="anthropic"),
    ],
)


class Refusing:
    """A gateway that refuses every call, and counts them."""

    def __init__(self, refusal: Refusal, dialect: str) -> None:
        self._refusal, self._dialect = refusal, dialect
        self.calls = 0
        self.client = httpx2.Client(transport=httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        headers, body = render(self._refusal, self._dialect, "req_1")
        return httpx2.Response(self._refusal.status, headers=headers, content=body)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the SDKs would sleep before they repeat a call."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept


@SDKS
def test_an_sdk_raises_its_own_error_and_tells_the_gateways_words(ask: Ask, dialect: str, waits: list[float]) -> None:
    for refusal, error in ERRORS:
        raised = ask(Refusing(refusal, dialect).client)

        assert error in {kind.__name__ for kind in type(raised).__mro__}
        assert raised.status_code == refusal.status
        assert refusal.message in raised.message
        if dialect == "openai-chat":
            assert (raised.code, raised.request_id) == (refusal.code, "req_1")
        else:
            assert (raised.body["request_id"], raised.request_id) == ("req_1", "req_1")


@SDKS
def test_an_sdk_hands_on_where_to_top_up(ask: Ask, dialect: str, waits: list[float]) -> None:
    raised = ask(Refusing(SHOP, dialect).client)

    # OpenAI's client keeps what stands under "error", Anthropic's the whole.
    error = raised.body if dialect == "openai-chat" else raised.body["error"]
    assert error["topup_url"] == SHOP.topup_url
    assert raised.response.links["payment"]["url"] == SHOP.topup_url
    assert waits == []


@SDKS
def test_an_sdk_does_not_repeat_what_repeating_cannot_mend(ask: Ask, dialect: str, waits: list[float]) -> None:
    for refusal in (EXHAUSTED, EMPTY, SHOP, NO_KEY, TOO_LARGE, LATER, ERRORS[4][0]):
        gateway = Refusing(refusal, dialect)
        ask(gateway.client)

        assert (gateway.calls, waits) == (1, [])


@SDKS
def test_an_sdk_repeats_after_an_outage_and_waits_as_long_as_it_is_told(
    ask: Ask, dialect: str, waits: list[float]
) -> None:
    gateway = Refusing(NO_STORE, dialect)
    ask(gateway.client)

    assert (gateway.calls, waits) == (3, [3.0, 3.0])


@SDKS
def test_an_sdk_waits_out_a_short_rate_limit_to_the_millisecond(ask: Ask, dialect: str, waits: list[float]) -> None:
    gateway = Refusing(RATE_LIMITED, dialect)
    ask(gateway.client)

    assert (gateway.calls, waits) == (3, [1.25, 1.25])


# ── the SDKs' own models ─────────────────────────────────────────────────────────────────────────────────────────────


ALL = [*(refusal for refusal, _ in ERRORS), EMPTY, LATER, TOO_LARGE]


def body_of(refusal: Refusal, dialect: str) -> Any:
    return json.loads(render(refusal, dialect, "req_1")[1])


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: f"{refusal.status}-{refusal.code}")
def test_openais_and_anthropics_models_take_every_refusal(refusal: Refusal) -> None:
    from anthropic.types import ErrorResponse
    from openai.types import ErrorObject

    ErrorObject.model_validate(body_of(refusal, "openai-chat")["error"], strict=True)
    if refusal.status != 413:  # Its type is in Anthropic's documentation, and not in its SDK.
        ErrorResponse.model_validate(body_of(refusal, "anthropic-messages"), strict=True)


@pytest.mark.parametrize("refusal", ALL, ids=lambda refusal: f"{refusal.status}-{refusal.code}")
def test_googles_error_reads_every_refusal(refusal: Refusal) -> None:
    from google.genai import errors

    body = body_of(refusal, "gemini")
    raised = errors.APIError(refusal.status, body)

    assert (raised.code, raised.status) == (refusal.status, body["error"]["status"])
    assert raised.message is not None
    assert raised.message.startswith(refusal.message)
    links = [link["url"] for detail in body["error"]["details"] for link in detail.get("links", ())]
    assert links == ([refusal.topup_url] if refusal.topup_url else [])
