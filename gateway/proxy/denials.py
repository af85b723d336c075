"""Denials that are remembered, so that an exhausted client that hammers costs Redis nothing.

A denial by balance stays true while nothing of the account is held: only a reset, whose instant is known, or a change
can give it more. Scripts count such changes (grants, moves, late refunds) in one counter a partition, which is looked
at about once a second, however many clients there are. A look that fails ends the belief within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from dataclasses import dataclass

from gateway.domain.errors import StoreUnavailable
from gateway.domain.policy import Applied
from gateway.domain.principal import AccountView
from gateway.domain.reservation import Denied
from gateway.domain.tier import Tier
from gateway.store.keys import Keys
from gateway.store.link import Store

#: How often the counters are looked at: a change is honoured within a second.
LOOK_EVERY_S = 0.9
#: How long after a look denials are believed: until the next one has failed, and a second more.
BELIEVED_S = LOOK_EVERY_S + 1.0
#: Forgotten all at once beyond this.
MAX_ACCOUNTS = 50_000


@dataclass(frozen=True, slots=True)
class _Denial:
    """One denial, and what it was decided on."""

    verdict: Denied
    #: Amounts from here to the verdict's `most` are denied in the same words.
    least: int
    tier: Tier
    version: int
    #: Those that a denied call met, when a policy denied it; None: the balance denies whatever the call meets.
    applied: Applied | None
    #: On the store's clock.
    at_ms: int
    until_ms: int


class Denials:
    """What one process remembers. Replies come in the order of their commands, so a denial that was decided before a
    change is remembered before the look that finds the change, and is forgotten with it."""

    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._counters = {f"qg:{{{partition}}}:": "" for partition in keys.all_partitions()}
        self._believed_until = 0.0
        #: By account key, then by the policy that denied.
        self.known: dict[str, dict[str, _Denial]] = {}

    async def watch(self) -> None:
        """Looks for changes for as long as it is let run."""
        while True:
            with contextlib.suppress(StoreUnavailable):  # What is known is believed until its time is over.
                await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Forgets the denials of every partition in which something has changed. Raises StoreUnavailable."""
        asked_at = time.monotonic()
        prefixes = list(self._counters)
        found = await asyncio.gather(*(self._store.read_hash(f"{prefix}changes") for prefix in prefixes))
        for prefix, fields in zip(prefixes, found, strict=True):
            version = fields.get("version", "0")
            if version != self._counters[prefix]:
                self._counters[prefix] = version
                for key in [key for key in self.known if key.startswith(prefix)]:
                    del self.known[key]
        self._believed_until = asked_at + BELIEVED_S

    def remember(
        self,
        view: AccountView,
        tier: Tier,
        applied: Applied,
        amount: int,
        verdict: Denied,
        now_ms: int,
        day_ends_ms: int,
    ) -> None:
        """Remembers a denial until the next reset, unless a call under way may yet give something back. Of policies
        those are remembered that nothing but time gives back to: requests of the account itself."""
        policy = next((policy for policy in applied.checked if policy.name == verdict.policy), None)
        if policy is not None:
            room = next(state.room for met, state in applied.with_states(verdict.states) if met is policy)
            if (
                policy.rate.measure != "requests"
                or policy.by != ("account",)
                or verdict.retry_after_ms is None
                or room != policy.rate.room  # An override ends by itself, and no script tells of it then.
            ):
                return
            amount = 0
        elif verdict.held:
            return
        else:  # Another call of the account may meet other policies.
            verdict = dataclasses.replace(verdict, states=(), violated=(verdict.policy,))
        if len(self.known) >= MAX_ACCOUNTS:
            self.known.clear()
        of_account = self.known.setdefault(view.key, {})
        before = of_account.get(verdict.policy)
        least = amount
        if before is not None and before.tier is tier and before.version == view.version:
            least = min(least, before.least)
        resets_at_ms = day_ends_ms if verdict.retry_after_ms is None else now_ms + verdict.retry_after_ms
        until_ms = min(resets_at_ms, day_ends_ms)
        met = applied if policy is not None else None
        of_account[verdict.policy] = _Denial(verdict, least, tier, view.version, met, now_ms, until_ms)

    def recall(self, view: AccountView, tier: Tier, applied: Applied, amount: int, now_ms: int) -> Denied | None:
        """The denial that Redis would repeat, its wait counted down; None when Redis must be asked."""
        if time.monotonic() > self._believed_until:
            return None
        for denial in self.known.get(view.key, {}).values():
            verdict = denial.verdict
            is_alike = denial.least <= amount and (verdict.most is None or amount <= verdict.most)
            is_same_account = denial.tier is tier and denial.version == view.version
            is_about_this = denial.applied is None or denial.applied is applied
            if is_alike and is_same_account and is_about_this and now_ms < denial.until_ms:
                if verdict.retry_after_ms is None:
                    return verdict
                return dataclasses.replace(verdict, retry_after_ms=verdict.retry_after_ms - (now_ms - denial.at_ms))
        return None
