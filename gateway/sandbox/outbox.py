"""Webhooks that are to be posted: when, in which order, how often, and what became of each."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from gateway.sandbox.faults import Faults

#: When a receiver that did not answer 2xx is asked again, in seconds after each try. Xendit waits 15 minutes, then 1,
#: 3, 6, 12 and 24 hours.
RETRY_S = (2, 10, 30, 120, 600, 1800)
#: How long webhooks wait for others to overtake them.
REORDER_S = 3
#: What was posted last is remembered, so many times.
_KEPT = 1000


class Outcome(Enum):
    """What came of one post."""

    TAKEN = "taken"
    #: Another answer than 2xx, or no connection: posted again later.
    REFUSED = "refused"
    #: No answer in time: not posted again, as with Xendit.
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Message:
    """One webhook that is on its way."""

    #: "payment.capture" …
    event: str
    body: dict[str, Any]
    due_at: datetime
    #: Whether it carries the right token.
    is_proven: bool = True
    is_overtaken: bool = False
    tries: int = 0


@dataclass
class Outbox:
    """What waits, in the order in which it happened."""

    waiting: list[Message] = field(default_factory=list)
    posted: deque[tuple[Message, Outcome]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def put(self, event: str, body: dict[str, Any], now: datetime, faults: Faults) -> None:
        """Takes in what has happened."""
        if faults.dropped:
            return
        late_s = max(faults.slow_webhook, REORDER_S if faults.reordered else 0)
        message = Message(
            event, body, now + timedelta(seconds=late_s), not faults.wrong_token, is_overtaken=faults.reordered
        )
        self.waiting += [message] * faults.duplicate

    def hasten(self, now: datetime) -> None:
        """Nothing waits any longer: neither what was held back nor what is to be posted again."""
        self.waiting = [replace(message, due_at=min(message.due_at, now)) for message in self.waiting]

    def take(self, now: datetime) -> list[Message]:
        """Takes out what is due, in the order to post it in."""
        due = [message for message in self.waiting if message.due_at <= now]
        self.waiting = [message for message in self.waiting if message.due_at > now]
        return [each for each in due if not each.is_overtaken] + [each for each in reversed(due) if each.is_overtaken]

    def ended(self, message: Message, outcome: Outcome, now: datetime) -> None:
        """Notes what came of a post, and takes in the next try, where there is one."""
        self.posted.append((message, outcome))
        if outcome is Outcome.REFUSED and message.tries < len(RETRY_S):
            due_at = now + timedelta(seconds=RETRY_S[message.tries])
            self.waiting.append(replace(message, due_at=due_at, tries=message.tries + 1))
