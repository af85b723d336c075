"""What providers tell us by themselves: proved, written down, and then asked for before it is believed.

A webhook says that there is something to hear, and of which order. What it says of money is not even read: the
provider's own answer is taken, as the poller takes it. So a copied, late or reordered webhook can do no harm, and one
that is lost costs only time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

from gateway.accounts.system import System
from gateway.domain.errors import NotFound
from gateway.domain.order import UNPAID, Order
from gateway.payments import books, crediting, events, refunds
from gateway.payments.events import APPLIED, IGNORED, WAITING
from gateway.payments.provider import Notification, Provider, ProviderRefused, Providers, ProviderUnavailable

log = logging.getLogger("quotagate")

#: "applied", "ignored", "waiting" (the provider cannot be asked now: the poller does it), or "repeated": it was heard
#: before, and is not looked at again. The provider is told of none of them: that it was heard is all that it wants.
Outcome = Literal["applied", "ignored", "waiting", "repeated"]
_Ends = tuple[Literal["applied", "ignored", "waiting"], str]


def receive(system: System, providers: Providers, name: str, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Hears one webhook of the provider `name`. `headers`: by lower-case name; `body`: as it came, bounded.

    Raises RefusedInput for a provider that is not set up, WebhookRefused and MalformedWebhook: nothing is written then;
    and what SQLAlchemy raises: the provider is to send it again.
    """
    provider = providers.named(name)
    told = _kept(provider.parse_webhook(headers, body, system.now()))
    id, outcome = events.heard(system.ledger, name, told, system.now())
    if outcome != WAITING:
        return "repeated"
    ends, note = _handle(system, provider, told)
    events.end(system.ledger, id, ends, note)
    log.info("webhook %s: %s%s", told.event, ends, f": {note}" if note else "")
    return ends


def _handle(system: System, provider: Provider, told: Notification) -> _Ends:
    """What becomes of a webhook, and a word about it."""
    if told.refund_id:
        return _refund(system, provider, told.refund_id)
    if not told.reference_id:
        return IGNORED, "it names no order"
    try:
        order = books.find(system.ledger, told.reference_id)
    except NotFound:
        return IGNORED, "there is no such order"
    if order.provider != provider.name:
        return IGNORED, f"the order is of {order.provider}"
    try:
        stands = crediting.ask(system, provider, order, f"webhook {told.event}", told.provider_id)
    except (ProviderUnavailable, ProviderRefused) as error:
        books.poll_at(system.ledger, order.id, system.now())
        return WAITING, str(error)
    if stands is None:
        return IGNORED, "the provider does not know it as ours"
    _look_again(system, stands)
    return APPLIED, f"the order is {stands.state}"


def _look_again(system: System, order: Order) -> None:
    """A provider's answer may be behind its own webhook, of late money too."""
    if order.state in UNPAID:
        soon = system.now() + timedelta(seconds=system.config.payments.poll_s)
        books.poll_at(system.ledger, order.id, soon)


def _refund(system: System, provider: Provider, id: str) -> _Ends:
    try:
        refund = refunds.ask(system, provider, id)
    except NotFound:
        return IGNORED, "there is no such refund"
    except (ProviderUnavailable, ProviderRefused) as error:
        refunds.poll_at(system, id, system.now())
        return WAITING, str(error)
    return APPLIED, f"the refund is {refund.state}"


def _kept(told: Notification) -> Notification:
    """As the ledger can keep it: within its columns, and of characters that every database takes."""
    ids = (told.reference_id, told.provider_id, told.payment_id, told.refund_id)
    return Notification(_text(told.id, 200), _text(told.event, 64), *(_text(id, 120) for id in ids))


def _text(text: str, most: int) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:most]
