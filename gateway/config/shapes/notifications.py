"""`[notifications]`: what owners of accounts are told, and by which way."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictInt

from gateway.config.shapes.common import Shape, Shares
from gateway.domain.notice import KINDS

_KINDS = ", ".join(f'"{kind}"' for kind in KINDS)

#: What the secrets of Standard Webhooks begin with; Base64 follows.
WHSEC = "whsec_"


def _webhook_url(url: str) -> str:
    parts = urlsplit(url)  # Like `port`, it raises ValueError for what no one could connect to.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("not a URL of HTTP")
    if "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("more than a host, a path and a query")
    return url


def _secret(text: str) -> str:
    """Nothing is taken: the variable is set where notices are sent, and elsewhere perhaps not."""
    if text.startswith(WHSEC):
        try:
            secret = base64.b64decode(text.removeprefix(WHSEC), validate=True)
        except binascii.Error:
            raise ValueError("not Base64") from None
        if len(secret) < 16:
            raise ValueError("too short")
    elif 0 < len(text) < 16 or not text.isascii() or not text.isprintable():
        raise ValueError("too short, or not ASCII")
    return text


def _sender(text: str) -> str:
    address = text.rpartition("<")[2].removesuffix(">") if "<" in text else text
    local, at, domain = address.partition("@")
    if not (local and at and domain) or not text.isprintable() or " " in address or "@" in domain:
        raise ValueError("not a sender")
    return text


class WebhookShape(Shape):
    url: Annotated[
        str, AfterValidator(_webhook_url), Field(description="http:// or https://, a host and a path, without a user")
    ]
    secret: Annotated[
        str,
        AfterValidator(_secret),
        Field(description='"whsec_" and at least 16 bytes in Base64, or at least 16 characters, from the environment'),
    ]


class EmailShape(Shape):
    host: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,255}$", description="the name or address of an SMTP server")
    ]
    port: Annotated[StrictInt, Field(ge=1, le=65535, description="a port from 1 to 65535")] = 587
    security: Annotated[Literal["starttls", "tls", "none"], Field(description='"starttls", "tls" or "none"')] = (
        "starttls"
    )
    user: Annotated[str, Field(max_length=320, description="a user of that server, or empty: none")] = ""
    password: Annotated[str, Field(max_length=1000, description="that user's, from the environment, or empty")] = ""
    sender: Annotated[str, AfterValidator(_sender), Field(description='an address such as "Quota <quota@example.com>"')]


class NotificationsShape(Shape):
    kinds: list[Annotated[Literal[KINDS], Field(description=f"one of {_KINDS}")]] = []  # type: ignore[valid-type]
    thresholds: Shares = [0.8, 0.95]
    webhook: WebhookShape | None = None
    email: EmailShape | None = None
