"""Runs script calls over redis-py, one after the other: for the worker, the command line and tests.

The gateway's hot path has `gateway.store.link` instead. Off it, redis-py does everything, without its own retries: a
script whose reply was lost is repeated here, with its id (FACTS section 3).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.store.calls import Call
from gateway.store.link import PASSING, REFUSING
from gateway.store.loader import Script, load_all

T = TypeVar("T")

#: How often a call is sent, with the same id, before it is given up as indeterminate.
ATTEMPTS = 3
#: As redis-py hands on what Redis 6.2 says of a script whose first write was refused: nothing was written.
_INSIDE_SCRIPT = re.compile(r"^(?:ERR )?Error running script .*: -([A-Z]+) ")


def connect(url: str, *, timeout_s: float = 5.0) -> redis.Redis:
    """A redis-py client that repeats nothing by itself and never reads another caller's reply."""
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


class Runner:
    """Runs calls, synchronously. `server_version` spares asking: fakeredis has no INFO."""

    def __init__(self, client: redis.Redis, server_version: str | None = None) -> None:
        self.client = client
        self._scripts: dict[str, Script] = load_all(server_version) if server_version else {}

    def run(self, call: Call[T]) -> T:
        """The outcome of one call.

        Raises StoreUnavailable when Redis was never reached or would not run the script, Indeterminate when a reply was
        lost, each time it was repeated, and ScriptFault when the script failed.
        """
        return self.run_many([call])[0]

    def run_many(self, calls: Sequence[Call[T]]) -> list[T]:
        """The outcomes of many calls, in one round trip. Each call stands alone: there is no transaction."""
        fault: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                replies = self._send(calls)
            except (redis.ConnectionError, redis.TimeoutError) as error:
                if _refuses(error):  # A reply such as LOADING, which redis-py raises as if the connection had ended.
                    refused = StoreUnavailable if fault is None and len(calls) == 1 else Indeterminate
                    raise refused(f"Redis refused {calls[0].script}: {error}") from error
                fault = error
                continue
            return [read(call, reply, sent=fault is not None) for call, reply in zip(calls, replies, strict=True)]
        raise Indeterminate(f"Redis did not answer: {fault}") from fault

    def _send(self, calls: Sequence[Call[T]]) -> list[Any]:
        scripts = self._scripts or self._learn_scripts()
        names = {call.script for call in calls}
        # Of several scripts a server may know only some, whose calls would then run before those of the others.
        replies = self._pipeline(calls, scripts, load=names if len(names) > 1 else ())
        missing = [n for n, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
        if missing:  # A script that the server does not know did not run: loading and repeating is safe.
            again = self._pipeline([calls[n] for n in missing], scripts, load={calls[n].script for n in missing})
            for n, reply in zip(missing, again, strict=True):
                replies[n] = reply
        return replies

    def _pipeline(self, calls: Iterable[Call[T]], scripts: dict[str, Script], load: Collection[str]) -> list[Any]:
        """The replies to the calls, after the scripts named in `load` were loaded."""
        pipeline = self.client.pipeline(transaction=False)
        for name in load:
            pipeline.execute_command("SCRIPT LOAD", scripts[name].text)  # type: ignore[no-untyped-call]
        for call in calls:
            pipeline.execute_command(  # type: ignore[no-untyped-call]
                "EVALSHA", scripts[call.script].sha, 1, call.key, *call.args
            )
        return pipeline.execute(raise_on_error=False)[len(load) :]

    def _learn_scripts(self) -> dict[str, Script]:
        try:
            version = self.client.info("server")["redis_version"]
        except redis.RedisError as error:
            raise StoreUnavailable(f"Redis cannot be reached: {error}") from error
        self._scripts = load_all(version)
        return self._scripts


def read(call: Call[T], reply: Any, *, sent: bool = False) -> T:
    """What a reply means. `sent`: an earlier sending, whose reply was lost, may have run.

    Raises StoreUnavailable or Indeterminate when Redis would not run the script, and ScriptFault when the reply is
    another error or another call's.
    """
    if isinstance(reply, Exception):
        if _refuses(reply):
            refused = Indeterminate if sent else StoreUnavailable
            raise refused(f"Redis refused {call.script}: {reply}") from reply
        raise ScriptFault(f"{call.script} {call.id}: {reply}") from reply
    if not isinstance(reply, list) or len(reply) < 2 or reply[1] != call.id.encode():
        raise ScriptFault(f"{call.script} {call.id}: the reply {reply!r} belongs to another call")
    return call.parse(reply)


def _refuses(error: Exception) -> bool:
    """Whether an error says that the script has not run, by the words that `gateway.store.link` goes by."""
    inside = _INSIDE_SCRIPT.search(str(error))
    # redis-py takes the word off the errors that it has a class for, and keeps it as their code.
    word = inside[1] if inside else getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return word in PASSING or word in REFUSING
