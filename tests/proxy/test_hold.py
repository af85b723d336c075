"""What a call holds, from its reservation to its end, where Redis or the calendar gets in between."""

from __future__ import annotations

from typing import Any

from gateway.domain.event import read_event
from gateway.domain.reservation import Refused, Renewed, Reserved
from gateway.domain.usage import Usage
from gateway.proxy.gate import Gate
from gateway.proxy.hold import Hold
from gateway.proxy.request import RequestFacts
from gateway.store import calls
from tests.proxy.pools import eventually, on_a_loop
from tests.proxy.stores import FakeStore
from tests.proxy.test_gate import ADA, CHAT, open_on

FACTS = RequestFacts("m1", stream=True, output_limit=40)


async def held(gate: Gate, **changes: Any) -> Hold:
    """A call's hold; `changes` are made to what `reserve` said of it."""
    decision = await gate.hold(gate.new_id(), ADA, CHAT, FACTS, gate.config)
    assert decision is not None
    assert isinstance(decision.verdict, Reserved)
    return Hold(gate, gate.config, CHAT, ADA, FACTS, decision, decision.verdict._replace(**changes))


def granted(store: FakeStore, gate: Gate, units: int) -> str:
    """Ada pays as she goes, and has so many units. Returns her key."""
    open_on(store, gate, "payg")
    key = gate.keys.account("ada")
    tier = gate.config.tiers["payg"]
    store.runner.run(calls.grant(key, "g1", units, kind="TOP_UP", reason="paid", tier=tier))
    return key


def told(store: FakeStore) -> list[str]:
    """The entries of the last event."""
    found: Any = store.client.xrevrange("qg:{p00}:events", count=1)
    event = read_event({name.decode(): value.decode() for name, value in found[0][1].items()})
    return [f"{entry.kind} {entry.bucket} {entry.amount}" for entry in event.entries]


@on_a_loop
async def test_a_hold_knows_what_it_has_grown_to(store: FakeStore, gate: Gate) -> None:
    granted(store, gate, 1000)
    hold = await held(gate)
    began_with = hold.amount

    outcome = await hold.renew(Usage(), 100)

    assert isinstance(outcome, Renewed)
    assert hold.amount == began_with + 100


@on_a_loop
async def test_of_a_cost_whose_hold_redis_lost_all_that_is_left_is_charged_and_the_rest_written_off(
    store: FakeStore, gate: Gate
) -> None:
    key = granted(store, gate, 1000)
    hold = await held(gate)
    store.client.delete(f"qg:{{p00}}:hold:{hold.id}", "qg:{p00}:holds")
    store.client.hset(key, "held", 0)
    store.client.hset(key, "granted", 1000 - hold.amount)  # Redis lost what it held, with its last second.

    written_off = await hold.end(200, (1500, Usage(input=700, output=800)))

    left = 1000 - hold.amount
    assert written_off == 1500 - left
    assert told(store) == [
        f"USAGE credits:g1 -{left}", f"USAGE overdraft -{1500 - left}", f"WRITE_OFF overdraft {1500 - left}",
    ]  # fmt: skip
    assert store.hash(key)["held"] == "0"


@on_a_loop
async def test_a_renewal_that_is_refused_after_a_reset_opens_the_new_allowance_first(
    store: FakeStore, gate: Gate
) -> None:
    """The day turned while the stream ran: its own hold is of yesterday, and nothing has opened today."""
    decision = await gate.hold(gate.new_id(), ADA, CHAT, FACTS, gate.config)
    assert decision is not None
    key = gate.keys.account("ada")
    today = store.hash(key)["day"]
    store.client.delete(f"qg:{{p00}}:day:ada:{today}", "qg:{p00}:credits:ada", "qg:{p00}:credits-order:ada")
    gone = int(store.hash(key)["day_left"]) + 15
    store.client.hset(key, mapping={"day": "2026-01-01", "day_left": 0, "day_ends": 1, "granted": 20 - gone})
    assert isinstance(decision.verdict, Reserved)
    verdict = decision.verdict._replace(resets_at_ms=1)
    hold = Hold(gate, gate.config, CHAT, ADA, FACTS, decision, verdict)

    outcome = await hold.renew(Usage(), 4)

    assert isinstance(outcome, Renewed)
    assert store.hash(key)["day"] == today
    await eventually(lambda: store.client.zcard("qg:{p00}:holds") == 1)  # The call of nothing has gone again.
    assert isinstance(await hold.renew(Usage(), 4), Refused)


@on_a_loop
async def test_a_renewal_that_is_refused_before_any_reset_opens_nothing(store: FakeStore, gate: Gate) -> None:
    granted(store, gate, 100)
    hold = await held(gate)
    asked = store.scripts().count("reserve")

    assert isinstance(await hold.renew(Usage(), 1000), Refused)
    assert store.scripts().count("reserve") == asked
