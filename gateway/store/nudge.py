"""Wakes the worker: "there is something in the ledger's inbox". Off the request path, at most every 250 ms.

A nudge is an RQ job with an id of its own for each partition and ten seconds, enqueued only when there is none: a job
that a dead worker left behind blocks its twins for ten seconds at the most, and one that ended or failed is forgotten
at once and blocks none. Nothing depends on a nudge: the stream is the record, and the worker's own schedule looks at it
every few seconds (FACTS section 4).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import redis
from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from gateway.store.keys import Keys

log = logging.getLogger("quotagate.store")

QUEUE = "quotagate"
#: The job's function, by name: the gateway never imports the worker.
DRAIN = "worker.drain.drain"
PERIOD_S = 0.25
_SLOT_S = 10


def queue(client: redis.Redis) -> Queue:
    """The one queue of Quotagate's jobs. JSON, because pickle from a shared Redis would run whatever it says."""
    return Queue(QUEUE, connection=client, serializer=JSONSerializer)


def nudge(client: redis.Redis, partitions: list[str]) -> None:
    """Enqueues a drain of each partition, unless one waits already. Raises redis.RedisError."""
    jobs = queue(client)
    for partition in partitions:
        with contextlib.suppress(DuplicateJobError):
            jobs.enqueue(
                DRAIN,
                partition,
                job_id=f"drain-{partition}-{int(time.time()) // _SLOT_S}",
                unique=True,
                result_ttl=0,
                failure_ttl=0,
            )


class Nudger:
    """Nudges when something is `wanted`, from a thread, so that the event loop never waits for it."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._partitions = keys.all_partitions()
        self.wanted = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="quotagate-nudger")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self.wanted:
            await self._nudge()
        self._client.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            if self.wanted:
                self.wanted = False
                await self._nudge()

    async def _nudge(self) -> None:
        try:
            await asyncio.to_thread(nudge, self._client, self._partitions)
        except redis.RedisError as error:
            log.warning("the worker was not nudged, its schedule will find the events: %s", error)
