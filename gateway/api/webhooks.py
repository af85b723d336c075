"""`/api/webhooks`: what payment providers tell of orders. They are not callers: each proves itself in its own way, by a
token or a signature that is compared in constant time, and whoever cannot learns nothing but that.

The answer tells a provider one thing: whether to send the webhook again. All that was recorded is 200, also what could
not be worked on at once. A ledger that is away is 503: that one must come again.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.api.control import Control
from gateway.api.models import Answer
from gateway.api.problems import problems, request_id, sentence
from gateway.domain.errors import NotFound, RefusedInput
from gateway.payments import webhooks
from gateway.payments.provider import MalformedWebhook, ProviderUnavailable, WebhookRefused
from gateway.proxy.refusals import CallRefused, Refusal

log = logging.getLogger("quotagate.api")

router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

#: A larger one is none of a payment provider's.
MAX_WEBHOOK_BYTES = 256 * 1024

_TOO_LARGE = Refusal(413, "request_too_large", f"A webhook has {MAX_WEBHOOK_BYTES} bytes at the most.")
_REFUSED = Refusal(401, "invalid_webhook", "This webhook does not prove that the provider sent it.")


class WebhookAnswer(Answer):
    outcome: Literal["applied", "ignored", "waiting", "repeated"] = Field(
        description="`waiting`: the provider is asked about it soon. `ignored`: there is nothing to be done. "
        "`repeated`: it was heard before."
    )


#: How OpenAPI shows a body that the handler reads by itself, and what proves it.
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "As the provider sends it."}}},
    }
}
_TOKEN = Security(
    APIKeyHeader(name="x-callback-token", auto_error=False, scheme_name="xendit", description="The callback token.")
)
_SIGNATURE = Security(
    APIKeyHeader(name="stripe-signature", auto_error=False, scheme_name="stripe", description="Stripe's signature.")
)


@router.post(
    "/xendit", response_model=WebhookAnswer, responses=problems(), openapi_extra=_BODY, summary="Webhooks of Xendit"
)
async def xendit(request: Request, token: Annotated[Any, _TOKEN]) -> dict[str, Any]:
    """Proved by the callback token. What it says of money is asked for at Xendit before it is believed."""
    return await _receive("xendit", request)


@router.post(
    "/stripe", response_model=WebhookAnswer, responses=problems(), openapi_extra=_BODY, summary="Webhooks of Stripe"
)
async def stripe(request: Request, signature: Annotated[Any, _SIGNATURE]) -> dict[str, Any]:
    """Proved by the signature over its time and its body, for five minutes."""
    return await _receive("stripe", request)


async def _receive(name: str, request: Request) -> dict[str, Any]:
    control: Control = request.app.state.control
    system, providers, headers = control.system, control.providers, dict(request.headers)
    try:
        providers.named(name)
    except (ProviderUnavailable, RefusedInput):
        raise NotFound(f"webhooks of {name} are not received here: it is not set up") from None
    body = await _body(request)
    try:
        outcome = await run_in_threadpool(lambda: webhooks.receive(system, providers, name, headers, body))
    except WebhookRefused as error:
        log.warning("a webhook of %s was refused: %s", name, error, extra={"request_id": request_id(request)})
        raise CallRefused(_REFUSED) from None
    except MalformedWebhook as error:
        # Without its body: it may name people.
        log.warning("a webhook of %s was refused: %s", name, error, extra={"request_id": request_id(request)})
        raise CallRefused(Refusal(400, "malformed_webhook", sentence(error))) from None
    return {"outcome": outcome}


async def _body(request: Request) -> bytes:
    """All of it, as it came: signatures are over its bytes. Raises CallRefused as soon as it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_WEBHOOK_BYTES:
            raise CallRefused(_TOO_LARGE)
    return bytes(body)
