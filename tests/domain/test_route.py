"""Which route governs a path: exact ones first, then the longest prefix."""

from __future__ import annotations

import pytest

from gateway.domain.route import Route, Routes


def route(path: str, *methods: str) -> Route:
    return Route(path, "main", "chat", "auto", frozenset(methods or {"POST"}))


ROUTES = Routes(
    (
        route("/v1/*"),
        route("/v1/models/*", "POST", "GET"),
        route("/v1/models/list"),
        route("/v1/chat"),
        route("/only", "GET"),
        route("/twice", "GET"),
        route("/twice", "POST"),
    )
)


def path_of(found: Route | None) -> str | None:
    return None if found is None else found.path


@pytest.mark.parametrize(
    ("method", "path", "governed_by"),
    [
        ("POST", "/v1/chat", "/v1/chat"),
        ("POST", "/v1/chat/", "/v1/*"),
        ("POST", "/v1/chat/completions", "/v1/*"),
        ("POST", "/v1/chats", "/v1/*"),
        ("POST", "/v1/", "/v1/*"),
        ("POST", "/v1/models/m1", "/v1/models/*"),
        ("POST", "/v1/models/a/b:c", "/v1/models/*"),
        ("POST", "/v1/models", "/v1/*"),
        ("POST", "/v1/models/list", "/v1/models/list"),
        # The exact route does not take GET; the one above it does.
        ("GET", "/v1/models/list", "/v1/models/*"),
        ("GET", "/twice", "/twice"),
        # Not ours.
        ("POST", "/v1", None),
        ("POST", "/v11/chat", None),
        ("POST", "/V1/chat", None),
        ("POST", "/", None),
        ("POST", "", None),
        ("POST", "/x/v1/chat", None),
        ("GET", "/v1/chat", None),
        ("POST", "/only", None),
        ("post", "/v1/chat", None),
    ],
)
def test_a_call_is_governed_by_the_most_exact_route_that_takes_its_method(
    method: str, path: str, governed_by: str | None
) -> None:
    assert path_of(ROUTES.match(method, path)) == governed_by


def test_two_routes_of_one_path_share_its_methods() -> None:
    get, post = ROUTES.match("GET", "/twice"), ROUTES.match("POST", "/twice")

    assert get is not None
    assert post is not None
    assert (set(get.methods), set(post.methods)) == ({"GET"}, {"POST"})
    assert ROUTES.match("PUT", "/twice") is None


@pytest.mark.parametrize(
    ("path", "governed_by"),
    [("/only", "/only"), ("/v1/models/list", "/v1/models/list"), ("/v1/models/m", "/v1/models/*"), ("/other", None)],
)
def test_a_path_is_governed_whatever_the_method(path: str, governed_by: str | None) -> None:
    assert path_of(ROUTES.governs(path)) == governed_by


def test_the_order_of_the_file_does_not_decide_between_prefixes() -> None:
    for order in (("/a/*", "/a/b/*"), ("/a/b/*", "/a/*")):
        routes = Routes(tuple(route(path) for path in order))
        assert path_of(routes.match("POST", "/a/b/c")) == "/a/b/*"


def test_a_route_below_everything_takes_everything() -> None:
    assert path_of(Routes((route("/*"),)).match("POST", "/any/path")) == "/*"


def test_no_routes_govern_nothing() -> None:
    assert Routes(()).match("POST", "/") is None
    assert Routes(()).governs("/") is None
