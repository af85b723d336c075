"""What Redis says of itself when it is asked: how much is open and how much waits, and whether calls can be paid.

Asked off the event loop, over a connection of its own with a short timeout: neither a scrape nor a probe may wait long,
and neither may break because Redis is away.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import redis
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.domain.errors import QuotagateError
from gateway.store import calls, epoch
from gateway.store.keys import Keys
from gateway.store.runner import Runner

#: How long Redis may take to answer a scrape or a probe.
TIMEOUT_S = 1.0

#: No account can be named so: an id has no white space.
_NOBODY = "no account"
#: The mark of a probe is gone after this.
_MARK_MS = 1000


class StoreCollector(Collector):
    """Asks Redis at each scrape: one round trip, four commands a partition."""

    def __init__(self, client: redis.Redis, partitions: list[str]) -> None:
        self._client = client
        self._partitions = partitions

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("quotagate_store_up", "1: Redis answers; 0: it does not, and what it knows is missing.")
        try:
            replies = self._ask()
        except (redis.RedisError, OSError):
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield self._family("quotagate_open_holds", "Holds that have not ended.", replies[0::4])
        yield self._family("quotagate_ledger_backlog_events", "Events not yet in the ledger.", replies[1::4])
        yield self._family("quotagate_ledger_poison_events", "Events that could not be recorded.", replies[2::4])
        ages_s = [_age_s(oldest) for oldest in replies[3::4]]
        yield self._family("quotagate_ledger_lag_seconds", "Age of the oldest event not yet in the ledger.", ages_s)

    def _ask(self) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for partition in self._partitions:
            events = Keys.of_partition(partition, "events")
            pipeline.zcard(Keys.of_partition(partition, "holds"))
            pipeline.xlen(events)
            pipeline.xlen(Keys.of_partition(partition, "poison"))
            pipeline.xrange(events, count=1)
        return pipeline.execute()

    def _family(self, name: str, what: str, values: Iterable[float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, what, labels=["partition"])
        for partition, value in zip(self._partitions, values, strict=True):
            family.add_metric([partition], value)
        return family


def _age_s(oldest: list[tuple[bytes, Any]]) -> float:
    if not oldest:
        return 0.0
    written_ms = int(oldest[0][0].partition(b"-")[0])
    return max(time.time() - written_ms / 1000, 0.0)


class StoreProbe:
    """Finds out whether Redis can run a script and take a write in each partition."""

    def __init__(self, client: redis.Redis, partitions: list[str]) -> None:
        self._client = client
        self._runner = Runner(client)
        self._partitions = partitions

    def fault(self) -> str | None:
        """Why no call can be paid now, in words that may be shown to anyone; None: calls can be paid."""
        try:
            for partition in self._partitions:
                self._runner.run(calls.peek(Keys.of_partition(partition, f"account:{_NOBODY}")))
                self._client.set(Keys.of_partition(partition, "probe"), "1", px=_MARK_MS)
            if unready := epoch.unready(self._client, self._partitions):
                return f"no epoch ({', '.join(unready)}): Redis may not know the accounts of the ledger; {epoch.REMEDY}"
        except QuotagateError as error:
            return _reason(error.__cause__ or error)
        except redis.RedisError as error:
            return _reason(error)
        return None

    def warning(self) -> str | None:
        """What Redis may lose, by the way it is set up."""
        try:
            policy = self._client.info("memory")["maxmemory_policy"]
        except (redis.RedisError, KeyError):
            return None  # Whether it can be used at all is for `fault` to say.
        if policy == "noeviction":
            return None
        return f"Redis evicts keys (maxmemory-policy {policy}): balances may vanish; set it to noeviction"


def _reason(error: BaseException) -> str:
    """Redis' own words where it answered; where it did not, no address."""
    if isinstance(error, redis.ConnectionError | redis.TimeoutError) and not isinstance(error, redis.BusyLoadingError):
        return f"Redis cannot be reached ({type(error).__name__})"
    return f"Redis refused: {getattr(error, 'status_code', None) or ''} {error}".replace("  ", " ")
