"""The drain: events from a partition's stream into ledger rows, a batch a transaction.

Rows are committed first, then the events are acknowledged and deleted. A worker that dies in between leaves them
pending; another one claims them, and inserts nothing twice. An event that cannot be recorded does not hold up the
others: after MAX_TRIES deliveries it is set aside, kept, and shouted about. A database that is away, read only or
without a table is not an event's fault: the job fails, and every event stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DataError, IntegrityError

from gateway.domain.event import Event, MalformedEvent, read_event
from gateway.ledger.record import record
from gateway.store.inbox import Delivery, Inbox
from worker import notify, runtime
from worker.metrics import COUNTS

log = logging.getLogger("quotagate.worker")

#: Events a transaction. Twice as many as 1,000 took a quarter less time each; more than these gained nothing.
BATCH = 2000
MAX_TRIES = 5
#: A job goes on for so long at the most, then makes room for others; the next nudge carries on.
MAX_JOB_S = 10.0

#: What an event is to blame for: the database can be used, and cannot hold these values. Everything else that a commit
#: raises is the database's own trouble, and would set every event aside.
_EVENTS_FAULT = (DataError, IntegrityError, ValueError, OverflowError)

Record = Callable[[Sequence[Event]], int]


def drain(partition: str) -> int:
    """RQ job: drains one partition until it is empty. Returns how many events left the stream."""
    system = runtime.system()
    inbox = Inbox(system.redis, partition, runtime.consumer())
    inbox.open()

    def commit(events: Sequence[Event]) -> int:
        rows = record(system.ledger, events)
        notify.look(system, events)
        return rows

    return drain_inbox(inbox, commit)


def drain_inbox(inbox: Inbox, commit: Record, max_s: float = MAX_JOB_S) -> int:
    """Drains an inbox into `commit`. Raises what Redis and the database raise when they cannot be used: nothing is
    lost."""
    drained = 0
    end = time.monotonic() + max_s
    while deliveries := inbox.take(BATCH):
        done = _record_batch(inbox, deliveries, commit)
        inbox.done(done)
        drained += len(done)
        COUNTS.batches += 1
        COUNTS.events += len(done)
        if time.monotonic() > end:
            break
    return drained


def _record_batch(inbox: Inbox, deliveries: list[Delivery], commit: Record) -> list[Delivery]:
    """Records a batch. Returns what may be acknowledged."""
    readable: list[tuple[Delivery, Event]] = []
    for delivery in deliveries:
        try:
            readable.append((delivery, read_event(delivery.fields, delivery.stream_id)))
        except MalformedEvent as error:
            _give_up_or_wait(inbox, delivery, str(error))
    try:
        commit([event for _, event in readable])
    except _EVENTS_FAULT:
        return [delivery for delivery, event in readable if _record_alone(inbox, delivery, event, commit)]
    return [delivery for delivery, _ in readable]


def _record_alone(inbox: Inbox, delivery: Delivery, event: Event, commit: Record) -> bool:
    """One event of a batch that failed: which of them was it?"""
    try:
        commit([event])
    except _EVENTS_FAULT as error:
        _give_up_or_wait(inbox, delivery, f"{type(error).__name__}: {error.__cause__ or error}")
        return False
    return True


def _give_up_or_wait(inbox: Inbox, delivery: Delivery, why: str) -> None:
    tries = inbox.tries(delivery)
    if tries >= MAX_TRIES:
        inbox.set_aside(delivery, why)
        COUNTS.poisoned += 1
        log.error("event %s of %s was set aside after %d tries: %s", delivery.stream_id, inbox.partition, tries, why)
    else:
        log.warning("event %s of %s could not be recorded, try %d: %s", delivery.stream_id, inbox.partition, tries, why)
