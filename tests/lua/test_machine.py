"""Thousands of random steps in the life of three accounts on a real Redis, each held to the design's invariants and to
a model of what should have happened.

A history mixes calls that end well and badly, repeats of anything that was ever called, gateways that fall silent,
workers that die on either side of their commit, clocks that jump over midnight and over the end of the month, lost
scripts and keys deleted by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from gateway.domain.acts import Adjusted, Short, Used, Voided
from gateway.domain.event import Event
from gateway.domain.reservation import (
    Account,
    Conflict,
    Denied,
    Ended,
    Expired,
    GrantConflict,
    Granted,
    Opened,
    Refused,
    Released,
    Renewed,
    Reserved,
    Settled,
    Unknown,
)
from gateway.domain.tier import PERIODS, Allowance, Tier
from gateway.domain.usage import Usage
from gateway.ledger import database
from gateway.ledger.queries import balance_of
from gateway.ledger.record import record
from gateway.ledger.sales import all_tables as metadata
from gateway.store import calls
from gateway.store import inbox as inbox_module
from gateway.store.inbox import Inbox
from gateway.store.runner import Runner
from tests.lua.books import Books, audit, held_parts
from tests.lua.caller import LEASE_MS, NOON_MS, SECOND_MS, Caller
from tests.lua.model import End, Model
from tests.support.epoch import ready
from tests.support.servers import RedisServer
from worker.drain import drain_inbox

JAKARTA, HAVANA = ZoneInfo("Asia/Jakarta"), ZoneInfo("America/Havana")
#: Between which tiers each account moves. Small amounts, so that balances run out often.
TIERS = {
    "ada": (
        Tier("free", signup=6, allowances=(Allowance("day", 5),), zone=JAKARTA),
        Tier(
            "both",
            allowances=(Allowance("day", 3, rollover=2), Allowance("month", 9)),
            burn_order=("month", "day", "credits"),
            zone=JAKARTA,
        ),
    ),
    "bob:{p00}": (
        Tier("month", signup=3, allowances=(Allowance("month", 8),), burn_order=("credits", "month"), zone=HAVANA),
        Tier("payg", burn_order=("credits", "day", "month"), zone=HAVANA),
    ),
    "cyd": (
        Tier("hourly", allowances=(Allowance("hour", 2, rollover=3), Allowance("week", 6)), zone=HAVANA, reset_hour=4),
        Tier(
            "anchored",
            allowances=(
                Allowance("week", 4, is_anchored=True, rollover=9),
                Allowance("month", 5, is_anchored=True, rollover=1),
            ),
            zone=HAVANA,
            reset_hour=4,
        ),
        Tier(
            "fixed",
            signup=2,
            allowances=(Allowance("day", 2), Allowance("week", 3, first_day=6), Allowance("month", 4, first_day=31)),
            zone=JAKARTA,
            reset_hour=23,
        ),
    ),
}
#: Between which zones they move; "" is their tiers'. A whole day lies between the last two.
ZONES = st.sampled_from(["", "", "Pacific/Pago_Pago", "Pacific/Kiritimati"])
ACCOUNTS = st.sampled_from(sorted(TIERS))
AMOUNTS = st.integers(0, 9)
#: What a call costs beyond what it held: less, as much, or more.
EXCESS = st.integers(-9, 12)
#: Which of several things a step is about.
PICKS = st.integers(0, 10**6)
ON_LOST = st.sampled_from(["charge_counted", "charge_hold", "release"])


@dataclass(frozen=True)
class Past:
    """A call that was made once, and how to make it again."""

    what: str
    id: str
    account: str
    again: Callable[[], Any]
    outcome: Any
    renewal: int = 0


class History(RuleBasedStateMachine):
    """One history. `client` is set by the test that runs it.

    No rule waits for a precondition: it makes what it needs. So a history that has only a few of the rules, as most of
    Hypothesis's have, is full of them.
    """

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        ready(self.client)
        self.runner = Runner(self.client)
        self.callers = {id: Caller(self.runner, tiers[0], id) for id, tiers in TIERS.items()}
        self.model = Model(NOON_MS)
        self.past: list[Past] = []
        self.reservations = self.grants = 0
        self.inbox = Inbox(self.client, "p00", "worker")
        self.inbox.open()
        self.ledger: dict[str, Event] = {}
        self.engine: Engine = database.connect("sqlite://")
        metadata.create_all(self.engine)

    def teardown(self) -> None:
        self.engine.dispose()

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(account=ACCOUNTS, amount=AMOUNTS, on_lost=ON_LOST)
    def reserve(self, account: str, amount: int, on_lost: str) -> None:
        caller = self.callers[account]
        id = self._new_id()
        have = self.model.would_have(account, caller.tier)
        fits = self.model.opportunities(account, caller.tier, amount) if amount > have else None

        outcome = caller.reserve(id, amount, on_lost=on_lost)

        if amount > have:
            self._check_denial(outcome, id, have, fits)
            return
        self.model.reserve(account, caller.tier, id, amount, LEASE_MS, on_lost)
        resets_at_ms = self.model.resets_at_ms(account, caller.tier)
        assert outcome == Reserved(id, self.model.accounts[account].version, self.model.left(account), resets_at_ms)
        self._remember("reserve", id, account, lambda: caller.try_reserve(id, amount, on_lost=on_lost), outcome)

    @rule(account=ACCOUNTS, lines=st.lists(st.integers(0, 5), min_size=1, max_size=3))
    def use(self, account: str, lines: list[int]) -> None:
        caller = self.callers[account]
        id = self._new_id()
        amount = sum(lines)
        have = self.model.would_have(account, caller.tier)
        fits = self.model.opportunities(account, caller.tier, amount) if amount > have else None

        outcome = caller.use(id, *lines)

        if amount > have:
            self._check_denial(outcome, id, have, fits)
            return
        self.model.use(account, caller.tier, amount)
        left, resets_at_ms = self.model.left(account), self.model.resets_at_ms(account, caller.tier)
        assert outcome == Used(id, left + amount, left, resets_at_ms)
        self._remember("use", id, account, lambda: caller.try_use(id, *lines), outcome)
        assert caller.try_use(id, *lines, 0) == Conflict(id)

    @rule(pick=PICKS, excess=EXCESS)
    def settle(self, pick: int, excess: int) -> None:
        id = self._open_call(pick)
        self._settle(id, max(0, self.model.holds[id].amount + excess))

    @rule(pick=PICKS, excess=EXCESS)
    def settle_late(self, pick: int, excess: int) -> None:
        id = self._expired_call(pick)
        self._settle(id, max(0, self.model.ends[id].cost + excess))

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        self._release(self._open_call(pick))

    @rule(pick=PICKS)
    def release_late(self, pick: int) -> None:
        self._release(self._expired_call(pick))

    @rule(account=ACCOUNTS)
    def release_before_reserving(self, account: str) -> None:
        caller = self.callers[account]
        id = self._new_id()

        outcome = caller.release(id)

        assert outcome == Released(id, self.model.left(account) if account in self.model.accounts else 0)
        assert caller.try_reserve(id, 1) == Ended(id, "released")
        self._remember("release", id, account, lambda: caller.release(id), outcome)

    @rule(pick=PICKS, counted=st.integers(0, 14), more=st.sampled_from([0, 0, 1, 2, 6]))
    def renew(self, pick: int, counted: int, more: int) -> None:
        id = self._open_call(pick)
        caller, hold = self._caller_of(id), self.model.holds[id]
        renewal = hold.renewal[0] + 1
        options = {"counted": counted, "counted_usage": Usage(input=counted, output=counted), "more": more}

        outcome = caller.renew(id, renewal, **options)

        answer = Renewed if self.model.renew(id, renewal, counted, more, LEASE_MS) else Refused
        assert outcome == answer(id, hold.amount, self.model.left(caller.id))
        again = lambda: caller.renew(id, renewal, **options)  # noqa: E731
        self._remember("renew", id, caller.id, again, outcome, renewal)

    @rule(gateways_died=st.booleans(), limit=st.integers(1, 3))
    def expire(self, gateways_died: bool, limit: int) -> None:
        if gateways_died:
            self._set_clock(self.model.now_ms + LEASE_MS)
        self._expire(limit)

    @rule(
        account=ACCOUNTS, amount=st.integers(1, 9), priority=st.integers(0, 1), lives_s=st.sampled_from([0, 90, 7200])
    )
    def grant(self, account: str, amount: int, priority: int, lives_s: int) -> None:
        caller = self.callers[account]
        self.grants += 1
        id = f"g:{self.grants}"
        expires_s = self.model.now_ms // 1000 + lives_s if lives_s else 0
        terms: dict[str, Any] = {"priority": priority, "expires_s": expires_s}

        outcome = caller.grant(id, amount, **terms)

        self.model.grant(account, caller.tier, id, amount, priority, expires_s)
        assert outcome == Granted(id, self.model.left(account))
        self._remember("grant", id, account, lambda: caller.grant(id, amount, **terms), outcome)
        assert caller.grant(id, amount + 1, **terms) == GrantConflict(id, amount)

    @rule(account=ACCOUNTS, amount=st.integers(1, 9))
    def adjust(self, account: str, amount: int) -> None:
        caller = self.callers[account]
        id = self._new_id()

        outcome = caller.adjust(id, amount)

        if account not in self.model.accounts:
            assert outcome == Unknown(id)
        elif amount > (left := self.model.left(account)):
            assert outcome == Short(id, left)
        else:
            self.model.adjust(account, amount)
            assert outcome == Adjusted(id, left - amount)
            self._remember("adjust", id, account, lambda: caller.adjust(id, amount), outcome)
            assert caller.adjust(id, amount + 1) == Conflict(id)

    @rule(account=ACCOUNTS, pick=PICKS)
    def void(self, account: str, pick: int) -> None:
        caller = self.callers[account]
        known = self.model.accounts.get(account)
        standing = {id: grant for id, grant in known.grants.items() if not grant.voided} if known else {}
        if not standing:
            assert caller.void("nothing") == Unknown("void")
            self.grant(account, 1 + pick % 9, 0, 0)
            standing = self.model.accounts[account].grants
        id = _pick({id: grant for id, grant in standing.items() if not grant.voided}, pick)

        outcome = caller.void(id)

        amount = self.model.void(account, id)
        assert outcome == Voided("void", amount, self.model.left(account))
        self._remember("void", id, account, lambda: caller.void(id), outcome)

    @rule(account=ACCOUNTS, to=st.integers(0, 5), zone=ZONES)
    def move(self, account: str, to: int, zone: str) -> None:
        caller = self.callers[account]
        tier = TIERS[account][to % len(TIERS[account])]
        known = self.model.accounts.get(account)

        outcome = caller.open(tier, zone=zone, move=True)

        if known is None:
            self.model.open(account, tier).zone = zone
            assert outcome == Opened("opened", 1, tier.name, zone)
        elif (known.tier.name, known.zone) == (tier.name, zone):
            assert outcome == Opened("exists", known.version, tier.name, zone)
        else:
            known.tier, known.zone, known.version = tier, zone, known.version + 1
            assert outcome == Opened("moved", known.version, tier.name, zone)
        caller.tier = tier

    # ── repeats and mistakes ─────────────────────────────────────────────────────────────────────────────────────────

    @rule(picks=st.lists(PICKS, min_size=1, max_size=4))
    def repeat(self, picks: list[int]) -> None:
        """Any calls of the past come once more, as when their replies were lost."""
        self._open_call(picks[0])
        repeated = [self.past[pick % len(self.past)] for pick in picks]
        before = Books(self.client, self.model.now_ms)
        for past in repeated:
            self._check_repeat(past, past.again())
        assert Books(self.client, self.model.now_ms) == before, f"a repeat changes nothing: {repeated}"

    @rule(pick=PICKS, call=st.sampled_from(["reserve", "settle", "renew", "release"]))
    def touch_what_has_ended(self, pick: int, call: str) -> None:
        id = self._ended_call(pick)
        end = self.model.ends[id]
        caller = self.callers[end.account]
        before = Books(self.client, self.model.now_ms)

        assert caller.settle("r0", 1) == Unknown("r0")
        if call == "reserve":
            assert caller.try_reserve(id, 10_000) == Conflict(id)
        elif call == "renew":
            assert caller.renew(id, 1, more=1) == Ended(id, end.how)
        elif call == "release" and end.how == "settled":
            assert caller.release(id) == Ended(id, end.how)
        elif call == "settle" and end.how == "settled":
            assert caller.settle(id, end.cost + 1) == Conflict(id)
        elif call == "settle" and end.how == "released":
            assert caller.settle(id, 1) == Ended(id, "released")

        assert Books(self.client, self.model.now_ms) == before

    # ── what happens to a server ─────────────────────────────────────────────────────────────────────────────────────

    @rule(account=ACCOUNTS, until=st.sampled_from(["later", "lease", "day", "allowance"]), pick=PICKS)
    def time_passes(self, account: str, until: str, pick: int) -> None:
        running = self.model.schedule(account, self.callers[account].tier)
        if until == "day":
            self._set_clock(running.day.ends_ms)
        elif until == "allowance" and running.allowances:
            self._set_clock(running.allowances[pick % len(running.allowances)].ends_ms)
        else:
            self._set_clock(self.model.now_ms + (LEASE_MS if until == "lease" else 7 * SECOND_MS))

    @rule(what=st.sampled_from(["scripts", *PERIODS]), account=ACCOUNTS)
    def something_is_lost(self, what: str, account: str) -> None:
        if what == "scripts":
            self.client.script_flush()
        elif account in self.model.accounts and (period := self.model.running(account, what)):
            self.client.delete(self.callers[account].period_key(f"{what}:{period.id}"))
            period.deleted = True

    # ── the worker ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(dies=st.sampled_from(["never", "never", "before its commit", "after its commit"]))
    def drain(self, dies: str) -> None:
        def commit(events: Any) -> int:
            if dies == "before its commit":
                raise OperationalError("COMMIT", {}, Exception("the worker died"))
            new = record(self.engine, events)
            for event in events:
                assert self.ledger.setdefault(event.id, event) == event
            if dies == "after its commit":
                raise OperationalError("COMMIT", {}, Exception("the worker died"))
            return new

        try:
            drain_inbox(self.inbox, commit)
        except OperationalError:
            assert dies != "never"
            return
        for account in self.model.accounts:
            entries = [e.amount for event in self.ledger.values() if event.account == account for e in event.entries]
            assert balance_of(self.engine, account) == sum(entries)

    # ── what must hold after every step ──────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_books_balance(self) -> None:
        books = Books(self.client, self.model.now_ms)
        audit(books, self.ledger)
        assert sorted(books.names("account")) == sorted(self.model.accounts)
        peeked = self.runner.run_many(
            [calls.peek(self.callers[id].key, now_ms=self.model.now_ms) for id in self.model.accounts]
        )
        for id, account in zip(self.model.accounts, peeked, strict=True):
            assert account is not None
            self._compare(books, id, account)
        assert {id: held_parts(hold) for id, hold in books.holds().items()} == {
            id: hold.parts for id, hold in self.model.holds.items()
        }
        assert books.leases() == {id: hold.lease_ends_ms for id, hold in self.model.holds.items()}

    def _compare(self, books: Books, id: str, peeked: Account) -> None:
        """Redis and the model agree on an account, bucket by bucket."""
        account = self.model.accounts[id]
        fields = books.hash("account", id)
        for kind in PERIODS:
            here, there = self.model.running(id, kind), books.period(id, kind, fields.get(kind, ""))
            assert (here and here.left) == (there and there["left"])
            if here and there and not here.reopened:
                parts = [hold.parts for hold in self.model.holds.values() if hold.account == id]
                assert there["held"] == sum(amounts.get(f"{kind}:{here.id}", 0) for amounts in parts)
        credits = books.credits(id)
        usable = {grant: g.left for grant, g in account.grants.items() if not self.model.has_expired(g)}
        assert {grant: credits.get(grant, 0) for grant in usable} == usable

        assert (peeked.tier, peeked.version) == (account.tier.name, account.version)
        assert (peeked.left, peeked.held, peeked.spent) == (self.model.left(id), self.model.held(id), account.spent)
        assert peeked.granted == peeked.left + peeked.held + peeked.spent + peeked.lapsed

    # ── below: one call, and which ───────────────────────────────────────────────────────────────────────────────────

    def _settle(self, id: str, cost: int) -> None:
        caller = self._caller_of(id)
        usage = Usage(input=cost, output=7, audio_ms=cost, images=2)

        outcome = caller.settle(id, cost, usage)

        end = self.model.end(id, "settled", cost)
        assert outcome == Settled(id, cost - end.written_off, end.written_off, self.model.left(caller.id))
        self._remember("settle", id, caller.id, lambda: caller.settle(id, cost, usage), outcome)

    def _release(self, id: str) -> None:
        caller = self._caller_of(id)

        outcome = caller.release(id)

        self.model.end(id, "released", 0)
        assert outcome == Released(id, self.model.left(caller.id))
        self._remember("release", id, caller.id, lambda: caller.release(id), outcome)

    def _expire(self, limit: int) -> None:
        outcome = self.callers["ada"].expire(limit=limit)

        ends = [self.model.expire(id) for id in self.model.overdue()[:limit]]
        assert outcome == Expired(len(ends), sum(end.cost - end.written_off for end in ends))

    def _check_denial(self, outcome: Any, id: str, have: int, fits: tuple[int, set[str]] | None) -> None:
        """`fits`: when it will fit, and whose resets are at that instant."""
        assert isinstance(outcome, Denied)
        assert outcome.policy in (fits[1] if fits else {"credits"})
        wait_ms = fits[0] - self.model.now_ms if fits else None
        assert outcome == Denied(id, outcome.policy, wait_ms, have, (outcome.policy,))

    def _check_repeat(self, past: Past, outcome: Any) -> None:
        hold, end = self.model.holds.get(past.id), self.model.ends.get(past.id)
        left = self.model.left(past.account) if past.account in self.model.accounts else 0
        if past.what in ("settle", "release", "use", "adjust"):
            assert outcome == past.outcome
        elif past.what == "void":
            assert outcome == Voided("void", past.outcome.amount, left)
        elif past.what == "grant":
            assert outcome == Granted(past.id, left)
        elif end is not None:
            assert outcome == Ended(past.id, end.how)
        elif past.what == "reserve":
            assert isinstance(outcome, Reserved)
            assert (outcome.id, outcome.left) == (past.id, left)
        elif hold is not None and hold.renewal[0] == past.renewal:
            assert outcome == type(past.outcome)(past.id, hold.amount, left)

    def _open_call(self, pick: int) -> str:
        """One that is open; a new one when none is."""
        if not self.model.holds:
            account = sorted(TIERS)[pick % len(TIERS)]
            have = self.model.would_have(account, self.callers[account].tier)
            self.reserve(account, min(have, pick % 9), "charge_counted")
        return _pick(self.model.holds, pick)

    def _expired_call(self, pick: int) -> str:
        """One that has expired; when none has, the gateway of one dies."""
        if not self._expired():
            self._open_call(pick)
            self._set_clock(self.model.now_ms + LEASE_MS)
            self._expire(1)
        return _pick(self._expired(), pick)

    def _ended_call(self, pick: int) -> str:
        """One that has ended; when none has, one is settled."""
        if not self.model.ends:
            self._settle(self._open_call(pick), pick % 9)
        return _pick(self.model.ends, pick)

    def _expired(self) -> dict[str, End]:
        return {id: end for id, end in self.model.ends.items() if end.how == "expired"}

    def _caller_of(self, id: str) -> Caller:
        reservation = self.model.holds.get(id) or self.model.ends[id]
        return self.callers[reservation.account]

    def _new_id(self) -> str:
        self.reservations += 1
        return f"r{self.reservations}"

    def _remember(
        self, what: str, id: str, account: str, again: Callable[[], Any], outcome: Any, renewal: int = 0
    ) -> None:
        self.past.append(Past(what, id, account, again, outcome, renewal))

    def _set_clock(self, now_ms: int) -> None:
        self.model.now_ms = now_ms
        for caller in self.callers.values():
            caller.now_ms = now_ms


def _pick(among: dict[str, Any], pick: int) -> str:
    names = sorted(among)
    return names[pick % len(names)]


BOUNDED = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,  # The same histories each time; `make soak` looks for new ones.
    database=None,
    phases=[Phase.generate],  # A history that fails is printed as it is: to shrink it takes minutes. The soak does.
    suppress_health_check=list(HealthCheck),
)
SOAK = settings(
    max_examples=3000,
    stateful_step_count=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def run(server: RedisServer, bounds: settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "CLAIM_IDLE_MS", 0)  # What a dead worker left is taken over at once.
    machine = type("History", (History,), {"client": server.client})
    run_state_machine_as_test(machine, settings=bounds)


@pytest.mark.parametrize("server", ["redis_62", "redis_7"])
def test_no_history_breaks_an_invariant(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(request.getfixturevalue(server), BOUNDED, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("server", ["redis_62", "redis_7"])
def test_no_history_breaks_an_invariant_however_long(
    server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(request.getfixturevalue(server), SOAK, monkeypatch)
