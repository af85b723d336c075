"""The session that a request names in `X-Session-Id`, for handlers that keep it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request

from gateway.proxy.refusals import CallRefused, Refusal
from gateway.proxy.session import session_in

_NO_SESSION = Refusal(422, "invalid_request", "An X-Session-Id has 1 to 200 printable characters.")


def _session(
    request: Request,
    x_session_id: Annotated[
        str | None, Header(description="What this is part of: a conversation, a page. Up to 200 characters.")
    ] = None,
) -> str:
    session = session_in(dict(request.scope["headers"]))
    if session is None:
        raise CallRefused(_NO_SESSION)
    return session


#: The session of a request, "" for none.
Session = Annotated[str, Depends(_session)]
