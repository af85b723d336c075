"""What all governed calls of one process share: config, store, caches, and the loop around `reserve`."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.config import Config
from gateway.domain.errors import Indeterminate, ScriptFault
from gateway.domain.period import Windows, day_windows, month_windows
from gateway.domain.price import Charge, FixedPrice
from gateway.domain.principal import AccountView, Principal
from gateway.domain.reservation import ClockOff, Conflict, Denied, Ended, Reserved, Stale, Suspended
from gateway.domain.route import Route
from gateway.domain.tier import Tier
from gateway.observe.observer import Observer
from gateway.proxy.identify import Identifier
from gateway.proxy.leases import LeaseKeeper
from gateway.proxy.outbox import Outbox
from gateway.proxy.request import MAX_TOKENS, RequestFacts
from gateway.store import calls
from gateway.store.keys import Keys
from gateway.store.link import Link, Store
from gateway.store.nudge import Nudger

#: Forgotten all at once beyond this; the next call of each account then costs a second round trip.
MAX_CACHED_ACCOUNTS = 100_000
#: More repeats than this mean that something is wrong that repeating does not mend.
MAX_REPEATS = 4

Verdict = Reserved | Denied | Suspended | Conflict | Ended


class Decision(NamedTuple):
    """What `Gate.hold` made of a call."""

    verdict: Verdict
    #: Units that were asked for.
    amount: int
    charge: Charge
    tier: Tier
    view: AccountView


@dataclass(frozen=True, slots=True)
class _KnownTerms:
    """Terms, and what they were made of: they hold as long as that is the same, and until midnight."""

    route: Route
    tier: Tier
    day: Windows
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
        self.identifier = Identifier(store)
        self.leases = LeaseKeeper()
        self.outbox = Outbox(store)
        self.nudger = nudger
        #: Hears of every call; one that does nothing unless another was given.
        self.observer = observer or Observer()
        self.observer.watch(self.leases.open, self.outbox)
        #: How many calls read on for clients that left.
        self.draining = 0
        self._views: dict[str, AccountView] = {}
        self._terms: dict[tuple[str, str, str], _KnownTerms] = {}
        #: What to add to this machine's clock to get the store's. Learned when a script answers "clock".
        self._clock_offset_ms = 0
        self._id_prefix = f"{time.time_ns() // 1_000_000:x}-{secrets.token_hex(5)}-"
        self._sequence = count(1)
        self._started = False
        #: From `start` on. Looked up once: in Python 3.11 each look costs a system call.
        self.loop: asyncio.AbstractEventLoop
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._started:
            self._started = True
            self.loop = asyncio.get_running_loop()
            if isinstance(self.store, Link):
                self.store.start()
            self.leases.start()
            self.observer.start()
            self._watcher = asyncio.create_task(self.identifier.watch(), name="quotagate-keys")
            if self.nudger is not None:
                self.nudger.start()

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
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
            view = self._views[account] = AccountView(self.keys.account(account), config.default_tier)
        return view

    def tier(self, view: AccountView, config: Config) -> Tier:
        """The account's tier; the default one when this file no longer has it."""
        return config.tiers.get(view.tier) or config.tiers[config.default_tier]

    async def hold(
        self,
        id: str,
        principal: Principal,
        route: Route,
        facts: RequestFacts,
        config: Config,
        cost: int | None = None,
    ) -> Decision | None:
        """Reserves the most a call may cost; None when nothing says what its model costs.

        `cost`: what it has cost, when it was served already.

        Raises StoreUnavailable and ScriptFault.
        """
        view = self.view(principal.account, config)
        for _ in range(MAX_REPEATS):
            tier = self.tier(view, config)
            charge = config.charge(tier, route.operation, facts.model)
            if charge is None:
                return None
            amount = _most(charge, route, facts) if cost is None else cost
            reserve = calls.reserve(
                view.key,
                id,
                amount,
                self._terms_of(route, tier, view.zone, config),
                model=facts.model,
                api_key=principal.key,
                version=view.version,
                zone=view.zone,
                lease_ms=config.lease_ms,
            )
            try:
                outcome = await self.store.run(reserve)
            except (Indeterminate, ScriptFault, asyncio.CancelledError):
                # It may be held, for a call that goes nowhere now: whichever of the two runs first, nothing stays held.
                if cost is None:
                    self.outbox.later(calls.release(view.key, id, remember_ms=config.remember_ms))
                raise
            if isinstance(outcome, Stale):
                view.tier, view.version, view.zone = outcome.tier, outcome.version, outcome.zone
            elif isinstance(outcome, ClockOff):
                self._clock_offset_ms = outcome.now_ms - _local_ms()
                self._terms.clear()
            else:
                if isinstance(outcome, Reserved):
                    view.version = outcome.version
                return Decision(outcome, amount, charge, tier, view)
        raise ScriptFault(f"reserve {id}: the store disagreed {MAX_REPEATS} times in a row")

    def settled(self) -> None:
        """Something was written to the ledger's inbox."""
        if self.nudger is not None:
            self.nudger.wanted = True

    def _terms_of(self, route: Route, tier: Tier, zone_name: str, config: Config) -> calls.Terms:
        now_ms = _local_ms() + self._clock_offset_ms
        names = (route.path, tier.name, zone_name)
        known = self._terms.get(names)
        if known is not None and known.route is route and known.tier is tier and known.day.contains(now_ms):
            return known.terms
        zone = ZoneInfo(zone_name) if zone_name else tier.zone
        day, month = day_windows(now_ms, zone), month_windows(now_ms, zone)
        terms = calls.terms(route.operation, route.path, config.prices.version, tier, day, month, on_lost=route.on_lost)
        self._terms[names] = _KnownTerms(route, tier, day, terms)
        return terms


def _most(charge: Charge, route: Route, facts: RequestFacts) -> int:
    """The most that a call can cost."""
    if isinstance(charge, FixedPrice):
        return charge.units  # Its tokens need not be counted.
    default = min(route.default_output_tokens * facts.answers, MAX_TOKENS)
    output_tokens = default if facts.output_limit is None else facts.output_limit
    return charge.ceiling(facts.input_tokens, output_tokens)


def _local_ms() -> int:
    return time.time_ns() // 1_000_000
