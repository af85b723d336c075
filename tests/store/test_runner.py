"""The runner: a call is sent until it is answered, always with its id, and a reply is its own call's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import redis

from gateway.domain.errors import Indeterminate, QuotagateError, ScriptFault, StoreUnavailable
from gateway.domain.reservation import GrantConflict, Granted, Opened, Released
from gateway.domain.tier import Tier
from gateway.store import calls
from gateway.store.calls import Call
from gateway.store.keys import Keys
from gateway.store.loader import load_all
from gateway.store.runner import ATTEMPTS, Runner, connect, read
from tests.store.resp import CutsReplies
from tests.support.epoch import ready
from tests.support.servers import RedisServer, free_port

T = TypeVar("T")
PAYG = Tier("payg")
ADA = Keys().account("ada")


def grant(id: str = "g1", amount: int = 100, key: str = ADA) -> Call[calls.GrantOutcome]:
    return calls.grant(key, id, amount, kind="TOP_UP", reason="paid", tier=PAYG)


def granted(client: redis.Redis) -> int:
    return int(client.hget(ADA, "granted") or 0)


# ── calls and their outcomes ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_has_its_outcome(runner: Runner) -> None:
    assert runner.run(grant()) == Granted("g1", 100)
    assert runner.run(grant(amount=7)) == GrantConflict("g1", 100)


def test_many_calls_have_their_outcomes_in_order(runner: Runner) -> None:
    outcomes = runner.run_many([grant(f"g{number}", number) for number in range(1, 101)])

    assert [outcome.id for outcome in outcomes] == [f"g{number}" for number in range(1, 101)]
    assert outcomes[-1] == Granted("g100", sum(range(1, 101)))


def test_calls_of_many_scripts_go_together(runner: Runner) -> None:
    bob, carol = Keys().account("bob"), Keys().account("carol")
    mixed: list[Call[Any]] = [
        calls.open_account(bob, PAYG), grant(), calls.release(carol, "r1"), calls.peek(carol),
        calls.open_account(bob, PAYG),
    ]  # fmt: skip

    assert runner.run_many(mixed) == [
        Opened("opened", 1, "payg", ""), Granted("g1", 100), Released("r1", 0), None, Opened("exists", 1, "payg", "")
    ]  # fmt: skip


def test_no_calls_have_no_outcomes(runner: Runner) -> None:
    assert runner.run_many([]) == []


def test_scripts_that_the_server_has_forgotten_are_loaded_again(runner: Runner) -> None:
    runner.run(grant("g1"))
    runner.client.script_flush()

    mixed: list[Call[Any]] = [grant("g2"), calls.peek(ADA), grant("g3")]
    outcomes = runner.run_many(mixed)

    assert (outcomes[0], outcomes[2]) == (Granted("g2", 200), Granted("g3", 300))
    assert outcomes[1] is not None


@pytest.mark.parametrize("known", ["peek", "grant"])
def test_calls_run_in_their_order_whichever_scripts_the_server_knows(real_redis: RedisServer, known: str) -> None:
    runner = Runner(real_redis.client)
    runner.run_many([])
    real_redis.client.script_flush()
    real_redis.client.script_load(load_all(real_redis.client.info("server")["redis_version"])[known].text)

    mixed: list[Call[Any]] = [grant("g1"), calls.peek(ADA), grant("g2")]
    first, account, second = runner.run_many(mixed)

    assert (first, account.granted, second) == (Granted("g1", 100), 100, Granted("g2", 200))


def test_a_server_is_asked_once_which_scripts_it_understands(real_redis: RedisServer) -> None:
    real_redis.client.config_resetstat()
    runner = Runner(real_redis.client)

    for number in range(3):
        runner.run(grant(f"g{number}"))

    stats: Any = real_redis.client.info("commandstats")
    assert stats["cmdstat_info"]["calls"] == 1


def test_a_call_that_fails_leaves_its_neighbours_standing(runner: Runner) -> None:
    runner.client.set(Keys().account("bob"), "by hand")

    with pytest.raises(ScriptFault, match=r"grant g2: .*WRONGTYPE"):
        runner.run_many([grant("g1"), grant("g2", key=Keys().account("bob")), grant("g3")])

    assert granted(runner.client) == 200


# ── replies that are lost ────────────────────────────────────────────────────────────────────────────────────────────


def through(server: RedisServer, scenario: Callable[[CutsReplies, Runner], T]) -> T:
    """Runs a scenario, in a thread, through a line that can be cut."""

    async def serve() -> T:
        async with CutsReplies(server.port) as line:
            client = connect(line.url)
            try:
                return await asyncio.to_thread(scenario, line, Runner(client))
            finally:
                client.close()

    return asyncio.run(serve())


def test_a_call_whose_reply_was_lost_is_repeated_and_runs_once(real_redis: RedisServer) -> None:
    def scenario(line: CutsReplies, runner: Runner) -> tuple[Any, Any, int]:
        first = runner.run(grant("g1"))
        line.cut = b"a grant that is cut"
        return first, runner.run(grant("a grant that is cut")), line.cuts

    first, second, cuts = through(real_redis, scenario)

    assert cuts == 1
    assert (first, second) == (Granted("g1", 100), Granted("a grant that is cut", 200))
    assert granted(real_redis.client) == 200
    assert real_redis.client.xlen(Keys.of_partition("p00", "events")) == 3


def test_many_calls_whose_replies_were_lost_run_once_each(real_redis: RedisServer) -> None:
    def scenario(line: CutsReplies, runner: Runner) -> list[Any]:
        runner.run(grant("g0"))
        line.cut = b"\r\ng3\r\n"
        return list(runner.run_many([grant(f"g{number}") for number in range(1, 6)]))

    outcomes = through(real_redis, scenario)

    assert [outcome.id for outcome in outcomes] == ["g1", "g2", "g3", "g4", "g5"]
    assert granted(real_redis.client) == 600


class Refuses:
    """A redis-py client whose pipelines do what a test says."""

    def __init__(self, outcome: Exception) -> None:
        self.outcome = outcome
        self.sent: list[tuple[Any, ...]] = []

    def pipeline(self, transaction: bool) -> Refuses:
        assert not transaction
        return self

    def execute_command(self, *words: Any) -> None:
        self.sent.append(words)

    def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        raise self.outcome


@pytest.mark.parametrize("lost", [redis.ConnectionError("reset"), redis.TimeoutError("late")])
def test_a_call_that_is_never_answered_is_indeterminate(lost: Exception) -> None:
    client: Any = Refuses(lost)

    with pytest.raises(Indeterminate, match="did not answer") as caught:
        Runner(client, "7.4").run(grant("g7"))

    assert caught.value.__cause__ is lost
    assert len(client.sent) == ATTEMPTS
    assert {words[4] for words in client.sent} == {"g7"}
    assert {words[:4] for words in client.sent} == {("EVALSHA", load_all("7.4")["grant"].sha, 1, ADA)}


def test_a_server_that_was_never_reached_changed_nothing() -> None:
    runner = Runner(connect(f"redis://127.0.0.1:{free_port()}/0"))

    with pytest.raises(StoreUnavailable) as caught:
        runner.run(grant())

    assert not isinstance(caught.value, Indeterminate)


def test_a_client_repeats_nothing_by_itself(real_redis: RedisServer) -> None:
    """redis-py's own retries would send what may have run, without our looking at its id."""

    def scenario(line: CutsReplies, runner: Runner) -> int:
        runner.client.set("n", 0)
        line.cut = b"INCR"
        with pytest.raises(redis.ConnectionError):
            runner.client.incr("n")
        return line.cuts

    assert through(real_redis, scenario) == 1
    assert real_redis.client.get("n") == b"1"


