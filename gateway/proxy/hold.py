"""What one call holds: renewed while the call lasts, then settled or released.

`end` runs once: the call sees to that. From there on nothing is lost: what Redis cannot take now is repeated until it
can, and what Redis has lost is charged anew.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from gateway.config import Config
from gateway.domain.errors import ScriptFault, StoreUnavailable
from gateway.domain.principal import Principal
from gateway.domain.reservation import Refused, Released, Renewed, Reserved, Settled, Unheld, Unknown
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from gateway.proxy.contract import quota_headers
from gateway.proxy.gate import Decision, Gate
from gateway.proxy.request import RequestFacts
from gateway.store import calls

log = logging.getLogger("quotagate.proxy")

Ending = calls.SettleOutcome | calls.ReleaseOutcome


class Hold:
    """Of one call, from `reserve` to its end; and what its account has left, as the client is told."""

    #: It has ended, or is about to.
    concluded = False
    #: It ended with a charge, if only of 0, and not with its units given back.
    charged = False
    _renewal = 0

    def __init__(
        self,
        gate: Gate,
        config: Config,
        route: Route,
        principal: Principal,
        facts: RequestFacts,
        decision: Decision,
        verdict: Reserved | Unheld,
    ) -> None:
        self.id = verdict.id
        self.charge = decision.charge
        #: Units that are held now.
        self.amount = decision.amount
        self._gate = gate
        self._config = config
        self._route = route
        self._principal = principal
        self._facts = facts
        self._decision = decision
        self._verdict = verdict
        #: When the allowances that are open now will have changed.
        self._resets_at_ms = verdict.resets_at_ms
        #: None: nobody knows, Redis is away.
        self._left: int | None = verdict.left

    async def renew(self, usage: Usage | None, more: int) -> calls.RenewOutcome | None:
        """Lengthens the lease, notes what was counted, and holds so many units more. None: the store cannot be asked.

        `usage`: None before the answer has begun."""
        outcome = await self._try_to_renew(usage, more)
        if isinstance(outcome, Refused) and self._gate.now_ms() >= self._resets_at_ms and await self._open_allowances():
            outcome = await self._try_to_renew(usage, more)
        if isinstance(outcome, Renewed | Refused):
            self.amount = outcome.amount
        if isinstance(outcome, Refused):
            self._gate.observer.renewal_refused()
        return outcome

    async def _try_to_renew(self, usage: Usage | None, more: int) -> calls.RenewOutcome | None:
        self._renewal += 1
        renew = calls.renew(
            self._decision.view.key,
            self.id,
            self._renewal,
            counted=0 if usage is None else self.charge.cost(usage),
            counted_usage=usage or Usage(),
            more=more,
            lease_ms=self._config.lease_ms,
        )
        try:
            return await self._gate.store.run(renew)
        except (StoreUnavailable, ScriptFault) as error:
            log.warning("the lease of %s was not renewed: %s", self.id, error, extra={"request_id": self.id})
            return None

    async def _open_allowances(self) -> bool:
        """An allowance has ended since the call began, and only `reserve` opens the next: a call of nothing does."""
        id = self._gate.new_id()
        try:
            decision = await self._gate.hold(id, self._principal, self._route, self._facts, self._config, empty=True)
        except (StoreUnavailable, ScriptFault):
            return False
        if decision is None or not isinstance(decision.verdict, Reserved):
            return False
        self._resets_at_ms = decision.verdict.resets_at_ms
        self._gate.outbox.later(calls.release(decision.view.key, id, remember_ms=self._config.remember_ms))
        return True

    async def end(self, status: int, charged: tuple[int, Usage] | None) -> int:
        """Settles the cost and its usage; releases the hold when nothing is charged. Returns the units that no balance
        covered. `status`: of the answer."""
        self.concluded = True
        key, remember_ms = self._decision.view.key, self._config.remember_ms
        call: calls.Call[Ending]
        anew = None
        if charged is None:
            call = calls.release(key, self.id, status=status, remember_ms=remember_ms)
        else:
            self.charged = True
            cost, usage = charged
            call = calls.settle(key, self.id, cost, usage, status=status, remember_ms=remember_ms)
            anew = partial(self._charge_anew, call)
        try:
            outcome = await self._gate.outbox.run(call, anew, may_be_dropped=self._left is None)
        except asyncio.CancelledError:
            self._gate.outbox.later(call, anew)
            raise
        self._gate.settled()
        if isinstance(outcome, Settled | Released):
            self._left = outcome.left
        elif outcome is not None:
            log.error("%s %s ended as %r", call.script, self.id, outcome, extra={"request_id": self.id})
        return outcome.written_off if isinstance(outcome, Settled) else 0

    async def _charge_anew(self, settle: calls.Call[Ending]) -> Ending:
        """Redis came back without the hold: it lost its last second, or a replica took over that did not have it yet.
        Or it was away when the call began. It is held anew, under the same id and with nothing in it, so that the
        settlement takes what there is, and writes off the rest."""
        if self._left is not None:
            log.warning("the hold of %s is lost; its cost is charged anew", self.id, extra={"request_id": self.id})
        decision = await self._gate.hold(self.id, self._principal, self._route, self._facts, self._config, empty=True)
        if decision is None or not isinstance(decision.verdict, Reserved):
            log.error("the cost of %s stays unpaid: %r", self.id, decision, extra={"request_id": self.id})
            return Unknown(self.id)
        return await self._gate.store.run(settle)

    # ── what the client is told ──────────────────────────────────────────────────────────────────────────────────────

    def balance_headers(self) -> list[tuple[bytes, bytes]]:
        """The call's id, and what is left, as far as it is known."""
        request_id = (b"x-request-id", self.id.encode())
        if self._left is None:
            return [request_id]
        verdict, decision = self._verdict, self._decision
        quota = quota_headers(
            decision.tier, self._left, verdict.resets_at_ms, self._gate.now_ms(),
            self._route.dialect, decision.applied, verdict.states,
        )  # fmt: skip
        return [request_id, *quota]

    def balance_comment(self) -> bytes:
        """The same for the end of an event stream."""
        remaining = b"null" if self._left is None else b"%d" % self._left
        return b': quota {"remaining":%b,"request_id":"%b"}\n\n' % (remaining, self.id.encode())
