"""What the observer hears of governed calls, however they end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable, UpstreamBroken
from gateway.observe.metrics import Metrics
from gateway.observe.observation import Observation
from gateway.observe.observer import Observer
from gateway.store import calls
from tests.observe.samples import value
from tests.proxy.pools import on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import Site
from tests.support.config import config_text
from tests.support.upstream import DONE, openai_chunk, openai_usage_chunk


class Ear(Observer):
    """Keeps what it heard."""

    def __init__(self) -> None:
        super().__init__(Metrics())
        self.heard: list[Observation] = []

    def ended(self, seen: Observation) -> None:
        super().ended(seen)
        self.heard.append(seen)

    def text(self) -> str:
        assert self.metrics is not None
        self.metrics.fold()
        return self.metrics.render("")[0].decode()


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def site(store: FakeStore, ear: Ear) -> Site:
    site = Site(store)
    site.gate.observer = ear
    return site


@on_a_loop
async def test_a_call_that_is_served_is_heard_of_once_with_all_that_is_known(site: Site, ear: Ear) -> None:
    heard = await site.call(body=b'{"model": "m1"}')
    await site.gate.close()

    (seen,) = ear.heard
    assert (seen.outcome, seen.status, seen.route, seen.upstream) == ("served", 200, "/v1/chat/completions", "main")
    assert (seen.account, seen.key, seen.tier, seen.model) == ("ada", "", "free", "m1")
    assert (seen.cost, seen.usage and seen.usage[:4]) == (1, (21, 0, 0, 25))
    assert heard.headers[b"x-request-id"] == seen.request_id.encode()
    instants = [seen.arrived_at, seen.read_at, seen.reserved_at, seen.answering_at, seen.answered_at, seen.settled_at]
    assert 0 < instants[0] <= instants[-1] <= seen.ended_at
    assert instants == sorted(instants)


@pytest.mark.parametrize(
    ("change", "call", "outcome", "code"),
    [
        ({}, {"headers": [(b"host", b"h")]}, "refused", "invalid_api_key"),
        ({}, {"headers": []}, "refused", "missing_host"),
        ({}, {"method": "GET"}, "refused", "method_not_allowed"),
        ({}, {"body": b"{"}, "refused", "invalid_request_body"),
        ({"status": 404}, {}, "upstream_refused", ""),
        ({"status": 500}, {}, "upstream_failed", ""),
        ({"fault": UpstreamBroken("gone")}, {}, "upstream_failed", "upstream_broken"),
        ({}, {"messages": [{"type": "http.disconnect"}]}, "client_left", ""),
    ],
)
@on_a_loop
async def test_a_call_that_is_not_served_is_heard_of_once(
    site: Site, ear: Ear, change: dict[str, Any], call: dict[str, Any], outcome: str, code: str
) -> None:
    for name, changed in change.items():
        setattr(site.backend, name, changed)

    # The chat of the free tier has a fixed price for it, and tokens for others: its body is read.
    heard = await site.call(**call)
    await site.gate.close()

    (seen,) = ear.heard
    assert (seen.outcome, seen.code) == (outcome, code)
    if heard.messages:
        assert seen.status == heard.status
        assert heard.headers[b"x-request-id"] == seen.request_id.encode()


@on_a_loop
async def test_a_denial_is_counted_by_policy_and_tier(site: Site, ear: Ear) -> None:
    for _ in range(21):
        await site.call()
    await site.gate.close()

    assert (ear.heard[-1].outcome, ear.heard[-1].tier) == ("denied", "free")
    assert value(ear.text(), "quotagate_requests_total", outcome="served", tier="free") == 20
    assert value(ear.text(), "quotagate_denials_total", policy=ear.heard[-1].policy or "", tier="free") == 1


@on_a_loop
async def test_a_call_that_a_dead_store_refuses_is_logged_under_the_id_that_its_client_hears(
    site: Site, ear: Ear, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.faults["reserve"] = StoreUnavailable("gone")

    heard = await site.call()
    await site.gate.close()

    (record,) = [record for record in caplog.records if "a call was refused" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert heard.headers[b"x-request-id"].decode() == ear.heard[0].request_id == record.__dict__["request_id"]
    assert ear.heard[0].code == "store_unavailable"


@on_a_loop
async def test_every_line_about_a_call_carries_its_id(
    site: Site, ear: Ear, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.faults["settle"] = StoreUnavailable("gone")
    await site.call()
    store.faults.clear()
    site.backend.fault = UpstreamBroken("gone")
    await site.call()
    await site.gate.close()

    lines = [record for record in caplog.records if record.name == "quotagate.proxy"]
    assert [record.__dict__["request_id"] for record in lines] == [seen.request_id for seen in ear.heard]


@on_a_loop
async def test_a_call_that_is_cancelled_is_heard_of(site: Site, ear: Ear) -> None:
    answered = asyncio.Event()

    async def hang(scope: Any, receive: Any, send: Any) -> None:
        answered.set()
        await asyncio.Event().wait()

    site.app.app = hang
    call = asyncio.ensure_future(site.call())
    await answered.wait()
    assert value_of_open(ear, site) == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await site.gate.close()

    assert [seen.outcome for seen in ear.heard] == ["client_left"]


def value_of_open(ear: Ear, site: Site) -> float | None:
    """The gauge, as a gate that was built with this observer wires it."""
    ear.watch(site.gate.leases.open, site.gate.outbox)
    return value(ear.text(), "quotagate_open_calls")


@on_a_loop
async def test_a_gate_without_an_observer_has_one_that_does_nothing(store: FakeStore) -> None:
    site = Site(store, config_text())

    assert (await site.call()).status == 200
    await site.gate.close()

    assert site.gate.observer.metrics is None


async def outgrow(site: Site, store: FakeStore, text: str, said: int) -> None:
    """An account of 300 units streams a text, of which the backend says at the end how many tokens it was."""
    tier = site.gate.config.tiers["payg"]
    account = site.gate.keys.account("ada")
    store.runner.run(calls.open_account(account, tier))
    store.runner.run(calls.grant(account, "g1", 300, kind="TOP_UP", reason="test", tier=tier))

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": openai_chunk(text), "more_body": True})
        await send({"type": "http.response.body", "body": openai_usage_chunk(10, said) + DONE, "more_body": False})

    site.app.app = answer
    await site.call(body=b'{"model": "m1", "stream": true, "max_tokens": 100, "messages": []}')
    await site.gate.close()


@on_a_loop
async def test_what_no_balance_covers_is_counted(site: Site, ear: Ear, store: FakeStore) -> None:
    await outgrow(site, store, "word", said=2000)

    (seen,) = ear.heard
    assert (seen.outcome, seen.cost, seen.written_off) == ("served", 2010, 1710)
    assert value(ear.text(), "quotagate_written_off_units_total") == 1710


@on_a_loop
async def test_a_stream_that_is_cut_is_counted_as_cut(site: Site, ear: Ear, store: FakeStore) -> None:
    await outgrow(site, store, "word " * 2000, said=2000)

    (seen,) = ear.heard
    assert (seen.outcome, seen.written_off) == ("cut", 0)
    assert 0 < seen.cost <= 300
    assert value(ear.text(), "quotagate_renewals_refused_total") == 1
