"""`Idempotency-Key`: the same key and request give the stored outcome, never a second call or charge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.domain.errors import Indeterminate, StoreUnavailable, UpstreamTimeout
from gateway.proxy import leases
from tests.proxy.pools import eventually, on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_middleware import CHAT, SECRET, Heard, Message, Site, Streaming, by_tokens, leaving
from tests.support.config import ROUTES, config_text


def keyed(key: bytes = b"k1", account: bytes = b"ada") -> list[tuple[bytes, bytes]]:
    return [(b"host", b"h"), (b"x-gateway-secret", SECRET), (b"x-user-id", account), (b"idempotency-key", key)]


def bare(heard: Heard) -> dict[bytes, bytes]:
    """The headers of an answer, without the mark of a replay."""
    return {name: value for name, value in heard.headers.items() if name != b"idempotent-replayed"}


def state(store: FakeStore) -> str | None:
    """What stands under the one key there is."""
    states = [store.hash(key.decode()).get("state") for key in store.client.scan_iter("*:idempotent:*")]
    assert len(states) <= 1
    return states[0] if states else None


@pytest.fixture
def site(store: FakeStore) -> Site:
    return Site(store)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TICK_S", 0.005)


# ── one call ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [path.replace("*", "m1:generateContent") for path in ROUTES])
@pytest.mark.parametrize("content_type", [b"application/json", b"text/event-stream"])
@on_a_loop
async def test_a_repeat_is_answered_byte_for_byte_in_every_dialect(
    site: Site, store: FakeStore, path: str, content_type: bytes
) -> None:
    site.backend.content_type = content_type
    site.backend.pieces = [b'data: {"text": "\xc3\xa9"}\r\n\r\n', b": ping\n\n", b"data: [DONE]\n\n"]

    first, again = [await site.call(path, headers=keyed()) for _ in range(2)]
    await site.gate.close()

    assert (again.status, again.body, bare(again)) == (first.status, first.body, first.headers)
    assert b"idempotent-replayed" not in first.headers
    assert again.headers[b"idempotent-replayed"] == b"true"
    assert len(site.backend.bodies) == 1
    assert site.account()["spent"] == 1
    assert store.scripts().count("reserve") == 1


@on_a_loop
async def test_of_many_calls_at_once_with_one_key_one_is_made_and_charged(site: Site) -> None:
    heard = await asyncio.gather(*(site.call(headers=keyed()) for _ in range(50)))
    await site.gate.close()

    running = [one for one in heard if one.status == 409]
    served = [one for one in heard if one.status == 200]
    assert len(running) + len(served) == 50
    assert {one.code for one in running} == {"idempotency_in_progress"}
    assert {one.headers[b"retry-after"] for one in running} == {b"1"}
    assert all(b"x-should-retry" not in one.headers for one in running)
    assert len(site.backend.bodies) == 1
    assert site.account() == {"granted": 20, "spent": 1, "held": 0}


@on_a_loop
async def test_another_accounts_same_key_is_another_one(site: Site) -> None:
    ada, bob = [await site.call(headers=keyed(account=account)) for account in (b"ada", b"bob")]
    await site.gate.close()

    assert (ada.status, bob.status, len(site.backend.bodies)) == (200, 200, 2)
    assert b"idempotent-replayed" not in bob.headers


@pytest.mark.parametrize(("path", "body"), [(CHAT, b'{"model": "m2"}'), ("/fixed", b'{"model": "m1"}')])
@on_a_loop
async def test_another_request_under_the_same_key_is_refused(site: Site, path: str, body: bytes) -> None:
    await site.call(headers=keyed())

    heard = await site.call(path, body, headers=keyed())
    await site.gate.close()

    assert (heard.status, heard.code, len(site.backend.bodies)) == (422, "idempotency_key_reused", 1)


@pytest.mark.parametrize("key", [b"", b"k" * 256, b"k\t1", "é".encode(), b"\x7f"])
@on_a_loop
async def test_a_key_that_is_none_is_refused(site: Site, store: FakeStore, key: bytes) -> None:
    heard = await site.call(headers=keyed(key))
    await site.gate.close()

    assert (heard.status, heard.code, store.calls) == (400, "invalid_idempotency_key", [])


@on_a_loop
async def test_the_longest_key_is_one(site: Site) -> None:
    heard = await site.call(headers=keyed(b" ~" * 127 + b"k"))
    await site.gate.close()

    assert heard.status == 200


@on_a_loop
async def test_two_keys_in_one_request_are_refused(site: Site) -> None:
    heard = await site.call(headers=[*keyed(b"k1"), (b"idempotency-key", b"k2")])
    await site.gate.close()

    assert (heard.status, heard.code) == (400, "ambiguous_header")


@on_a_loop
async def test_a_body_that_nobody_needs_to_read_belongs_to_the_request_all_the_same(site: Site) -> None:
    def audio(content: bytes) -> list[Message]:
        return [
            {"type": "http.request", "body": piece, "more_body": more}
            for piece, more in ((content, True), (b"", False))
        ]

    headers = [*keyed(), (b"content-type", b"audio/wav")]
    heard = [
        await site.call("/fixed", headers=headers, messages=audio(content)) for content in (b"one", b"one", b"two")
    ]
    await site.gate.close()

    assert ([one.status for one in heard], site.backend.bodies) == ([200, 200, 422], [b"one"])


@on_a_loop
async def test_a_call_without_a_key_asks_for_nothing_more(site: Site, store: FakeStore) -> None:
    await site.call()
    await site.gate.close()

    assert store.scripts() == ["reserve", "settle"]


@on_a_loop
async def test_keys_mean_nothing_where_they_are_switched_off(store: FakeStore) -> None:
    site = Site(store, config_text(more="[idempotency]\nenabled = false"))

    heard = [await site.call(headers=keyed()) for _ in range(2)]
    await site.gate.close()

    assert ([one.status for one in heard], len(site.backend.bodies)) == ([200, 200], 2)
    assert state(store) is None


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "calls"), [(200, 1), (201, 1), (400, 1), (404, 1), (500, 2), (503, 2)])
@on_a_loop
async def test_answers_and_refusals_of_the_backend_are_kept_and_its_failures_are_not(
    site: Site, status: int, calls: int
) -> None:
    site.backend.status = status

    first, again = [await site.call(headers=keyed()) for _ in range(2)]
    await site.gate.close()

    assert (first.status, again.status, len(site.backend.bodies)) == (status, status, calls)
    assert (b"idempotent-replayed" in again.headers) == (calls == 1)


@on_a_loop
async def test_a_failure_that_was_paid_for_is_kept(store: FakeStore) -> None:
    """It reported what it used: a second call would be a second charge."""
    site = by_tokens(store, "")
    site.backend.status = 500

    first, again = [await site.call(headers=keyed()) for _ in range(2)]
    await site.gate.close()

    assert (again.status, again.body, len(site.backend.bodies)) == (500, first.body, 1)
    assert site.account()["spent"] == 46


@on_a_loop
async def test_a_refusal_of_the_gateway_is_not_kept(site: Site, store: FakeStore) -> None:
    for _ in range(20):
        await site.call()
    denied = await site.call(headers=keyed())
    assert (denied.status, denied.code, state(store)) == (429, "insufficient_quota", None)

    await site.call(account=b"bob")
    store.client.hset("qg:{p00}:account:bob", "status", "suspended")
    assert (await site.call(headers=keyed(account=b"bob"))).status == 403
    store.faults["reserve"] = StoreUnavailable("Redis cannot be reached")
    assert (await site.call(headers=keyed(account=b"eve"))).status == 503
    await site.gate.close()

    assert (state(store), len(site.backend.bodies)) == (None, 21)


@pytest.mark.parametrize("fault", [UpstreamTimeout("it kept silent"), ZeroDivisionError("a defect")])
@on_a_loop
async def test_a_backend_that_did_not_answer_may_be_asked_again(site: Site, fault: Exception) -> None:
    site.backend.fault = fault
    (first,) = await asyncio.gather(site.call(headers=keyed()), return_exceptions=True)
    assert isinstance(first, ZeroDivisionError) or first.status == 504  # type: ignore[union-attr]

    site.backend.fault = None
    again = await site.call(headers=keyed())
    await site.gate.close()

    assert (again.status, site.account()["spent"]) == (200, 1)
    assert b"idempotent-replayed" not in again.headers


@on_a_loop
async def test_an_answer_that_is_too_large_is_not_kept_and_not_made_again(store: FakeStore) -> None:
    site = Site(store, config_text(more="[idempotency]\nmax_bytes = 10"))
    site.backend.pieces = [b"12345", b"67890"]
    whole = await site.call(headers=keyed(b"fits"))
    assert (await site.call(headers=keyed(b"fits"))).body == whole.body == b"1234567890"
    store.client.delete(*store.client.scan_iter("*:idempotent:*"))

    site.backend.pieces.append(b"!")
    first, again = [await site.call(headers=keyed()) for _ in range(2)]
    await site.gate.close()

    assert (first.status, first.body) == (200, b"1234567890!")
    assert (again.status, again.code) == (409, "idempotency_outcome_not_kept")
    assert again.headers[b"x-should-retry"] == b"false"
    assert (state(store), len(site.backend.bodies)) == ("unkept", 2)


@on_a_loop
async def test_the_outcome_is_kept_before_the_last_byte_goes_out(site: Site, store: FakeStore) -> None:
    """Whoever has the whole answer and asks again hears it again, and not that the call is running."""
    await site.call(headers=keyed())
    await site.gate.close()

    assert store.scripts() == ["remember", "reserve", "settle", "keep"]


# ── clients that leave, gateways that last or die ────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_client_that_left_finds_the_answer_when_it_comes_back(store: FakeStore) -> None:
    site, app = by_tokens(store, 'on_disconnect = "drain"'), Streaming()
    site.app.app = app
    call = asyncio.ensure_future(site.call(messages=leaving(), headers=keyed()))
    await eventually(lambda: site.gate.draining == 1)
    app.go_on.set()
    await call

    again = await site.call(body=b'{"model": "m1", "stream": true}', headers=keyed())
    await site.gate.close()

    assert (again.status, again.headers[b"idempotent-replayed"]) == (200, b"true")
    assert again.body.endswith(b"data: [DONE]\n\n")
    assert site.account()["spent"] == 70


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_call_that_was_stopped_for_a_client_that_left_is_not_made_again(store: FakeStore) -> None:
    """It was charged for what was delivered, and its answer was never whole."""
    site, app = by_tokens(store, 'on_disconnect = "stop"'), Streaming()
    site.app.app = app
    await site.call(messages=leaving(), headers=keyed())
    spent = site.account()["spent"]

    again = await site.call(body=b'{"model": "m1", "stream": true}', headers=keyed())
    await site.gate.close()

    assert (again.status, again.code) == (409, "idempotency_outcome_not_kept")
    assert site.account() == {"granted": 100_005, "spent": spent, "held": 0}


@pytest.mark.usefixtures("quick")
@on_a_loop
async def test_a_call_that_lasts_keeps_its_claim(store: FakeStore) -> None:
    site, app = by_tokens(store, ""), Streaming()
    object.__setattr__(site.gate.config, "lease_ms", 60)
    site.app.app = app
    call = asyncio.ensure_future(site.call(body=b'{"model": "m1", "stream": true}', headers=keyed()))
    await eventually(lambda: store.scripts().count("remember") >= 4)
    assert (state(store), len(site.gate.leases.open)) == ("running", 1)  # The claim is no call of its own.

    app.go_on.set()
    await call
    await site.gate.close()

    assert (state(store), site.gate.leases.open, site.gate.leases.claims) == ("done", {}, {})


@on_a_loop
async def test_a_call_whose_gateway_fell_silent_is_not_made_again(site: Site, store: FakeStore) -> None:
    await site.call(headers=keyed())
    (key,) = store.client.scan_iter("*:idempotent:*")
    store.client.hset(key, mapping={"state": "running", "lease_until": "1"})

    heard = await site.call(headers=keyed())
    await site.gate.close()

    assert (heard.status, heard.code) == (409, "idempotency_outcome_unknown")
    assert (state(store), len(site.backend.bodies)) == ("lost", 1)


@on_a_loop
async def test_an_outcome_that_redis_did_not_take_is_written_down_later(site: Site, store: FakeStore) -> None:
    store.faults["keep"] = StoreUnavailable("Redis cannot be reached")
    assert (await site.call(headers=keyed())).status == 200
    assert (state(store), len(site.gate.outbox)) == ("running", 1)

    store.faults.clear()
    await site.gate.close()

    assert state(store) == "done"


@on_a_loop
async def test_a_claim_whose_reply_was_lost_is_given_up(site: Site, store: FakeStore) -> None:
    store.faults["remember"] = Indeterminate("the reply was lost")
    heard = await site.call(headers=keyed())
    await site.gate.close()

    assert (heard.status, store.scripts()) == (503, ["remember", "keep"])
    assert (state(store), site.backend.bodies) == (None, [])


@on_a_loop
async def test_a_call_that_is_cancelled_leaves_no_claim_that_runs(site: Site, store: FakeStore) -> None:
    served = asyncio.Event()

    async def silent(scope: Message, receive: Any, send: Any) -> None:
        served.set()
        await asyncio.Event().wait()

    site.app.app = silent
    call = asyncio.ensure_future(site.call(headers=keyed()))
    await served.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await site.gate.close()

    assert call.cancelled()
    assert state(store) is None


@on_a_loop
async def test_a_key_is_in_no_refusal(site: Site) -> None:
    await site.call(headers=keyed(b"a-secret-of-mine"))
    heard = await site.call(body=b"{}", headers=keyed(b"a-secret-of-mine"))
    await site.gate.close()

    assert b"a-secret-of-mine" not in heard.body
    assert json.loads(heard.body)["error"]["code"] == "idempotency_key_reused"
