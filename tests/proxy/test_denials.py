"""Denials that are remembered: true until a reset or a change, and never believed for long without a look."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.config import Config, parse
from gateway.domain.errors import StoreUnavailable
from gateway.domain.policy import NONE_APPLY, Applied, Policy, parse_rate
from gateway.domain.principal import Principal
from gateway.domain.reservation import Denied, Reserved
from gateway.domain.usage import Usage
from gateway.proxy import denials
from gateway.proxy import gate as gate_module
from gateway.proxy.gate import Gate
from gateway.proxy.request import RequestFacts
from gateway.store import calls
from tests.proxy.pools import on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_gate import CHAT, DAY_MS, FIXED, FREE, hold, open_on
from tests.support.config import config_text


def reserves(store: FakeStore) -> int:
    return store.scripts().count("reserve")


def grant(store: FakeStore, gate: Gate, amount: int, id: str = "g1") -> None:
    tier = gate.config.tiers["free"]
    store.runner.run(calls.grant(gate.keys.account("ada"), id, amount, kind="TOP_UP", reason="paid", tier=tier))


async def exhaust(gate: Gate) -> None:
    """Ada's 20 units are spent, and nothing is held."""
    for _ in range(20):
        verdict, _, _ = await hold(gate, CHAT)
        await gate.store.run(calls.settle(gate.keys.account("ada"), verdict.id, 1, Usage()))
    await gate.denials.look()


@on_a_loop
async def test_an_exhausted_account_is_denied_once_by_redis_and_then_from_memory(store: FakeStore, gate: Gate) -> None:
    await exhaust(gate)
    first, _, _ = await hold(gate, CHAT)
    asked = len(store.calls)

    verdicts = [(await hold(gate, CHAT))[0] for _ in range(100)]

    assert len(store.calls) == asked
    assert isinstance(first, Denied)
    assert first.retry_after_ms is not None
    for verdict in verdicts:
        assert (verdict.policy, verdict.left) == ("day", 0)
        assert first.retry_after_ms - 60_000 < verdict.retry_after_ms <= first.retry_after_ms


