"""Posts webhooks as Xendit does: with a token, again when the receiver refuses, and never again after a timeout."""

from __future__ import annotations

import json
import logging

import httpx2

from gateway.sandbox.desk import Desk
from gateway.sandbox.outbox import Message, Outcome

# Its lines carry whole addresses.
logging.getLogger("httpx2").setLevel(logging.WARNING)

#: How long a receiver may take to answer.
TIMEOUT_S = 10.0


def post_due(desk: Desk, client: httpx2.Client, url: str) -> int:
    """Posts what is due, one after the other, in its order. Returns how many there were."""
    with desk.lock:
        due = desk.bank.outbox.take(desk.bank.now())
    for message in due:
        outcome = _post(message, desk.token, client, url)
        with desk.lock:
            desk.bank.outbox.ended(message, outcome, desk.bank.now())
    return len(due)


def _post(message: Message, token: str, client: httpx2.Client, url: str) -> Outcome:
    headers = {
        "content-type": "application/json",
        "x-callback-token": token if message.is_proven else f"not-{token}",
    }
    try:
        with client.stream("POST", url, content=json.dumps(message.body), headers=headers) as answer:
            return Outcome.TAKEN if answer.is_success else Outcome.REFUSED
    except httpx2.TimeoutException:
        return Outcome.TIMEOUT
    except httpx2.HTTPError:
        return Outcome.REFUSED
