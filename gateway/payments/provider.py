"""What the payment providers have in common: one `Protocol`, and the words it is spoken in.

A provider is asked from threads and jobs, never from the event loop. It keeps no state of ours: an order is stored
before it is sent, under the reference that the provider is given, and what the provider then says is `Found`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.domain.errors import QuotagateError, RefusedInput
from gateway.domain.money import Money
from gateway.domain.order import Found, Instruction, Order


class ProviderRefused(RefusedInput):
    """Raised when the provider has refused what was asked for: it did not happen, and repeating it does not help."""


class ProviderUnavailable(QuotagateError):
    """Raised when the provider gave no answer that can be read, in time: what was asked for may have happened."""


class ProviderUnclear(ProviderUnavailable):
    """Raised when its answer about one thing cannot be read, or cannot be right. It may be asked about others."""


class WebhookRefused(QuotagateError):
    """Raised when a webhook does not prove that the provider sent it. Nothing in it is believed."""


class MalformedWebhook(RefusedInput):
    """Raised when a webhook is the provider's, and cannot be read."""


@dataclass(frozen=True, slots=True)
class Created:
    """What the provider answered to a new order."""

    provider_id: str
    instruction: Instruction
    #: Until when it can be paid.
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Notification:
    """A webhook that the provider sent. What it says of money is asked for again before it is believed."""

    #: Unique to what it tells: one that comes again has the same.
    id: str
    #: The provider's word, such as "payment.capture".
    event: str
    #: "" where it names none: there is nothing to do then but to keep it.
    reference_id: str = ""
    provider_id: str = ""
    payment_id: str = ""
    #: Of a refund: ours.
    refund_id: str = ""


@dataclass(frozen=True, slots=True)
class RefundWanted:
    """Money that is to go back."""

    #: Ours, unique for good: a repeat refunds once.
    id: str
    order: Order
    #: The payment it is of, by the provider's id.
    payment_id: str
    money: Money
    reason: str


@dataclass(frozen=True, slots=True)
class RefundFound:
    """What the provider says of a refund."""

    provider_id: str
    #: "pending", "succeeded" or "failed".
    state: str
    reason: str = ""


class Provider(Protocol):
    """One provider, set up. Each method raises ProviderUnavailable, and ProviderRefused where it says so."""

    #: Its name in PROVIDERS, in orders and in paths.
    name: str

    def create(self, order: Order, *, return_url: str = "") -> Created:
        """Asks for the order's money, payable until `order.expires_at` where the method lets us say so. Raises
        ProviderRefused. One that was unclear may be asked for again: whatever was made of it carries the same
        reference."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Notification:
        """Proves and reads a webhook; without any input or output. `headers`: by lower-case name. Raises
        WebhookRefused, MalformedWebhook."""

    def fetch(self, order: Order, provider_id: str = "") -> Found | None:
        """What the provider has of an order, by the provider's id of it (else `order.provider_id`), or where that is
        unknown by our reference, under which only what was paid may be found. None: it does not know it."""

    def cancel(self, order: Order) -> Found:
        """Ends an order that is not paid yet. Returns how it stands then: it may have been paid. Raises
        ProviderRefused."""

    def refund(self, wanted: RefundWanted) -> RefundFound:
        """Gives money back. Raises ProviderRefused."""

    def fetch_refund(self, wanted: RefundWanted, provider_id: str) -> RefundFound | None:
        """How a refund stands. None: the provider does not know it. `provider_id`: "" when it was never heard."""

    def payments(self, since: datetime, until: datetime) -> Iterator[Found]:
        """All that was paid in that time, whoever ordered it: for the daily comparison."""

    def close(self) -> None:
        """Closes its connections."""


class Providers(Protocol):
    """The providers that are set up."""

    def named(self, name: str) -> Provider:
        """Raises ProviderUnavailable for one that is not, or no longer."""
