"""Calls while Redis is away: those that are free go on where their route says so, and are recorded when it is back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config import parse
from gateway.domain.errors import Indeterminate, StoreUnavailable
from gateway.proxy import outbox
from gateway.store import calls
from tests.proxy.pools import on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_idempotency import keyed
from tests.proxy.test_middleware import ACCOUNT, CHAT, Message, Site
from tests.support.config import config_text, route
from tests.support.upstream import openai_json

AWAY = StoreUnavailable("Redis cannot be reached")
ALLOW = 'on_store_outage = "allow"\nstream_balance = true'


def site_that(store: FakeStore, extra: str) -> Site:
    routes = "".join(
        route(path, "openai-chat", operation, extra) for path, operation in ((CHAT, "chat"), ("/free", "free"))
    )
    return Site(store, config_text(routes=routes))


def go_away(store: FakeStore, fault: Exception = AWAY) -> None:
    store.faults = dict.fromkeys(("reserve", "settle", "release", "renew", "remember", "keep", "read"), fault)


@pytest.fixture
def site(store: FakeStore) -> Site:
    return site_that(store, ALLOW)


@pytest.mark.parametrize("fault", [AWAY, Indeterminate("the reply was lost")])
@on_a_loop
async def test_a_free_call_is_served_and_recorded_when_redis_is_back(
    site: Site, store: FakeStore, fault: Exception
) -> None:
    go_away(store, fault)
    heard = await site.call("/free")
    assert (heard.status, json.loads(heard.body)) == (200, openai_json(21, 25))
    assert heard.headers[b"x-request-id"]
    assert b"x-quota-remaining" not in heard.headers

    store.faults.clear()
    await site.gate.close()

    fields = store.hash(ACCOUNT)
    assert (fields["spent"], fields["held"], fields["requests"], fields["used_tokens"]) == ("0", "0", "1", "46")
    (done,) = [
        store.hash(key.decode()) for key in store.client.scan_iter("*:done:*") if b"settled" in store.client.hvals(key)
    ]
    assert done["cost"] == "0"


@on_a_loop
async def test_a_redis_that_comes_back_meanwhile_is_told_at_once(site: Site, store: FakeStore) -> None:
    async def mended(scope: Message, receive: Any, send: Any) -> None:
        store.faults.clear()
        await site.backend(scope, receive, send)

    go_away(store)
    site.app.app = mended
    heard = await site.call("/free")
    await site.gate.close()

    assert heard.headers[b"x-quota-remaining"] == b"20"
    assert store.hash(ACCOUNT)["used_tokens"] == "46"


@on_a_loop
async def test_a_stream_that_nobody_knows_the_balance_of_says_so(site: Site, store: FakeStore) -> None:
    go_away(store)
    site.backend.content_type = b"text/event-stream"
    heard = await site.call("/free")
    store.faults.clear()
    await site.gate.close()

    assert b': quota {"remaining":null,' in heard.body


@on_a_loop
async def test_a_call_that_costs_something_is_refused_even_there(site: Site, store: FakeStore) -> None:
    go_away(store)
    heard = await site.call()

    assert (heard.status, heard.code, site.backend.bodies) == (503, "store_unavailable", [])


@pytest.mark.parametrize("extra", ["", 'on_store_outage = "deny"'])
@on_a_loop
async def test_a_free_call_is_refused_where_the_route_does_not_allow_it(store: FakeStore, extra: str) -> None:
    site = site_that(store, extra)
    go_away(store)
    heard = await site.call("/free")

    assert (heard.status, heard.code, site.backend.bodies) == (503, "store_unavailable", [])


@on_a_loop
async def test_whom_nobody_can_identify_is_refused(site: Site, store: FakeStore) -> None:
    go_away(store)
    heard = await site.call("/free", headers=[(b"host", b"h"), (b"authorization", b"Bearer qg_never_seen")])

    assert (heard.status, site.backend.bodies) == (503, [])


@on_a_loop
async def test_the_tier_that_was_known_last_decides(store: FakeStore) -> None:
    """Chats are free in one tier only."""
    text = config_text(more="[tiers.gratis]\noperations = { chat = 0 }").replace(
        'operation = "chat"', f'operation = "chat"\n{ALLOW.splitlines()[0]}'
    )
    site = Site(store, text)
    await site.call()
    gratis = site.gate.config.tiers["gratis"]
    store.runner.run(calls.open_account(ACCOUNT, gratis, move=True))
    go_away(store)
    assert (await site.call()).status == 503
    store.faults.clear()
    assert (await site.call()).status == 200
    go_away(store)

    assert (await site.call()).status == 200
    store.faults.clear()
    await site.gate.close()


@on_a_loop
async def test_a_free_call_that_failed_leaves_nothing_behind(site: Site, store: FakeStore) -> None:
    go_away(store)
    site.backend.status = 500
    heard = await site.call("/free")
    store.faults.clear()
    await site.gate.close()

    assert heard.status == 500
    assert store.hash(ACCOUNT) == {}
    assert store.client.xlen("qg:{p00}:events") == 0


@on_a_loop
async def test_an_idempotency_key_cannot_be_kept_without_redis(site: Site, store: FakeStore) -> None:
    go_away(store)
    heard = await site.call("/free", headers=keyed())

    assert (heard.status, site.backend.bodies) == (503, [])


@on_a_loop
async def test_so_many_free_calls_are_kept_and_the_rest_is_counted(
    site: Site, store: FakeStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "MAX_PENDING", 3)
    go_away(store)
    heard = [await site.call("/free") for _ in range(5)]
    assert [one.status for one in heard] == [200] * 5
    assert (len(site.gate.outbox), site.gate.outbox.dropped) == (3, 2)
    assert "is dropped, call 2 of that kind: 3 wait for Redis" in caplog.text

    store.faults.clear()
    await site.gate.close()

    assert store.hash(ACCOUNT)["requests"] == "3"


@on_a_loop
async def test_what_was_held_is_never_dropped(site: Site, store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_PENDING", 0)
    store.faults["settle"] = AWAY
    await site.call()
    store.faults.clear()
    await site.gate.close()

    assert site.account()["spent"] == 1


# ── what `quotagate check` says of it ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("operation", "more", "warned"),
    [
        ("chat", "", True),
        ("fixed", "", True),
        ("free", "", False),
        ("chat", "[tiers.gratis]\noperations = { chat = 0 }", False),
        ("free", "[tiers.dear]\noperations = { free = 1 }", False),
    ],
)
def test_a_route_that_allows_what_no_tier_has_for_free_is_warned_of(operation: str, more: str, warned: bool) -> None:
    text = config_text(routes=route("/x", "auto", operation, 'on_store_outage = "allow"'), more=more)

    warnings = parse(text, "config.toml", {}).warnings

    expected = f'routes[0].on_store_outage = "allow" never applies: every tier prices the operation "{operation}"'
    assert warnings == ((expected,) if warned else ())
