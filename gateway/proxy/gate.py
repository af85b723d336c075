"""What all governed calls of one process share: config, store, caches, and the loop around `reserve`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from gateway.config import Config
from gateway.domain.errors import Indeterminate, ScriptFault
from gateway.domain.policy import NONE_APPLY, Applied
from gateway.domain.price import FREE, Charge, FixedPrice
from gateway.domain.principal import AccountView, Principal
from gateway.domain.reservation import (
    ClockOff,
    Conflict,
    Denied,
    Ended,
    Reserved,
    Stale,
    Suspended,
    Unheld,
)
from gateway.domain.route import Route
from gateway.domain.schedule import Schedule, anchor_of, schedule
from gateway.domain.tier import Tier
from gateway.observe.observer import Observer
from gateway.proxy.denials import Denials
from gateway.proxy.identity import Identifier
from gateway.proxy.leases import LeaseKeeper
from gateway.proxy.outbox import Outbox
from gateway.proxy.pace import Paces
from gateway.proxy.request import MAX_TOKENS, RequestFacts
from gateway.store import calls
from gateway.store.keys import Keys
from gateway.store.link import Link, Store
from gateway.store.nudge import Nudger

#: Forgotten all at once beyond this; the next call of each account then costs a second round trip.
MAX_CACHED_ACCOUNTS = 100_000
#: The same for what calls of a route and a tier have in common; it is made anew for each date on which accounts were
#: opened, where an allowance is anchored to it.
MAX_CACHED_TERMS = 10_000
#: More repeats than this mean that something is wrong that repeating does not mend.
MAX_REPEATS = 4

Verdict = Reserved | Unheld | Denied | Suspended | Conflict | Ended


class Decision(NamedTuple):
    """What `Gate.hold` made of a call."""

    verdict: Verdict
    #: Units that were asked for.
    amount: int
    charge: Charge
    tier: Tier
    view: AccountView
    #: The policies that the call met.
    applied: Applied


@dataclass(frozen=True, slots=True)
class _KnownTerms:
    """Terms, and what they were made of: they hold as long as that is the same, and until a period ends."""

    route: Route
    tier: Tier
    schedule: Schedule
    terms: calls.Terms


class Gate:
    """Identifies, prices and holds. One a process; `start` and `close` belong to its event loop."""

    def __init__(
        self, config: Config, store: Store, nudger: Nudger | None = None, observer: Observer | None = None
    ) -> None:
        #: Replaced as a whole when the file changes; a call keeps the one it started with.
        self.config = config
        self.store = store
        self.keys = Keys(config.partitions)
        self.identifier = Identifier(store, self.keys)
        self.leases = LeaseKeeper()
        self.outbox = Outbox(store)
        self.paces = Paces()
        self.denials = Denials(store, self.keys)
        self.nudger = nudger
        #: Hears of every call; one that does nothing unless another was given.
        self.observer = observer or Observer()
        self.observer.watch(self.leases.open, self.outbox)
        #: How many calls read on for clients that left.
        self.draining = 0
        self._views: dict[str, AccountView] = {}
        self._terms: dict[tuple[str, str, str, str, Applied], _KnownTerms] = {}
        #: What to add to this machine's clock to get the store's. Learned when a script answers "clock".
        self._clock_offset_ms = 0
        self._id_prefix = f"{time.time_ns() // 1_000_000:x}-{secrets.token_hex(5)}-"
        self._sequence = count(1)
        self._started = False
        #: From `start` on. Looked up once: in Python 3.11 each look costs a system call.
        self.loop: asyncio.AbstractEventLoop
        self._watchers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if not self._started:
            self._started = True
            self.loop = asyncio.get_running_loop()
            if isinstance(self.store, Link):
                self.store.start()
            self.leases.start()
            self.observer.start()
            self._watchers = [
                asyncio.create_task(self.identifier.watch(), name="quotagate-keys"),
                asyncio.create_task(self.denials.watch(), name="quotagate-denials"),
            ]
            if self.nudger is not None:
                self.nudger.start()

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        await self.leases.close()
        await self.outbox.close()
        await self.observer.close()
        if self.nudger is not None:
            await self.nudger.close()
        if isinstance(self.store, Link):
            await self.store.close()
        self._started = False

    def new_id(self) -> str:
        """A reservation id: unique over all processes, made before anything is sent."""
        return f"{self._id_prefix}{next(self._sequence):x}"

    def view(self, account: str, config: Config) -> AccountView:
        view = self._views.get(account)
        if view is None:
            if len(self._views) >= MAX_CACHED_ACCOUNTS:
                self._views.clear()
            view = self._views[account] = AccountView(self.keys.account(account), config.first_tier(account))
        return view

    async def hold(
        self,
        id: str,
        principal: Principal,
        route: Route,
        facts: RequestFacts,
        config: Config,
        *,
        address: Callable[[], str] = str,
        session: str = "",
        empty: bool = False,
    ) -> Decision | None:
        """Reserves the most a call may cost; None when nothing says what its model costs.

        `address`: finds the caller's address, for policies that count by it. `session`: what the call is part of,
        for the ledger. `empty`: holds nothing, for a call that was served already, and which its policies let in then.

        Raises StoreUnavailable and ScriptFault.
        """
        view = self.view(principal.account, config)
        was_denied = view.key in self.denials.known
        # Once a call: two credentials that name two tiers would move the account to and fro.
        may_move = principal.tier != ""
        for _ in range(MAX_REPEATS):
            if may_move and view.tier != principal.tier:
                may_move = False
                await self._move(view, config.tiers[principal.tier])
            tier = config.tier(view.tier)
            charge = config.charge(tier, route.operation, facts.model, route.multiplier)
            if charge is None:
                return None
            amount = 0 if empty else _most(charge, route, facts)
            applied = NONE_APPLY
            if not empty:
                applied = tier.limits.applied(route.path, route.operation, facts.model, principal.limits)
                if was_denied and (denied := self.denials.recall(view, tier, applied, amount, self.now_ms())):
                    return Decision(denied, amount, charge, tier, view, applied)
            known = self._terms_of(route, tier, view, applied, config)
            reserve = calls.reserve(
                view.key,
                id,
                amount,
                known.terms,
                model=facts.model,
                api_key=principal.key,
                # An account that is on an anchored tier is asked for its anchor: by being out of date.
                version=view.version if view.anchor or not tier.is_anchored else 0,
                zone=view.zone,
                input_tokens=facts.input_tokens if applied.counts_tokens else 0,
                output_tokens=_most_output(route, facts) if applied.counts_tokens else 0,
                ip=address() if applied.needs_address else "",
                team=principal.team,
                organisation=principal.organisation,
                session=session,
                lease_ms=config.lease_ms,
            )
            try:
                outcome = await self.store.run(reserve)
            except (Indeterminate, ScriptFault, asyncio.CancelledError):
                # It may be held, for a call that goes nowhere now: whichever of the two runs first, nothing stays held.
                if not empty:
                    self.outbox.later(calls.release(view.key, id, remember_ms=config.remember_ms))
                raise
            if isinstance(outcome, Stale):
                view.tier, view.version, view.zone = outcome.tier, outcome.version, outcome.zone
                view.anchor = outcome.anchor or anchor_of(config.tier(view.tier), outcome.first_seen_ms, outcome.zone)
            elif isinstance(outcome, ClockOff):
                self._clock_offset_ms = outcome.now_ms - _local_ms()
                self._terms.clear()
            else:
                if isinstance(outcome, Reserved):
                    view.version = outcome.version
                    if was_denied:  # What is left has changed, and a denial says what is left.
                        self.denials.known.pop(view.key, None)
                elif isinstance(outcome, Denied) and not empty:
                    self.denials.remember(view, tier, applied, amount, outcome, self.now_ms(), known.schedule.ends_ms)
                return Decision(outcome, amount, charge, tier, view, applied)
        raise ScriptFault(f"reserve {id}: the store disagreed {MAX_REPEATS} times in a row")

    def without_hold(self, principal: Principal, route: Route, facts: RequestFacts, config: Config) -> Decision | None:
        """For a call that could not be held because Redis is away: lets it pass when it is free in its caller's tier,
        as far as that is known, and its route says so. Under a new id: the one that `hold` tried may be called off."""
        view = self.view(principal.account, config)
        tier = config.tiers[principal.tier] if principal.tier else config.tier(view.tier)
        charge = config.charge(tier, route.operation, facts.model)
        if route.on_store_outage != "allow" or charge != FREE:
            return None
        return Decision(Unheld(self.new_id()), 0, charge, tier, view, NONE_APPLY)

    async def _move(self, view: AccountView, tier: Tier) -> None:
        """Puts an account on the tier that a credential names. Racing calls find it there. Raises StoreUnavailable."""
        found = await self.store.run(calls.open_account(view.key, tier))
        if found.tier != tier.name:
            # The zone stays the account's own, which the view may not know yet.
            found = await self.store.run(calls.open_account(view.key, tier, zone=found.zone, move=True))
        view.tier, view.version, view.zone = found.tier, found.version, found.zone

    def settled(self) -> None:
        """Something was written to the ledger's inbox."""
        if self.nudger is not None:
            self.nudger.wanted = True

    def now_ms(self) -> int:
        """The store's clock, as far as this process knows it."""
        return _local_ms() + self._clock_offset_ms

    def _terms_of(self, route: Route, tier: Tier, view: AccountView, applied: Applied, config: Config) -> _KnownTerms:
        now_ms = self.now_ms()
        names = (route.path, tier.name, view.zone, view.anchor if tier.is_anchored else "", applied)
        known = self._terms.get(names)
        if known is not None and known.route is route and known.tier is tier and known.schedule.contains(now_ms):
            return known
        running = schedule(tier, now_ms, view.zone, view.anchor)
        terms = calls.terms(
            route.operation,
            route.path,
            config.prices.version,
            tier,
            running,
            policies=applied.checked,
            on_lost=route.on_lost,
        )
        if len(self._terms) >= MAX_CACHED_TERMS:
            self._terms.clear()
        known = self._terms[names] = _KnownTerms(route, tier, running, terms)
        return known


def _most(charge: Charge, route: Route, facts: RequestFacts) -> int:
    """The most that a call can cost."""
    if isinstance(charge, FixedPrice):
        return charge.units  # Its tokens need not be counted.
    most = charge.ceiling(facts.input_tokens, _most_output(route, facts), facts.audio_ms, facts.images)
    if route.max_hold is None or not facts.stream or most <= route.max_hold:
        return most
    # A stream holds more as it goes, but its input is spent at once.
    return max(route.max_hold, charge.ceiling(facts.input_tokens, 0, facts.audio_ms, facts.images))


def _most_output(route: Route, facts: RequestFacts) -> int:
    """The most tokens that a call is expected to produce."""
    if facts.output_limit is not None:
        return facts.output_limit
    return min((route.default_output_tokens + facts.thinking_tokens) * facts.answers, MAX_TOKENS)


def _local_ms() -> int:
    return time.time_ns() // 1_000_000
