"""Bodies whose content does not set the price: they stream to the upstream as they come, bounded all the same."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.processes import GatewaySystem
from tests.support.upstream import Upstream, json_answer, openai_json

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def client(system: GatewaySystem, shared_upstream: Upstream, request: pytest.FixtureRequest) -> Iterator[httpx2.Client]:
    shared_upstream.script = lambda request: json_answer(openai_json())
    key = system.key(request.node.name, "pro")
    with httpx2.Client(base_url=system.url, headers={"x-api-key": key}, timeout=60) as made:
        yield made


def test_an_upload_streams_to_the_upstream_whole(
    shared_upstream: Upstream, client: httpx2.Client, system: GatewaySystem
) -> None:
    pieces = [bytes([n]) * 100_000 for n in range(50)]

    answer = client.post("/fixed", content=iter(pieces), headers=BINARY)

    assert answer.status_code == 200
    arrived = shared_upstream.requests[-1]
    assert arrived.body == b"".join(pieces)
    assert (arrived.header("transfer-encoding"), arrived.header("content-type")) == ("chunked", BINARY["Content-Type"])
    assert system.balance("test_an_upload_streams_to_the_upstream_whole")["spent"] == 3


@pytest.mark.parametrize("says_so", [True, False], ids=["with-a-length", "in-pieces"])
def test_an_upload_beyond_the_limit_is_refused_and_costs_nothing(
    client: httpx2.Client, system: GatewaySystem, request: pytest.FixtureRequest, says_so: bool
) -> None:
    pieces = [b"x" * 2**20] * 21

    answer = client.post("/fixed", content=b"".join(pieces) if says_so else iter(pieces), headers=BINARY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    balance = system.balance(request.node.name)
    assert (balance["held"], balance["spent"]) == (0, 0)


def test_a_body_that_sets_the_price_must_be_json(client: httpx2.Client) -> None:
    answer = client.post("/v1/chat/completions", content=b"\x00\x01", headers=BINARY)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request_body")