# ── what a reply means ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "reply",
    [
        [b"granted", b"g2", 100],
        [b"granted"],
        [],
        b"OK",
        None,
        7,
        [b"granted", "g1", 100],
        redis.ResponseError("ERR Error running script"),
    ],
)
def test_a_reply_that_is_not_the_calls_own_is_a_fault(reply: Any) -> None:
    with pytest.raises(ScriptFault, match="grant g1"):
        read(grant("g1"), reply)


@pytest.mark.parametrize("reply", [[b"danced", b"g1", 1], [b"granted", b"g1"], [b"granted", b"g1", 1, 2]])
def test_a_reply_that_nobody_understands_is_a_fault(reply: Any) -> None:
    with pytest.raises(QuotagateError, match="no one understands"):
        read(grant("g1"), reply)


# ── a server that refuses ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["redis_62", "redis_7"])
def test_a_server_whose_memory_is_full_is_unavailable(request: pytest.FixtureRequest, kind: str) -> None:
    client: redis.Redis = request.getfixturevalue(kind).client
    ready(client)
    runner = Runner(client)
    runner.run(grant("g1"))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match=r"Redis refused grant: .*maxmemory"):
            runner.run(grant("g2"))
    finally:
        client.config_set("maxmemory", 0)

    assert granted(client) == 100


@pytest.mark.parametrize("kind", ["redis_62", "redis_7"])
def test_a_replica_is_unavailable(request: pytest.FixtureRequest, kind: str) -> None:
    client: redis.Redis = request.getfixturevalue(kind).client
    ready(client)
    runner = Runner(client)
    runner.run(grant("g1"))
    client.replicaof("127.0.0.1", str(free_port()))
    try:
        with pytest.raises(StoreUnavailable, match="Redis refused grant"):
            runner.run(grant("g2"))
    finally:
        client.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    "refusal",
    [
        redis.exceptions.OutOfMemoryError("command not allowed", status_code="OOM"),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica.", status_code="READONLY"),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        redis.ResponseError("Error running script (call to f_1): @user_script: 9: -OOM command not allowed"),
    ],
)
def test_a_refusal_is_no_fault_of_the_script(refusal: Exception) -> None:
    with pytest.raises(StoreUnavailable, match="Redis refused grant") as caught:
        read(grant(), refusal)
    assert not isinstance(caught.value, Indeterminate)
    with pytest.raises(Indeterminate):
        read(grant(), refusal, sent=True)


def test_a_server_that_still_loads_changed_nothing_and_is_not_asked_again() -> None:
    client: Any = Refuses(redis.exceptions.BusyLoadingError("loading the dataset", status_code="LOADING"))

    with pytest.raises(StoreUnavailable, match="Redis refused grant: loading") as caught:
        Runner(client, "7.4").run(grant())

    assert not isinstance(caught.value, Indeterminate)
    assert len(client.sent) == 1
