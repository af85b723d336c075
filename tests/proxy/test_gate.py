"""The gate: what a call is priced and held at, and how it learns what the store knows better."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.config import Config, parse
from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.domain.period import day_windows
from gateway.domain.price import FixedPrice, UsagePrice
from gateway.domain.principal import Principal
from gateway.domain.reservation import ClockOff, Denied, Reserved, Suspended
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from gateway.proxy import gate as gate_module
from gateway.proxy.gate import MAX_REPEATS, Gate
from gateway.proxy.request import RequestFacts
from gateway.store import calls
from tests.proxy.pools import eventually, on_a_loop
from tests.proxy.stores import FakeStore
from tests.support.config import config_text

CHAT = Route("/v1/chat/completions", "main", "chat", "openai-chat", default_output_tokens=100)
FIXED = dataclasses.replace(CHAT, path="/fixed", operation="fixed")
FREE = dataclasses.replace(CHAT, path="/free", operation="free")
ADA = Principal("ada", "qg_12345678")
DAY_MS = 86_400_000


def open_on(store: FakeStore, gate: Gate, tier: str, account: str = "ada", zone: str = "", move: bool = False) -> None:
    store.runner.run(calls.open_account(gate.keys.account(account), gate.config.tiers[tier], zone=zone, move=move))


async def hold(
    gate: Gate, route: Route = FIXED, facts: RequestFacts | None = None, config: Config | None = None
) -> tuple[Any, Any, int]:
    """The verdict, what the call is charged by, and the amount asked for."""
    made = await gate.hold(gate.new_id(), ADA, route, facts or RequestFacts("m1"), config or gate.config)
    return (None, None, 0) if made is None else (made.verdict, made.charge, made.amount)


# ── what is held ─────────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_call_with_a_fixed_price_holds_that_price(gate: Gate) -> None:
    verdict, charge, amount = await hold(gate, FIXED)

    assert isinstance(verdict, Reserved)
    assert (charge, amount, verdict.left) == (FixedPrice(3), 3, 20 - 3)


@on_a_loop
async def test_a_free_call_is_held_at_nothing_even_by_an_empty_account(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "payg")

    verdict, charge, amount = await hold(gate, FREE)

    assert isinstance(verdict, Reserved)
    assert (charge, amount, verdict.left) == (FixedPrice(0), 0, 0)


@pytest.mark.parametrize(
    ("facts", "amount"),
    [
        (RequestFacts("m1", counted=10), 10 + 100),
        (RequestFacts("m1", counted=10, output_limit=7), 10 + 7),
        (RequestFacts("m1", counted=10, output_limit=5000), 10 + 5000),
        (RequestFacts("m1", output_limit=0), 0),
        (RequestFacts("gpt-4o", counted=10, output_limit=7), 25 + 70),
        (RequestFacts("gpt-4o", counted=1, output_limit=0), 3),
    ],
)
@on_a_loop
async def test_a_call_by_tokens_holds_the_most_it_may_cost(
    store: FakeStore, gate: Gate, facts: RequestFacts, amount: int
) -> None:
    open_on(store, gate, "pro")

    verdict, charge, held = await hold(gate, CHAT, facts)

    assert isinstance(verdict, Reserved)
    assert isinstance(charge, UsagePrice)
    assert held == amount
    assert store.hash(gate.keys.account("ada"))["held"] == str(amount)


@on_a_loop
async def test_a_tier_may_price_an_operation_for_itself(gate: Gate) -> None:
    _, charge, amount = await hold(gate, CHAT, RequestFacts("m1", counted=10**6))

    assert (charge, amount) == (FixedPrice(1), 1)


@on_a_loop
async def test_a_model_without_a_price_is_not_held_and_not_asked_for(store: FakeStore, gate: Gate) -> None:
    text = config_text().replace('[prices."*"]', '[prices."only-*"]').replace('"gpt-4o*"', '"only-this"')
    unpriced = parse(text, "config.toml", {})
    open_on(store, gate, "pro")
    await hold(gate, FIXED)
    asked = len(store.calls)

    assert await hold(gate, CHAT, RequestFacts("m1"), unpriced) == (None, None, 0)
    assert len(store.calls) == asked


@on_a_loop
async def test_what_the_ledger_must_know_is_held_with_the_call(store: FakeStore, gate: Gate) -> None:
    verdict, _, _ = await hold(gate, dataclasses.replace(FIXED, on_lost="release"), RequestFacts("m1"))

    kept = store.hash(f"qg:{{p00}}:hold:{verdict.id}")
    facts = {"operation": "fixed", "model": "m1", "route": "/fixed", "key": "qg_12345678", "on_lost": "release",
             "price_version": gate.config.prices.version}  # fmt: skip
    assert {name: kept[name] for name in facts} == facts


@on_a_loop
async def test_the_lease_is_the_configs(store: FakeStore, gate: Gate) -> None:
    patient = parse(config_text(store="lease_s = 600"), "config.toml", {})
    verdict, _, _ = await hold(gate, config=patient)

    ends_ms = store.client.zscore("qg:{p00}:holds", verdict.id)
    now_ms = datetime.now(UTC).timestamp() * 1000
    assert isinstance(ends_ms, float)
    assert 500_000 < ends_ms - now_ms <= 600_000


# ── who is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_what_the_balance_does_not_cover_is_denied_and_nothing_is_held(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "payg")

    verdict, _, amount = await hold(gate)

    assert isinstance(verdict, Denied)
    assert (verdict.policy, verdict.retry_after_ms, verdict.left, amount) == ("credits", None, 0, 3)
    assert store.hash(gate.keys.account("ada"))["held"] == "0"


@on_a_loop
async def test_a_suspended_account_is_refused(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "free")
    store.client.hset(gate.keys.account("ada"), "status", "suspended")

    verdict, _, _ = await hold(gate)

    assert isinstance(verdict, Suspended)


@on_a_loop
async def test_an_outage_is_not_a_verdict(store: FakeStore, gate: Gate) -> None:
    store.faults["reserve"] = StoreUnavailable("Redis cannot be reached")

    with pytest.raises(StoreUnavailable):
        await hold(gate)


# ── what the store knows better ──────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_the_first_call_of_a_new_account_is_one_round_trip_and_so_is_the_next(
    store: FakeStore, gate: Gate
) -> None:
    await hold(gate)
    assert store.scripts() == ["reserve"]

    await hold(gate)
    assert store.scripts() == ["reserve", "reserve"]


@on_a_loop
async def test_an_account_on_another_tier_is_learned_and_believed_from_then_on(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "pro")

    _, first, _ = await hold(gate, CHAT)
    _, second, _ = await hold(gate, CHAT)

    assert isinstance(first, UsagePrice)
    assert first == second
    assert len(store.calls) == 3
    assert store.calls[0].id == store.calls[1].id
    assert gate.view("ada", gate.config).tier == "pro"


@on_a_loop
async def test_an_account_that_was_moved_is_priced_by_its_new_tier_at_once(store: FakeStore, gate: Gate) -> None:
    _, before, _ = await hold(gate, CHAT)
    open_on(store, gate, "pro", move=True)
    _, after, _ = await hold(gate, CHAT)

    assert before == FixedPrice(1)
    assert isinstance(after, UsagePrice)


@on_a_loop
async def test_the_day_of_an_account_turns_in_its_own_zone(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "free", zone="Pacific/Kiritimati")
    verdict, _, _ = await hold(gate)

    resets = datetime.fromtimestamp(verdict.resets_at_ms / 1000, ZoneInfo("Pacific/Kiritimati"))
    assert (resets.hour, resets.minute) == (0, 0)
    assert gate.view("ada", gate.config).zone == "Pacific/Kiritimati"


ANCHORED = '\n[tiers.anchored]\nallowance = [{ every = "month", amount = 9, from = "start" }]\n'


@on_a_loop
async def test_a_gateway_learns_the_anchor_of_an_account_with_its_second_call(store: FakeStore) -> None:
    text = config_text().replace('default_tier = "free"', 'default_tier = "anchored"') + ANCHORED
    gate = Gate(parse(text, "config.toml", {}), store)

    for _ in range(3):
        verdict, _, _ = await hold(gate)
        assert isinstance(verdict, Reserved)

    anchor = store.hash(gate.keys.account("ada"))["anchor"]
    assert gate.view("ada", gate.config).anchor == anchor
    assert [anchor in call.args for call in store.calls] == [True, True, True, True]
    assert len(store.calls) == 4


@on_a_loop
async def test_accounts_of_one_tier_have_the_periods_of_their_own_anchors(store: FakeStore) -> None:
    text = config_text() + ANCHORED
    gate = Gate(parse(text, "config.toml", {}), store)
    today = datetime.now(ZoneInfo("Asia/Jakarta")).date()
    for days in (3, 9):
        open_on(store, gate, "anchored", f"user-{days}")
        anchor = (today - timedelta(days=days)).isoformat()
        store.runner.client.hset(gate.keys.account(f"user-{days}"), "anchor", anchor)
        await gate.hold(gate.new_id(), Principal(f"user-{days}"), FIXED, RequestFacts("m1"), gate.config)

        assert store.hash(gate.keys.account(f"user-{days}"))["month"] == anchor


@on_a_loop
async def test_a_tier_that_becomes_anchored_asks_for_anchors_it_did_not_need(store: FakeStore, gate: Gate) -> None:
    await hold(gate)
    anchored = config_text().replace('every = "day", amount = 5', 'every = "week", amount = 5, from = "start"')

    verdict, _, _ = await hold(gate, config=parse(anchored, "config.toml", {}))

    assert isinstance(verdict, Reserved)
    assert gate.view("ada", gate.config).anchor == datetime.now(ZoneInfo("Asia/Jakarta")).date().isoformat()


@pytest.mark.parametrize("days", [-40, -2, 1, 40])
@on_a_loop
async def test_a_gateway_whose_clock_is_wrong_learns_the_stores_and_keeps_it(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    right = gate_module._local_ms
    monkeypatch.setattr(gate_module, "_local_ms", lambda: right() + days * DAY_MS)

    first, _, _ = await hold(gate)
    second, _, _ = await hold(gate)

    assert isinstance(first, Reserved)
    assert isinstance(second, Reserved)
    assert 0 < first.resets_at_ms - right() <= DAY_MS
    assert len(store.calls) == 3


@on_a_loop
async def test_a_new_day_is_noticed_without_a_word_of_the_store(
    store: FakeStore, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = gate_module._local_ms
    tomorrow = day_windows(right(), gate.config.tiers["free"].zone).next_id
    monkeypatch.setattr(gate_module, "_local_ms", lambda: right() - DAY_MS)
    await hold(gate)
    monkeypatch.setattr(gate_module, "_local_ms", right)
    await hold(gate)

    assert [tomorrow in call.args for call in store.calls] == [False, True]


@on_a_loop
async def test_a_store_that_never_agrees_is_a_fault_and_not_a_loop(gate: Gate) -> None:
    class Contrary(FakeStore):
        async def run(self, call: Any) -> Any:
            self.calls.append(call)
            return ClockOff(call.id, 10**12)

    contrary = Contrary()
    gate.store = contrary

    with pytest.raises(ScriptFault, match=f"disagreed {MAX_REPEATS} times"):
        await hold(gate)
    assert len(contrary.calls) == MAX_REPEATS
    contrary.client.close()


@on_a_loop
async def test_a_tier_that_the_config_no_longer_has_is_served_as_the_default_one(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "pro")
    without = parse(config_text().replace("[tiers.pro]", "[tiers.gold]"), "config.toml", {})

    verdict, charge, _ = await hold(gate, CHAT, config=without)

    assert isinstance(verdict, Reserved)
    assert charge == FixedPrice(1)


# ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ids_are_unique_over_gates_and_can_stand_in_keys(config: Config, store: FakeStore) -> None:
    gates = [Gate(config, store) for _ in range(3)]
    ids = [gate.new_id() for gate in gates for _ in range(1000)]

    assert len(set(ids)) == 3000
    assert all(id.replace("-", "").isalnum() and len(id) < 64 for id in ids)


def test_views_of_many_accounts_do_not_fill_the_memory(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "MAX_CACHED_ACCOUNTS", 100)

    for number in range(1000):
        gate.view(f"user-{number}", gate.config)
        assert len(gate._views) <= 100


@on_a_loop
async def test_a_forgotten_view_costs_a_round_trip_and_no_unit(store: FakeStore, gate: Gate) -> None:
    await hold(gate)
    gate._views.clear()

    verdict, _, _ = await hold(gate)

    assert verdict.left == 20 - 3 - 3


@on_a_loop
async def test_closing_gives_what_is_pending_a_last_chance(store: FakeStore, gate: Gate) -> None:
    gate.start()
    verdict, _, _ = await hold(gate)
    gate.outbox.later(calls.settle(gate.keys.account("ada"), verdict.id, 3, Usage()))

    await gate.close()

    assert store.hash(gate.keys.account("ada"))["spent"] == "3"


@on_a_loop
async def test_each_answer_asked_for_may_reach_the_default(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "pro")

    _, _, amount = await hold(gate, CHAT, RequestFacts("m1", answers=7))

    assert amount == 7 * 100


# ── a hold that nobody knows of ──────────────────────────────────────────────────────────────────────────────────────


@on_a_loop
async def test_a_hold_whose_reply_was_lost_is_called_off(store: FakeStore, gate: Gate) -> None:
    """It may have been made; the call is refused, so nothing must stay held, nor be charged when its lease ends."""
    store.faults["reserve"] = Indeterminate("the reply was lost")

    with pytest.raises(Indeterminate):
        await hold(gate)

    await eventually(lambda: store.scripts() == ["reserve", "release"])
    assert store.calls[0].id == store.calls[1].id


@on_a_loop
async def test_a_caller_who_goes_while_it_is_held_leaves_nothing_held(store: FakeStore, gate: Gate) -> None:
    going = asyncio.create_task(hold(gate))
    await asyncio.sleep(0)
    going.cancel()

    with pytest.raises(asyncio.CancelledError):
        await going

    await eventually(lambda: store.scripts() == ["reserve", "release"])


@on_a_loop
async def test_a_hold_that_was_never_sent_needs_no_release(store: FakeStore, gate: Gate) -> None:
    store.faults["reserve"] = StoreUnavailable("Redis cannot be reached")

    with pytest.raises(StoreUnavailable):
        await hold(gate)

    assert (store.scripts(), len(gate.outbox)) == (["reserve"], 0)


# ── a credential that names a tier ───────────────────────────────────────────────────────────────────────────────────


async def hold_as(gate: Gate, tier: str, account: str = "ada") -> Any:
    return await gate.hold(gate.new_id(), Principal(account, tier=tier), FIXED, RequestFacts("m1"), gate.config)


@on_a_loop
async def test_an_unknown_account_opens_on_the_tier_that_its_credential_names(store: FakeStore, gate: Gate) -> None:
    made = await hold_as(gate, "pro")

    assert (made.tier.name, made.verdict.left) == ("pro", 1_000_000 + 1_000_000_000 - 3)
    assert store.hash(gate.keys.account("ada"))["tier"] == "pro"
    assert store.scripts() == ["open", "reserve"]


@on_a_loop
async def test_an_account_on_another_tier_is_moved_before_it_pays_and_keeps_its_zone(
    store: FakeStore, gate: Gate
) -> None:
    open_on(store, gate, "free", zone="Pacific/Kiritimati")

    made = await hold_as(gate, "pro")

    account = store.hash(gate.keys.account("ada"))
    assert (made.tier.name, account["tier"], account["zone"]) == ("pro", "pro", "Pacific/Kiritimati")


@on_a_loop
async def test_an_account_that_is_on_its_tier_costs_one_round_trip(store: FakeStore, gate: Gate) -> None:
    await hold_as(gate, "pro")
    asked = len(store.calls)

    await hold_as(gate, "pro")

    assert store.scripts()[asked:] == ["reserve"]
    assert store.hash(gate.keys.account("ada"))["version"] == "1"


@on_a_loop
async def test_a_view_that_was_wrong_is_put_right_and_then_the_account(store: FakeStore, gate: Gate) -> None:
    """The process believes it is on the default tier, which is the one its credential names."""
    open_on(store, gate, "pro")

    made = await hold_as(gate, "free")

    assert isinstance(made.verdict, Reserved)
    assert store.hash(gate.keys.account("ada"))["tier"] == "free"


@on_a_loop
async def test_a_credential_that_names_no_tier_moves_nothing(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "pro")

    await hold_as(gate, "")

    assert "open" not in store.scripts()
    assert store.hash(gate.keys.account("ada"))["tier"] == "pro"


@on_a_loop
async def test_calls_that_move_an_account_at_once_move_it_once(store: FakeStore, gate: Gate) -> None:
    open_on(store, gate, "free")

    made = await asyncio.gather(*(hold_as(gate, "pro") for _ in range(10)))

    assert all(isinstance(one.verdict, Reserved) for one in made)
    assert store.hash(gate.keys.account("ada"))["version"] == "2"


@on_a_loop
async def test_credentials_that_disagree_are_all_served_and_move_an_account_once_a_call(
    store: FakeStore, gate: Gate
) -> None:
    made = await asyncio.gather(*(hold_as(gate, "pro" if n % 2 else "free") for n in range(10)))

    assert all(isinstance(one.verdict, Reserved) for one in made)
    assert store.scripts().count("reserve") <= 10 * MAX_REPEATS
    assert int(store.hash(gate.keys.account("ada"))["version"]) <= 10 + 1


@on_a_loop
async def test_a_call_whose_account_is_moved_away_again_is_served_where_it_stands(config: Config) -> None:
    """Otherwise two credentials would move it to and fro until both calls fail."""

    class Contrary(FakeStore):
        async def run(self, call: Any) -> Any:
            if call.script == "reserve":
                self.runner.run(calls.open_account(call.key, config.tiers["free"], move=True))
            return await super().run(call)

    store = Contrary()
    made = await hold_as(Gate(config, store), "pro")

    assert isinstance(made.verdict, Reserved)
    assert made.tier.name == "free"
    store.client.close()


@on_a_loop
async def test_an_outage_while_an_account_is_moved_holds_nothing(store: FakeStore, gate: Gate) -> None:
    store.faults["open"] = Indeterminate("the reply was lost")

    with pytest.raises(StoreUnavailable):
        await hold_as(gate, "pro")

    assert (store.scripts(), len(gate.outbox)) == (["open"], 0)
