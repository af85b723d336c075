"""`/api-docs` and `/openapi.json`: the APIs described, by this process alone."""

from __future__ import annotations

import hashlib
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.api import docs
from tests.api.test_quota import CONFIG, Door

STATIC = Path(docs.__file__).parent / "static"


@pytest.fixture(scope="module")
def door() -> Door:
    return Door()


class Page(HTMLParser):
    """What a page loads, and what runs in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._open = tag
        for name, value in attributes:
            if name in ("src", "srcset", "data", "action", "poster") or (tag == "link" and name == "href"):
                self.loads.append(value or "")
            if name.startswith("on") or name == "style":
                self.inline.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._open = ""


def test_the_page_loads_what_this_process_serves_and_nothing_else(door: Door) -> None:
    answer = door.request("GET", "/api-docs")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert page.inline == []
    assert [url for url in page.loads if url.startswith("/")] == [
        "/api-docs/swagger-ui.css", "/api-docs/swagger-ui-bundle.js", "/api-docs/docs.js",
    ]  # fmt: skip
    assert [url for url in page.loads if not url.startswith("/")] == ["data:,"]
    for url in page.loads[1:]:
        served = door.request("GET", url)
        assert (served.status_code, served.headers["x-content-type-options"]) == (200, "nosniff")
        assert served.content == (STATIC / url.rpartition("/")[2]).read_bytes()


def test_the_page_may_reach_no_other_host(door: Door) -> None:
    rules = dict(
        rule.strip().split(" ", 1)
        for rule in door.request("GET", "/api-docs").headers["content-security-policy"].split(";")
    )

    assert rules.pop("img-src") == "'self' data:"
    assert set(rules.values()) <= {"'none'", "'self'"}
    assert (rules["default-src"], rules["script-src"], rules["connect-src"]) == ("'none'", "'self'", "'self'")


def test_what_is_loaded_names_nothing_to_load_from_elsewhere() -> None:
    styles = (STATIC / "swagger-ui.css").read_text()
    assert [url for url in re.findall(r"url\(([^)]*)", styles) if not url.strip("\"'").startswith("data:")] == []
    assert "@import" not in styles
    settings = (STATIC / "docs.js").read_text()
    assert "validatorUrl: null" in settings
    assert re.findall(r"https?://|//[a-z]", settings) == []


def test_the_files_are_the_ones_that_the_notice_names() -> None:
    lines = (STATIC / "NOTICE").read_text().splitlines()
    named = {line.split()[1]: line.split()[0] for line in lines if "  swagger" in line}

    assert sorted(named) == ["swagger-ui-bundle.js", "swagger-ui.css"]
    for name, sha256 in named.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("rule", ["docs = false", "enabled = false"])
def test_without_docs_neither_the_page_nor_the_description_is_served(rule: str) -> None:
    closed = Door(CONFIG + f"\n[api]\n{rule}\n")

    for path in ("/api-docs", "/api-docs/docs.js", "/openapi.json"):
        assert closed.request("GET", path).status_code == 404
    assert closed.request("GET", "/api/quota").status_code == 200


# ── the description ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def document(door: Door) -> dict[str, Any]:
    found: dict[str, Any] = door.request("GET", "/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_operation_says_what_it_does_who_may_and_how_it_refuses(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert len(operations(document)) > 25
    for name, operation in operations(document):
        assert operation["summary"], name
        assert len(operation["description"]) > 10, name
        assert operation["tags"], name
        assert operation["security"], name
        refusals = {status for status in operation["responses"] if int(status) >= 400}
        assert {"400", "401", "403", "404", "422", "503"} <= refusals, name
        for status in refusals:
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"], name


def test_no_two_operations_have_one_name(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]

    assert len(set(names)) == len(names)


#: What they do is named by the request itself: asking twice does nothing more.
HARMLESS = {
    "POST /api/billing/daily-reset",
    "POST /api/operations/{name}/{reservation}/commit",
    "POST /api/operations/{name}/{reservation}/cancel",
    "POST /api/payments/{id}/cancel",
    "POST /api/webhooks/xendit",
    "POST /api/webhooks/stripe",
}


def test_every_write_says_that_it_can_be_repeated(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if name in HARMLESS:
            continue
        headers = [each["name"].lower() for each in operation.get("parameters", ()) if each["in"] == "header"]
        assert ("idempotency-key" in headers) is not name.startswith("GET "), name


def test_what_an_operation_takes_admits_no_unknown_field(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        for schema in (body, *body.get("anyOf", ())):
            if "$ref" in schema:
                assert schemas[schema["$ref"].rpartition("/")[2]]["additionalProperties"] is False, name


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    hatchling = pytest.importorskip("hatchling.builders.wheel")
    built = next(
        iter(hatchling.WheelBuilder(str(STATIC.parents[2])).build(directory=str(tmp_path), versions=["standard"]))
    )

    names = set(zipfile.ZipFile(built).namelist())

    assert {f"gateway/api/static/{path.name}" for path in STATIC.iterdir()} <= names


def test_each_write_of_what_is_sold_and_given_takes_an_idempotency_key_and_no_tag_is_of_users_and_operators(
    door: Door,
) -> None:
    document = door.request("GET", "/openapi.json").json()
    tags: dict[str, set[bool]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], set()).add(path.startswith("/api/admin/"))
            if method == "get" or not re.match("/api/(admin/)?(payments|subscriptions|rewards|codes)", path):
                continue
            assert "idempotency-key" in [each["name"] for each in operation["parameters"]], path

    assert {tag for tag, sides in tags.items() if len(sides) == 2} == set()
