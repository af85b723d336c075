"""The key or token that a call shows."""

from __future__ import annotations

from gateway.proxy.identity.refusals import UNAUTHENTICATED
from gateway.proxy.refusals import CallRefused

#: Where a key may stand beside Authorization, in the order in which it is looked for.
KEY_HEADERS = (b"x-api-key", b"api-key", b"x-goog-api-key")


def shown_in(headers: dict[bytes, bytes]) -> bytes:
    """`Bearer KEY` as it stands in Authorization, or `key KEY` for one of KEY_HEADERS; b"": the call shows nothing.

    It is not taken apart here: a caller shows the same each time, and is remembered by it. Raises CallRefused for an
    Authorization of another scheme with nothing beside it.
    """
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization
    for name in KEY_HEADERS:
        if headers.get(name):
            return b"key " + headers[name]
    if authorization and authorization.lower() != b"bearer":
        raise CallRefused(UNAUTHENTICATED)
    return b""


def text_of(shown: bytes) -> bytes:
    """The key or token itself."""
    return shown.partition(b" ")[2].strip()
