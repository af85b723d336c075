"""The session that a client says its call is part of: a conversation, a page, a job."""

from __future__ import annotations

from collections.abc import Mapping

HEADER = b"x-session-id"
MAX_CHARACTERS = 200


def session_in(headers: Mapping[bytes, bytes]) -> str | None:
    """The session that a request names, "" for none. None: what it names is not 1-200 printable characters in UTF-8."""
    value = headers.get(HEADER)
    if value is None:
        return ""
    try:
        session = value.decode()
    except UnicodeDecodeError:
        return None
    return session if 0 < len(session) <= MAX_CHARACTERS and session.isprintable() else None
