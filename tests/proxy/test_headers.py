"""What crosses the gateway, in either direction, and what never does."""

from __future__ import annotations

import pytest

from gateway.proxy.headers import Headers, path_fault, target, to_client, to_upstream

OWN = ((b"authorization", b"Bearer upstream-secret"),)
IDENTITY = (b"accept-encoding", b"identity")


def names(headers: Headers) -> set[bytes]:
    return {name for name, _ in headers}


# ── towards the upstream ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_upstream_gets_what_the_client_may_say_and_the_upstreams_own_headers() -> None:
    passes = [
        (b"accept", b"text/event-stream"),
        (b"anthropic-beta", b"a"),
        (b"anthropic-beta", b"b"),
        (b"anthropic-version", b"2023-06-01"),
        (b"content-type", b"application/json"),
        (b"openai-beta", b"assistants=v2"),
        (b"traceparent", b"00-1-2-01"),
        (b"user-agent", b"OpenAI/Python 3.52"),
    ]

    assert to_upstream(passes, OWN) == [*passes, IDENTITY, *OWN]


@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"proxy-authorization", b"cookie", b"cookie2",
        b"x-user-id", b"x-gateway-secret", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via",
        b"host", b"origin", b"referer", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te",
        b"trailer", b"upgrade", b"expect", b"proxy-connection", b"http2-settings", b"accept-encoding",
        b"content-encoding", b"openai-organization", b"openai-project", b"x-made-up",
    ],
)  # fmt: skip
def test_nothing_else_that_a_client_says_reaches_an_upstream(name: bytes) -> None:
    assert to_upstream([(name, b"the client's")], OWN) == [IDENTITY, *OWN]


def test_a_header_of_the_upstreams_own_replaces_the_clients() -> None:
    own = (*OWN, (b"anthropic-version", b"2023-06-01"), (b"user-agent", b"quotagate"))

    sent = to_upstream([(b"anthropic-version", b"1999"), (b"user-agent", b"curl"), (b"accept", b"*/*")], own)

    assert sent == [(b"accept", b"*/*"), IDENTITY, *own]


@pytest.mark.parametrize("connection", [b"anthropic-beta", b"close, Anthropic-Beta", b"keep-alive,anthropic-beta ,x"])
def test_a_header_that_the_client_names_in_connection_stays_behind(connection: bytes) -> None:
    """RFC 9110, 7.6.1: it was meant for this hop."""
    sent = to_upstream([(b"anthropic-beta", b"a"), (b"connection", connection), (b"accept", b"*/*")], ())

    assert sent == [(b"accept", b"*/*"), IDENTITY]


# ── towards the client ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_gets_what_the_upstream_says_of_its_answer() -> None:
    answer = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        (b"content-encoding", b"gzip"),
        (b"etag", b'"x"'),
        (b"retry-after", b"7"),
        (b"x-should-retry", b"true"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"openai-processing-ms", b"12"),
        (b"location", b"/v1/files/1"),
    ]

    assert to_client(answer) == answer


@pytest.mark.parametrize(
    "name",
    [
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info", b"proxy-connection", b"te",
        b"trailer", b"transfer-encoding", b"upgrade", b"content-length", b"set-cookie", b"set-cookie2",
        b"openai-organization", b"openai-project", b"anthropic-organization-id", b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-tokens", b"anthropic-ratelimit-tokens-remaining", b"ratelimit", b"ratelimit-policy",
        b"x-quota-remaining", b"x-quota-warning", b"x-request-id", b"request-id", b"strict-transport-security",
    ],
)  # fmt: skip
def test_what_belongs_to_one_connection_or_to_the_operators_account_stays_behind(name: bytes) -> None:
    assert to_client([(b"content-type", b"text/plain"), (name, b"the upstream's")]) == [
        (b"content-type", b"text/plain")
    ]


@pytest.mark.parametrize(
    "connection",
    [
        [(b"connection", b"x-hop")],
        [(b"connection", b"close, X-Hop")],
        [(b"connection", b"keep-alive"), (b"connection", b" x-hop\t")],
        [(b"connection", b",,x-hop,")],
    ],
)
def test_a_header_that_the_upstream_names_in_connection_stays_behind(connection: Headers) -> None:
    assert to_client([(b"x-hop", b"1"), *connection, (b"x-end", b"2")]) == [(b"x-end", b"2")]


# ── the query ────────────────────────────────────────────────────────────────────────────────────────────────────────

PATH = b"/v1beta/models/gemini:streamGenerateContent"


