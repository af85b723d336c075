"""A Redis as a worker leaves it at its start: empty, and known to be so."""

from __future__ import annotations

import redis

from gateway.store import epoch
from gateway.store.keys import Keys


def ready(client: redis.Redis, partitions: int = 4) -> redis.Redis:
    """Empties a server, and sets the epoch of as many partitions as any test uses."""
    client.flushall()
    epoch.set_where_missing(client, Keys(partitions).all_partitions(), "a test")
    return client
