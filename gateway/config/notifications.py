"""`[notifications]`, built."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from gateway.config.limits import thousandths
from gateway.config.shapes.notifications import WHSEC, EmailShape, NotificationsShape, WebhookShape


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where notices go by HTTP, signed as Standard Webhooks has it."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Email:
    """The SMTP server that notices go through."""

    host: str
    port: int
    #: "starttls", "tls" or "none".
    security: str
    #: "": without a login.
    user: str
    password: str = field(repr=False)
    sender: str


@dataclass(frozen=True, slots=True)
class Notifications:
    """What owners of accounts are told."""

    #: Kinds of notices; (): none are made.
    kinds: tuple[str, ...] = ()
    #: Shares of an allowance, in thousandths, the lowest first.
    thresholds: tuple[int, ...] = (800, 950)
    webhook: Webhook | None = None
    email: Email | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways that are set up."""
        return tuple(name for name, way in (("webhook", self.webhook), ("email", self.email)) if way is not None)


def build_notifications(shape: NotificationsShape, faults: list[str]) -> Notifications:
    kinds = tuple(dict.fromkeys(shape.kinds))
    if not kinds and (shape.webhook or shape.email):
        faults.append('notifications.kinds is empty: name what is to be told, such as kinds = ["exhausted"]')
    if "threshold" in kinds and not shape.thresholds:
        faults.append('notifications.thresholds is empty, and notifications.kinds has "threshold"')
    return Notifications(kinds, thousandths(shape.thresholds), _webhook(shape.webhook), _email(shape.email, faults))


def notification_warnings(shape: NotificationsShape) -> list[str]:
    if shape.webhook is None or shape.webhook.secret:
        return []
    return ["notifications.webhook is off: its secret is empty, and nothing is sent unsigned"]


def _webhook(shape: WebhookShape | None) -> Webhook | None:
    if shape is None or not shape.secret:
        return None
    is_encoded = shape.secret.startswith(WHSEC)
    secret = base64.b64decode(shape.secret.removeprefix(WHSEC)) if is_encoded else shape.secret.encode()
    return Webhook(shape.url, secret)


def _email(shape: EmailShape | None, faults: list[str]) -> Email | None:
    if shape is None:
        return None
    if bool(shape.user) != bool(shape.password):
        faults.append("notifications.email: user and password belong together, one of them is missing")
    if shape.user and shape.security == "none":
        faults.append('notifications.email.security = "none" would send the password in the clear: use "starttls"')
    return Email(shape.host, shape.port, shape.security, shape.user, shape.password, shape.sender)