@on_a_loop
async def test_the_wait_is_counted_down_and_ends_with_the_reset(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exhaust(gate)
    right = gate_module._local_ms
    now_ms = right()
    monkeypatch.setattr(gate_module, "_local_ms", lambda: now_ms)
    first, _, _ = await hold(gate, CHAT)
    asked = len(store.calls)

    monkeypatch.setattr(gate_module, "_local_ms", lambda: now_ms + first.retry_after_ms - 1)
    last, _, _ = await hold(gate, CHAT)
    assert (last.retry_after_ms, len(store.calls)) == (1, asked)

    monkeypatch.setattr(gate_module, "_local_ms", lambda: now_ms + first.retry_after_ms)
    await hold(gate, CHAT)
    assert len(store.calls) > asked


@on_a_loop
async def test_a_grant_is_honoured_after_the_next_look(store: FakeStore, gate: Gate) -> None:
    await exhaust(gate)
    await hold(gate, CHAT)
    grant(store, gate, 1)

    await gate.denials.look()

    verdict, _, _ = await hold(gate, CHAT)
    assert isinstance(verdict, Reserved)


@pytest.mark.parametrize("change", ["move", "refund", "another tier in the file"])
@on_a_loop
async def test_whatever_may_give_an_account_more_is_honoured(
    store: FakeStore, gate: Gate, config: Config, change: str
) -> None:
    lost, _, _ = await hold(gate, CHAT)
    store.runner.run(calls.renew(gate.keys.account("ada"), lost.id, 1, counted=1, lease_ms=1))
    store.client.zadd("qg:{p00}:holds", {lost.id: 1})
    assert store.runner.run(calls.expire("qg:{p00}:holds")).charged == 1
    for _ in range(19):
        verdict, _, _ = await hold(gate, CHAT)
        await gate.store.run(calls.settle(gate.keys.account("ada"), verdict.id, 1, Usage()))
    await gate.denials.look()
    assert isinstance((await hold(gate, CHAT))[0], Denied)
    if change == "move":
        open_on(store, gate, "pro", move=True)
    elif change == "refund":
        store.runner.run(calls.release(gate.keys.account("ada"), lost.id))
    else:
        gate.config = parse(config_text(), "config.toml", {})
    asked = reserves(store)

    await gate.denials.look()
    await hold(gate, CHAT)

    assert reserves(store) > asked


@on_a_loop
async def test_a_denial_while_something_is_held_is_not_remembered(store: FakeStore, gate: Gate) -> None:
    """The call under way may give it back."""
    await gate.denials.look()
    for _ in range(20):
        await hold(gate, CHAT)
    asked = len(store.calls)

    verdicts = [(await hold(gate, CHAT))[0] for _ in range(3)]

    assert all(isinstance(verdict, Denied) for verdict in verdicts)
    assert (len(store.calls), gate.denials.known) == (asked + 3, {})


@on_a_loop
async def test_denials_are_not_believed_when_nobody_could_look(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await exhaust(gate)
    await hold(gate, CHAT)
    store.faults["read"] = StoreUnavailable("Redis cannot be reached")
    with pytest.raises(StoreUnavailable):
        await gate.denials.look()
    asked = len(store.calls)
    right = time.monotonic

    await hold(gate, CHAT)
    assert len(store.calls) == asked
    monkeypatch.setattr(time, "monotonic", lambda: right() + denials.LOOK_EVERY_S + 1.0)
    await hold(gate, CHAT)
    assert len(store.calls) == asked + 1


@on_a_loop
async def test_nothing_is_believed_before_the_first_look(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "payg")
    for _ in range(3):
        await hold(gate)

    assert reserves(store) == 3 + 1  # The first one learns the account's tier.


@on_a_loop
async def test_a_smaller_or_a_free_call_is_asked_for_and_what_it_spends_is_seen(store: FakeStore, gate: Gate) -> None:
    for _ in range(18):
        verdict, _, _ = await hold(gate, CHAT)
        await gate.store.run(calls.settle(gate.keys.account("ada"), verdict.id, 1, Usage()))
    await gate.denials.look()
    assert (await hold(gate, FIXED))[0].left == 2

    smaller, _, _ = await hold(gate, CHAT)
    assert isinstance(smaller, Reserved)
    await gate.store.run(calls.settle(gate.keys.account("ada"), smaller.id, 1, Usage()))
    assert isinstance((await hold(gate, FREE))[0], Reserved)
    assert (await hold(gate, FIXED))[0].left == 1


@on_a_loop
async def test_what_no_reset_makes_possible_is_not_told_to_wait(store: FakeStore, gate: Gate) -> None:
    """Three units come with the next day, a thousand do not: the two denials are different ones."""
    await exhaust(gate)
    small, _, _ = await hold(gate, FIXED)
    view = gate.view("ada", gate.config)
    tier = gate.config.tiers["free"]

    assert (small.policy, small.most) == ("day", 5)
    assert gate.denials.recall(view, tier, NONE_APPLY, 5, gate.now_ms()) is not None
    assert gate.denials.recall(view, tier, NONE_APPLY, 6, gate.now_ms()) is None


@on_a_loop
async def test_what_only_a_grant_makes_possible_is_asked_for_again_on_the_next_day(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_on(store, gate, "payg")
    await gate.denials.look()
    await hold(gate)
    asked = len(store.calls)
    verdict, _, _ = await hold(gate)
    assert (verdict.policy, verdict.retry_after_ms, len(store.calls)) == ("credits", None, asked)

    right = gate_module._local_ms
    monkeypatch.setattr(gate_module, "_local_ms", lambda: right() + DAY_MS)
    await hold(gate)
    assert len(store.calls) > asked


@on_a_loop
async def test_one_look_reads_one_counter_a_partition(store: FakeStore) -> None:
    gate = Gate(parse(config_text(store="partitions = 3"), "config.toml", {}), store)
    read: list[str] = []

    async def read_hash(key: str) -> dict[str, Any]:
        read.append(key)
        return {}

    store.read_hash = read_hash  # type: ignore[method-assign]
    await gate.denials.look()

    assert read == [f"qg:{{p0{n}}}:changes" for n in range(3)]


@on_a_loop
async def test_a_change_forgets_its_own_partition_only(store: FakeStore) -> None:
    gate = Gate(parse(config_text(store="partitions = 2"), "config.toml", {}), store)
    await gate.denials.look()
    accounts = {gate.keys.partition(name): name for name in ("a", "b", "c", "d")}
    for name in accounts.values():
        open_on(store, gate, "payg", name)
    await gate.denials.look()
    for name in accounts.values():
        await gate.hold(gate.new_id(), Principal(name), FIXED, RequestFacts("m1"), gate.config)
    assert len(gate.denials.known) == 2

    store.client.hincrby("qg:{p01}:changes", "version", 1)
    await gate.denials.look()

    assert list(gate.denials.known) == [gate.keys.account(accounts["p00"])]


@on_a_loop
async def test_many_denied_accounts_do_not_fill_the_memory(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "MAX_ACCOUNTS", 10)
    tier = gate.config.tiers["free"]
    for n in range(100):
        view = gate.view(f"user-{n}", gate.config)
        gate.denials.remember(view, tier, NONE_APPLY, 1, Denied("r", "day", 1000, 0), 0, 1000)
        assert len(gate.denials.known) <= 10


@pytest.mark.parametrize(
    ("text", "by", "room", "is_remembered"),
    [
        ("60 requests/hour", ("account",), 60, True),
        # An override ends by itself, and no counter tells of it then.
        ("60 requests/hour", ("account",), 1, False),
        # Others give back to these, or share them.
        ("60 tokens/hour", ("account",), 60, False),
        ("60 requests/hour", ("team",), 60, False),
        ("60 concurrent", ("account",), 60, False),
    ],
)
@on_a_loop
async def test_of_policies_those_are_remembered_that_only_time_gives_back_to(
    store: FakeStore, gate: Gate, text: str, by: tuple[str, ...], room: int, is_remembered: bool
) -> None:
    met = Applied((Policy("p", parse_rate(text), by),))
    view, tier = gate.view("ada", gate.config), gate.config.tiers["free"]
    await gate.denials.look()

    gate.denials.remember(view, tier, met, 1, Denied("r", "p", 5000, 9, ("p",), (0, 5000, room, 1)), 0, 9000)

    found = gate.denials.recall(view, tier, met, 1, 1000)
    assert (found is not None) == is_remembered
    assert found is None or found.retry_after_ms == 4000
    # A call that meets other policies is another matter.
    assert gate.denials.recall(view, tier, NONE_APPLY, 1, 1000) is None


@on_a_loop
async def test_a_denial_by_the_balance_is_told_without_the_policies_of_another_call(gate: Gate) -> None:
    met = Applied((Policy("p", parse_rate("60 requests/hour")),))
    view, tier = gate.view("ada", gate.config), gate.config.tiers["free"]
    await gate.denials.look()

    gate.denials.remember(view, tier, met, 1, Denied("r", "day", 5000, 0, ("day",), (59, 5000, 60, 0)), 0, 9000)

    found = gate.denials.recall(view, tier, NONE_APPLY, 1, 1000)
    assert found is not None
    assert found.states == ()
