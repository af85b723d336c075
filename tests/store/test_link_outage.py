"""An outage is waited for once: then calls fail at once, until Redis has proved that it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.domain.errors import Indeterminate, StoreUnavailable
from gateway.domain.reservation import Released
from gateway.store import link as link_module
from gateway.store.link import Link
from tests.proxy.pools import raw_server
from tests.store.resp import HANG_UP, SILENCE, FakeRedis, Words, released
from tests.store.test_link import PATIENT_S, SHORT_S, linked, release, run, until
from tests.support.servers import free_port

pytestmark = pytest.mark.timeout(60)

#: As many calls would take 15 s if each of them waited for its deadline.
CALLS = 50
AT_ONCE_S = 3.0


def ponging(words: Words) -> bytes:
    return b"+PONG\r\n" if words[0] == b"PING" else released(words)


@asynccontextmanager
async def started(url: str) -> AsyncIterator[Link]:
    link = Link(url, deadline_s=SHORT_S)
    link.start()
    try:
        yield link
    finally:
        await link.close()


async def assert_calls_fail_at_once(link: Link) -> None:
    begun = asyncio.get_running_loop().time()
    for n in range(CALLS):
        with pytest.raises(StoreUnavailable) as raised:
            await link.run(release(f"late{n}"))
        assert not isinstance(raised.value, Indeterminate)
        with pytest.raises(StoreUnavailable):
            await link.read_hash("qg:keys")
    assert asyncio.get_running_loop().time() - begun < AT_ONCE_S


def test_once_redis_has_been_away_for_a_deadline_calls_fail_at_once() -> None:
    async def scenario() -> None:
        async with started(f"redis://127.0.0.1:{free_port()}") as link:
            with pytest.raises(StoreUnavailable):
                await link.run(release("first"))
            await assert_calls_fail_at_once(link)

    run(scenario)


def test_a_redis_that_listens_and_says_nothing_is_away() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def scenario() -> None:
        async with raw_server(deaf) as port, started(f"redis://127.0.0.1:{port}") as link:
            with pytest.raises(StoreUnavailable):
                await link.run(release("first"))
            await assert_calls_fail_at_once(link)

    run(scenario)


@pytest.mark.parametrize("then", [HANG_UP, SILENCE])
def test_a_redis_that_greets_and_then_drops_or_ignores_everyone_is_away(then: bytes | None) -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: then) as server, linked(server.url, SHORT_S) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            await until(lambda: any(words[0] == b"PING" for words in server.commands))
            await assert_calls_fail_at_once(link)
            assert set(server.calls) == {"r1"}

    run(scenario)


def test_calls_run_again_as_soon_as_redis_has_answered_and_each_change_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "BACKOFF_MAX_S", 0.1)
    caplog.set_level(logging.WARNING, "quotagate.store")

    async def scenario() -> None:
        async with FakeRedis(lambda _: HANG_UP) as server, linked(server.url, SHORT_S) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            await until(lambda: caplog.text.count("calls fail at once") == 1)
            tries = server.connections
            await until(lambda: server.connections > tries + 3)

            server.answer = ponging
            await link.wait_up(PATIENT_S)
            assert await link.run(release("r2")) == Released("r2", 7)

    run(scenario)
    assert (caplog.text.count("calls fail at once"), caplog.text.count("Redis is back")) == (1, 1)


def test_a_connection_that_ends_after_a_good_while_is_waited_for_anew() -> None:
    """Its calls find their deadline whole: an outage of an hour ago has nothing to do with it."""

    async def scenario() -> None:
        async with FakeRedis(ponging) as server, linked(server.url, SHORT_S) as link:
            await asyncio.sleep(2 * SHORT_S)
            server.drop_connections()
            await until(lambda: not link.is_up)
            assert await link.run(release("r1")) == Released("r1", 7)
            assert all(words[0] != b"PING" for words in server.commands)

    run(scenario)
