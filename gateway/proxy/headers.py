"""Which headers cross the gateway. FACTS section 7 has the reasons.

Towards the upstream only an allow-list passes, so the client's key, cookies and addresses never do. Towards the client
all passes but what belongs to one connection, to the upstream's account, or to its own limits.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

Headers = list[tuple[bytes, bytes]]
OwnHeaders = tuple[tuple[bytes, bytes], ...]

#: What a client may tell an upstream.
TO_UPSTREAM = frozenset(
    b"accept accept-language anthropic-beta anthropic-dangerous-direct-browser-access anthropic-version content-type "
    b"openai-beta range traceparent tracestate user-agent x-goog-api-client x-goog-user-project".split()
)

#: What belongs to one connection (RFC 9110, 7.6.1), is rebuilt, or is the operator's own business.
_NOT_TO_CLIENT = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authentication-info proxy-connection te trailer transfer-encoding "
    b"upgrade content-length set-cookie set-cookie2 openai-organization openai-project anthropic-organization-id "
    b"x-request-id request-id ratelimit ratelimit-policy strict-transport-security alt-svc".split()
)
_NOT_TO_CLIENT_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"x-quota-")

#: Query parameters that carry credentials.
_CREDENTIAL_PARAMETERS = frozenset(b"key api_key api-key apikey access_token token auth".split())


def to_upstream(headers: Headers, own: OwnHeaders) -> Headers:
    """The client's headers that pass, then the upstream's own ones. `identity`: a meter must be able to read the answer
    (FACTS section 1)."""
    allowed = _allowed_beside(own)
    if named := _named_in_connection(headers):
        allowed -= named
    passed = [item for item in headers if item[0] in allowed]
    passed.append((b"accept-encoding", b"identity"))
    passed += own
    return passed


def to_client(headers: Headers) -> Headers:
    """The upstream's headers that pass. Framing is left out: it is made anew."""
    dropped = _NOT_TO_CLIENT | _named_in_connection(headers)
    return [item for item in headers if item[0] not in dropped and not item[0].startswith(_NOT_TO_CLIENT_PREFIXES)]


def target(raw_path: bytes, query: bytes) -> bytes:
    """The path and query to ask the upstream for, without credentials in the query."""
    if not query:
        return raw_path
    kept = b"&".join(pair for pair in query.split(b"&") if not _is_credential(pair))
    return raw_path + b"?" + kept if kept else raw_path


#: Most paths: nothing in it can be read in two ways.
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_:~-]+)+")


def path_fault(path: str, raw_path: bytes) -> str | None:
    """Why a path must not be routed, or None. What the route is matched on and what the upstream reads must be one
    path."""
    if _PLAIN_PATH.fullmatch(raw_path):
        return None
    if ".." in path or "//" in path or "\\" in path or "/./" in path or path.endswith("/."):
        return "the path must not contain dot segments, empty segments or a backslash"
    if b"%" in raw_path:
        lowered = raw_path.lower()
        if b"%2f" in lowered or b"%5c" in lowered or b"%00" in lowered or b"%25" in lowered:
            return "the path must not contain an encoded slash, percent sign or NUL"
    if not path.isprintable():
        return "the path must not contain control characters"
    return None


@lru_cache(maxsize=256)
def _allowed_beside(own: OwnHeaders) -> frozenset[bytes]:
    return TO_UPSTREAM - {name for name, _ in own}


def _named_in_connection(headers: Headers) -> frozenset[bytes]:
    """The headers that were meant for one hop only."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            listed = b",".join(value for name, value in headers if name == b"connection")
            return frozenset(token.strip().lower() for token in listed.split(b","))
    return _NOTHING


_NOTHING: frozenset[bytes] = frozenset()


def _is_credential(pair: bytes) -> bool:
    name = unquote_to_bytes(pair.partition(b"=")[0]) if b"%" in pair else pair.partition(b"=")[0]
    return name.lower() in _CREDENTIAL_PARAMETERS
