"""Keeps a stream within what is held for it: renews the hold in time, and says where to cut when nothing more is to be
had.

Nearly all chunks cost one comparison: no text has more than so many tokens a byte, so a count says for how many bytes
no further count is needed. Near the line every chunk is counted before it goes out. More is asked for while there is
room; a stream that passes what is held waits for the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.domain.price import UsagePrice
from gateway.domain.reservation import Refused, Renewed
from gateway.domain.route import Route
from gateway.domain.usage import Usage
from gateway.meters import Meter
from gateway.proxy.bill import counted, used_so_far
from gateway.proxy.endings import Record
from gateway.proxy.request import RequestFacts
from gateway.store.calls import RenewOutcome

#: No bytes count for more tokens than these: eight for ten bytes, which is what single signs of punctuation make.
TOKENS, BYTES = 8, 10
#: The line is near when less than this part of the first step is left.
NEAR_PARTS = 4
#: Each step asks for twice as much as the one before, up to so many times the route's default: a long stream costs few
#: renewals, and does not tie up a whole balance.
MAX_STEPS = 16
#: An upstream keeps to the limit that the request names. A count that lies beyond it by less than this part of it is
#: the estimate's fault.
SLACK_PARTS = 4

#: A longer event goes out in halves, as it comes.
MAX_KEPT_BYTES = 256 * 1024
#: What may stand before an element of a JSON array, and tells a meter nothing.
PARTING = b"\r\n\t ,"

EXHAUSTED = ("insufficient_quota", "The balance is used up, so the answer ends here. Top up to go on.")
OUTAGE = ("store_unavailable", "The quota store cannot be reached, so the answer ends where its hold does.")

#: Asks for so many units more. None: the store could not be asked.
Renew = Callable[[int], Awaitable[RenewOutcome | None]]


class Line(NamedTuple):
    """Where a stream is to be cut: what of the chunk still goes out, and what the client has then used."""

    data: bytes
    cost: int
    usage: Usage
    #: Why, for dialects and logs that have a place for it.
    code: str
    message: str


class Cover:
    """Of one stream. Feeds its meter and its record with what goes out."""

    def __init__(
        self,
        meter: Meter,
        new_meter: Callable[[], Meter],
        record: Record,
        charge: UsagePrice,
        facts: RequestFacts,
        route: Route,
        held: int,
        renew: Renew,
    ) -> None:
        self.record = record
        self._meter = meter
        self._new_meter = new_meter
        self._charge = charge
        self._facts = facts
        self._lends = route.on_renewal_outage == "stream"
        self._renew = renew
        self._held = held
        self._step = max(1, charge.ceiling(0, route.default_output_tokens) - charge.ceiling(0, 0))
        self._max_step = self._step * MAX_STEPS
        self._near = self._step // NEAR_PARTS
        #: Where the request names its own limit, the hold covers it: nothing is asked for before it is passed.
        self._asks_early = facts.output_limit is None
        self._asking: asyncio.Task[None] | None = None
        self._store_answered = True
        self._reported: Usage | None = None
        self._bytes = self._enough_bytes = 0
        self._kept = b""

    def passes(self, data: bytes) -> bool:
        """Takes a chunk that is covered without a look. False: `admit` must look at it."""
        self._bytes += len(data)
        if self._bytes > self._enough_bytes or self._kept:
            return False
        self._take(data)
        if self._meter.reported() is not self._reported:
            self._enough_bytes = 0  # The provider has said what no count could know.
        return True

    async def admit(self, data: bytes) -> bytes | Line:
        """Counts a chunk, and waits until it is covered. Returns what may go out now, or where to cut."""
        # What ends an event that the client has half of always goes out: nothing well-formed could follow that half.
        head, rest = self.record.split(self.release() + data)
        self._take(head)
        whole = b"".join(self.record.pieces(rest))
        before = self._meter.counted_output()
        have = self._count()
        self._meter.feed(whole)
        want = self._count()
        brings_text = self._meter.counted_output() > before
        if brings_text and not self._meter.complete and not await self._covers(self._charge.cost(want)):
            return self._line(head, whole, have, want)
        self.record.add(whole)
        self._look_ahead(self._charge.cost(want))
        return head + whole + self._half(rest[len(whole) :])

    def release(self) -> bytes:
        """The half of an event that was kept back, which goes out now."""
        kept, self._kept = self._kept, b""
        return kept

    def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _half(self, data: bytes) -> bytes:
        """The beginning of an event: near the line it waits for its end, so that the stream can be cut before it."""
        if self._bytes + len(data) > self._enough_bytes and len(data) <= MAX_KEPT_BYTES:
            self._kept = data
            return b""
        self._bytes += len(data)
        self._take(data)
        return data

    def _take(self, data: bytes) -> None:
        self._meter.feed(data)
        self.record.add(data)

    def _count(self) -> Usage:
        usage = used_so_far(self._meter) or counted(self._meter, self._facts)
        limit = self._facts.output_limit
        if usage.estimated and limit is not None and limit < usage.output <= limit + limit // SLACK_PARTS:
            return usage._replace(output=limit)
        return usage

    def _look_ahead(self, cost: int) -> None:
        """Asks for more when the line is near, and says when to look again."""
        self._reported = self._meter.reported()
        if self._asks_early and self._held - cost <= self._near and self._asking is None:
            self._asking = asyncio.ensure_future(self._ask(cost))
        room = self._held - self._near - cost
        tokens = self._charge.output_tokens_for(room) - 2  # Two less: counts and costs are rounded up.
        self._bytes, self._enough_bytes = 0, tokens * BYTES // TOKENS

    def _line(self, head: bytes, tail: bytes, have: Usage, want: Usage) -> Line:
        """As many events of an uncovered chunk as are covered, counted by themselves."""
        meter = self._new_meter()
        data, usage = head, _short(want, have.output)
        for piece in self.record.pieces(tail):
            meter.feed(piece.lstrip(PARTING))
            longer = _short(want, have.output + meter.counted_output())
            if self._charge.cost(longer) > self._held:
                break
            data, usage = data + piece, longer
        self.record.add(data[len(head) :])
        return Line(data, self._charge.cost(usage), usage, *(EXHAUSTED if self._store_answered else OUTAGE))

    # ── asking for more ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _covers(self, cost: int) -> bool:
        """Waits until so much is held; False: it cannot be had."""
        if cost > self._held and self._asking is not None:
            await self._asking
        if cost > self._held:
            await self._ask(cost)
        if cost > self._held and self._lends and not self._store_answered:
            self._held = cost + self._step
        return cost <= self._held

    async def _ask(self, cost: int) -> None:
        """Asks for a step more than this cost; refused, once for whatever is left. An ask that brings less than a step
        is the last early one: the next waits until the line is reached."""
        more = max(0, cost - self._held) + self._step
        outcome = await self._hold(more)
        if isinstance(outcome, Refused) and outcome.left > 0:
            await self._hold(outcome.left)
        if isinstance(outcome, Renewed):
            self._step = min(self._step * 2, self._max_step)
        else:
            self._asks_early = False
        self._asking = None

    async def _hold(self, more: int) -> RenewOutcome | None:
        outcome = await self._renew(more)
        self._store_answered = outcome is not None
        if isinstance(outcome, Renewed | Refused):
            self._held = outcome.amount
        return outcome


def _short(usage: Usage, output: int) -> Usage:
    """The usage of an answer of which only so much was delivered."""
    return usage._replace(output=output, reasoning=min(usage.reasoning, output), estimated=True)