def test_a_path_without_a_query_is_asked_for_as_it_stands() -> None:
    assert target(b"/v1/a%20b;c=d/%C3%A9", b"") == b"/v1/a%20b;c=d/%C3%A9"


@pytest.mark.parametrize(
    "query",
    [
        b"alt=sse",
        b"a=%20&b=+&c=%2B&d=%2f%2F",
        b"a&b=&=c&&d==e&",
        b"name=%FF%fe&raw=\xe9",
        b"q=a;b&x=1?2&y=a/b:@",
        b"keys=1&my_key=2&tokens=3&authentic=4",
        b"value=key%3D1",
    ],
)
def test_a_query_without_credentials_passes_byte_for_byte(query: bytes) -> None:
    assert target(PATH, query) == PATH + b"?" + query


@pytest.mark.parametrize(
    "name", [b"key", b"KEY", b"api_key", b"api-key", b"apikey", b"access_token", b"token", b"auth"]
)
def test_credentials_in_the_query_stay_behind(name: bytes) -> None:
    assert target(PATH, name + b"=secret") == PATH
    assert target(PATH, b"alt=sse&" + name + b"=secret") == PATH + b"?alt=sse"
    assert target(PATH, name + b"=secret&" + name + b"=another&alt=sse") == PATH + b"?alt=sse"


@pytest.mark.parametrize("name", b"%6b%65%79 k%65y api%5Fkey access%5ftoken %4BEY".split())
def test_a_credential_with_an_encoded_name_stays_behind_too(name: bytes) -> None:
    assert target(PATH, b"alt=sse&" + name + b"=secret") == PATH + b"?alt=sse"


@pytest.mark.parametrize(
    "kept",
    [
        b"alt=sse",
        b"a=%20&b=+&c=%2B&d=%2f%2F",
        b"a&b=&d==e",
        b"name=%FF%fe",
        b"raw=\xe9",
        b"q=a;b&x=1?2&y=a/b:@",
        b"filter=(a*b)~'c'!",
    ],
)
def test_the_rest_of_a_query_with_a_credential_passes_byte_for_byte(kept: bytes) -> None:
    assert target(PATH, b"key=secret&" + kept) == PATH + b"?" + kept
    assert target(PATH, kept + b"&key=secret") == PATH + b"?" + kept


# ── the path ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/v1/chat/completions", b"/v1/chat/completions"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", b"/v1beta/models/gemini-2.5-flash:generateContent"),
        ("/v1/files/a b", b"/v1/files/a%20b"),
        ("/v1/files/é", b"/v1/files/%C3%A9"),
        ("/v1/.well-known", b"/v1/.well-known"),
        ("/v1/files/a.", b"/v1/files/a."),
        ("/", b"/"),
        ("/v1/", b"/v1/"),
    ],
)
def test_an_ordinary_path_is_routed(path: str, raw_path: bytes) -> None:
    assert path_fault(path, raw_path) is None


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/v1/../admin", b"/v1/../admin"),
        ("/v1/../admin", b"/v1/%2e%2e/admin"),
        ("/v1/../admin", b"/v1/.%2E/admin"),
        ("/v1/..", b"/v1/.."),
        ("/../v1", b"/../v1"),
        ("/v1/./admin", b"/v1/./admin"),
        ("/v1/./admin", b"/v1/%2e/admin"),
        ("/v1/.", b"/v1/."),
        ("/v1/..;/admin", b"/v1/..;/admin"),
        ("//v1", b"//v1"),
        ("/v1//chat", b"/v1//chat"),
        ("/v1/a/b", b"/v1/a%2Fb"),
        ("/v1/a/b", b"/v1/a%2fb"),
        ("/v1//b", b"/v1/%2fb"),
        ("/v1/a%2Fb", b"/v1/a%252Fb"),
        ("/v1/a%b", b"/v1/a%25b"),
        ("/v1\\admin", b"/v1\\admin"),
        ("/v1\\admin", b"/v1%5cadmin"),
        ("/v1\\admin", b"/v1%5Cadmin"),
        ("/v1/a\x00", b"/v1/a%00"),
        ("/v1/a\r\nX: y", b"/v1/a%0d%0aX:%20y"),
        ("/v1/a\tb", b"/v1/a%09b"),
        ("/v1/a\x7f", b"/v1/a%7f"),
        ("http://169.254.169.254/latest", b"http://169.254.169.254/latest"),
        ("https://example.com", b"https://example.com"),
    ],
)
def test_a_path_that_could_be_read_in_two_ways_is_refused(path: str, raw_path: bytes) -> None:
    fault = path_fault(path, raw_path)

    assert fault is not None
    assert fault.startswith("the path must not contain")
