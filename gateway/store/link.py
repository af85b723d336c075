"""The gateway's link to Redis: one shared, pipelined connection a process.

Commands of one loop tick leave in one write; replies are matched to callers in order. Measured at 12 µs for a reserve
and a settle, where a pool of connections costs 130 µs and more (DESIGN section 6). It is also the safe shape: a caller
that is cancelled leaves its place in the queue, so its reply can never be read by the next one.

A reply that is lost with the connection makes its call *indeterminate*: it may have run or not. `run` repeats it with
the same id, which every script answers from what stands, until the deadline; then it raises `Indeterminate`.

An outage is waited for once: when Redis has been away for as long as a call's deadline, calls fail at once, until a
new connection has answered a PING. One that only greets, or only listens, is no connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, cast

import hiredis
from redis.connection import parse_url

from gateway.domain.errors import Indeterminate, ScriptFault, StoreUnavailable
from gateway.store.calls import Call
from gateway.store.loader import Script, load_all

log = logging.getLogger("quotagate.store")
T = TypeVar("T")

#: Errors after which the script has not run, and may run soon: loading a dataset, another script, a failover.
PASSING = ("LOADING", "BUSY", "READONLY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")
#: Errors after which the script has not run and will not until someone mends the server.
REFUSING = ("OOM", "MISCONF", "NOREPLICAS", "NOAUTH", "NOPERM")
#: Redis 6.2 wraps what the first write of a script ran into; nothing was written then either.
_INSIDE_SCRIPT = re.compile(r"^ERR Error running script .*: -([A-Z]+) ")
#: How long to wait before a call is repeated after a passing error.
PAUSE_S = 0.05
#: Reconnection waits this long at first, doubling up to the maximum, each with up to as much jitter.
BACKOFF_S, BACKOFF_MAX_S = 0.05, 2.0
#: How often the oldest unanswered command's deadline is looked at. One timer a link, none a call.
TICK_S = 0.1
#: Why a connection ended whose server keeps silent.
SILENCE = "a reply did not come in time"


class Store(Protocol):
    """What the gateway needs of Redis. `Link` is the real one; tests pass fakeredis behind `AsyncRunner`."""

    async def run(self, call: Call[T]) -> T:
        """The outcome of one script call. Raises StoreUnavailable, Indeterminate or ScriptFault."""

    async def read_hash(self, key: str) -> dict[str, str]:
        """All fields of a hash, {} when there is none. Raises StoreUnavailable."""

    async def read_text(self, key: str) -> str | None:
        """What a plain key holds, None when there is none. Raises StoreUnavailable."""

    async def write_hash(self, key: str, fields: Mapping[str, str | int]) -> None:
        """Sets fields of a hash, once or, after a lost connection, twice. Raises StoreUnavailable."""


class Lost(Exception):
    """The connection ended between a command and its reply."""


class Link:
    """A `Store` over one connection that mends itself."""

    def __init__(self, url: str, *, deadline_s: float = 2.0) -> None:
        self._address = parse_url(url)  # type: ignore[no-untyped-call]
        self._deadline_s = deadline_s
        self._scripts: dict[str, Script] = {}
        self._connection: _Connection | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False
        #: From when on nobody waits for a connection, and when the present one has lived long enough to be believed:
        #: one that ends sooner belongs to the outage before it. On the loop's clock.
        self._away_at = self._believed_at = 0.0
        #: The outage was said in the log.
        self._said_away = False
        #: Looked up once: in Python 3.11 each look costs a system call.
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, call: Call[T]) -> T:
        loop = self._loop or asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_s
        sent = False
        while True:
            connection = self._connection or await self._wait_connected(min(deadline, self._away_at), sent)
            try:
                reply = await connection.exchange(self._pack(call), deadline)
            except Lost:
                sent = True
                continue
            if isinstance(reply, list):
                if len(reply) < 2 or reply[1] != call.id.encode():
                    connection.drop("a reply did not echo the id of its call")
                    raise ScriptFault(f"{call.script} {call.id}: the reply {reply!r} belongs to another call")
                return call.parse(reply)
            await self._after_error(call, str(reply), connection, deadline, sent)

    async def read_hash(self, key: str) -> dict[str, str]:
        reply = await self._command("HGETALL", key)
        words = [word.decode() for word in reply]
        return dict(zip(words[::2], words[1::2], strict=True))

    async def read_text(self, key: str) -> str | None:
        reply = await self._command("GET", key)
        return None if reply is None else reply.decode("utf-8", "replace")

    async def write_hash(self, key: str, fields: Mapping[str, str | int]) -> None:
        await self._command("HSET", key, *(word for item in fields.items() for word in item))

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Begins to connect, and keeps connecting. Calls made meanwhile wait for it until their deadline."""
        if self._keeper is None:
            self._closing = False
            self._loop = asyncio.get_running_loop()
            self._away_at = self._loop.time() + self._deadline_s
            self._keeper = asyncio.create_task(self._keep_connected(), name="quotagate-link")

    async def wait_up(self, timeout_s: float) -> None:
        """Raises StoreUnavailable when there is no connection after `timeout_s`."""
        await self._wait_connected(asyncio.get_running_loop().time() + timeout_s, sent=False)

    async def close(self) -> None:
        """Ends the connection. Whoever waits for a reply, or for a connection, hears of it."""
        self._closing = True
        self._connected.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        if self._connection is not None:
            self._connection.drop("the link was closed")

    # ── one call ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _command(self, name: str, key: str, *words: str | int) -> Any:
        """The reply to a command that may be sent twice."""
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        while True:
            connection = self._connection or await self._wait_connected(min(deadline, self._away_at), sent=False)
            try:
                reply = await connection.exchange(_packed(name, key, *words), deadline)
            except Lost:
                continue
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"Redis refused {name} {key}: {reply}")
            return reply

    def _pack(self, call: Call[Any]) -> bytes:
        own = _packed("EVALSHA", self._scripts[call.script].sha, 1, call.key, *call.own)
        terms = call.terms
        if not terms.words:
            return own
        # Only the number of words, at the very beginning, changes with what is added at the end.
        count = 4 + len(call.own) + len(terms.words)
        return b"*%d%b%b" % (count, own[own.index(b"\r") :], terms.packed)

    async def _after_error(
        self, call: Call[Any], error: str, connection: _Connection, deadline: float, sent: bool
    ) -> None:
        """Returns when the call may be repeated; raises when it may not. `sent`: an earlier sending may have run."""
        inside = _INSIDE_SCRIPT.search(error)
        word = inside[1] if inside else error.partition(" ")[0]
        now = asyncio.get_running_loop().time()
        if word == "NOSCRIPT" and now < deadline:  # The server restarted or was flushed: the script did not run.
            connection.send(_packed("SCRIPT", "LOAD", self._scripts[call.script].text), None, deadline)
        elif word in PASSING and now + PAUSE_S < deadline:
            if word == "READONLY":
                connection.drop("the server became a replica")
            await asyncio.sleep(PAUSE_S)
        elif word in PASSING or word in REFUSING or word == "NOSCRIPT":
            refused = Indeterminate if sent else StoreUnavailable
            raise refused(f"Redis refused {call.script}: {error}")
        else:
            raise ScriptFault(f"{call.script} {call.id}: {error}")

    async def _wait_connected(self, deadline: float, sent: bool) -> _Connection:
        try:
            async with asyncio.timeout_at(deadline):
                while self._connection is None and not self._closing:
                    await self._connected.wait()
        except TimeoutError:
            pass
        if self._connection is not None:
            return self._connection
        if sent:
            raise Indeterminate("the reply was lost and Redis did not come back in time")
        raise StoreUnavailable("the link to Redis was closed" if self._closing else "Redis cannot be reached")

    # ── the connection ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_connected(self) -> None:
        backoff_s = BACKOFF_S
        while True:
            try:
                connection = await self._connect()
            except (OSError, Lost, TimeoutError, StoreUnavailable, hiredis.HiredisError, ValueError) as error:
                self._say_away(str(error) or type(error).__name__, backoff_s)
                await asyncio.sleep(backoff_s * (1 + random.random()))  # noqa: S311  jitter, not a secret
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
                continue
            backoff_s = BACKOFF_S
            if not connection.closed.done():
                self._use(connection)
            reason = await asyncio.shield(connection.closed)
            log.warning("the connection to Redis ended: %s", reason)

    def _say_away(self, reason: str, next_try_s: float) -> None:
        """Each failed try is logged until calls fail at once, then nothing until Redis is back."""
        if asyncio.get_running_loop().time() <= self._away_at:
            log.warning("Redis cannot be reached, next try in %.2f s: %s", next_try_s, reason)
        elif not self._said_away:
            self._said_away = True
            log.error("Redis cannot be reached, calls fail at once until it is back: %s", reason)

    def _use(self, connection: _Connection) -> None:
        self._believed_at = asyncio.get_running_loop().time() + self._deadline_s
        self._connection = connection
        self._connected.set()
        if self._said_away:
            self._said_away = False
            log.warning("Redis is back")

    def _forget(self, reason: str) -> None:
        """Called at the very moment a connection ends: from then on callers wait for the next one, for a while. Not
        after a silence: that has lasted for a deadline already."""
        now = asyncio.get_running_loop().time()
        if self._connection is not None and now >= self._believed_at:
            self._away_at = now if reason == SILENCE else now + self._deadline_s
        self._connection = None
        self._connected.clear()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()

        def connection_of() -> _Connection:
            return _Connection(self._forget)

        address = self._address
        async with asyncio.timeout(self._deadline_s):
            connection: _Connection
            if "path" in address:
                _, connection = await loop.create_unix_connection(connection_of, address["path"])
            else:
                _, connection = await loop.create_connection(
                    connection_of,
                    address.get("host", "localhost"),
                    address.get("port", 6379),
                    ssl=ssl.create_default_context() if "connection_class" in address else None,
                )
            try:
                await self._greet(connection)
                if loop.time() > self._away_at:
                    await connection.ask(["PING"])
            except BaseException:
                connection.drop("the greeting failed")
                raise
            return connection

    async def _greet(self, connection: _Connection) -> None:
        hello: list[str | int] = ["HELLO", 2]
        if "password" in self._address:
            hello += ["AUTH", self._address.get("username") or "default", self._address["password"]]
        hello += ["SETNAME", "quotagate-gateway"]
        greeting = await connection.ask(hello)
        if self._address.get("db"):
            await connection.ask(["SELECT", self._address["db"]])
        version = greeting[greeting.index(b"version") + 1].decode()
        self._scripts = load_all(version)
        for script in self._scripts.values():
            await connection.ask(["SCRIPT", "LOAD", script.text])


class _Connection(asyncio.Protocol):
    """RESP over one transport: a queue of commands, a queue of those who wait for replies, in the same order."""

    def __init__(self, on_end: Callable[[str], None]) -> None:
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        #: Who waits, oldest first: a future (None: nobody cares) and the deadline of its command.
        self._waiting: deque[tuple[asyncio.Future[Any] | None, float]] = deque()
        self._outgoing: list[bytes] = []
        self._ticker: asyncio.TimerHandle | None = None
        #: Resolves to the reason when the connection has ended.
        self.closed: asyncio.Future[str] = self._loop.create_future()

    async def exchange(self, command: bytes, deadline: float) -> Any:
        """The reply to a packed command. Raises Lost."""
        future = self._loop.create_future()
        self.send(command, future, deadline)
        return await future

    async def ask(self, words: list[str | int]) -> Any:
        """The reply to a command of the greeting. Raises Lost, and StoreUnavailable for an error reply."""
        reply = await self.exchange(_packed(*words), self._loop.time() + 5.0)
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailable(f"Redis answered {words[0]} with: {reply}")
        return reply

    def send(self, command: bytes, future: asyncio.Future[Any] | None, deadline: float) -> None:
        if self.closed.done():
            if future is not None:
                future.set_exception(Lost())
            return
        self._waiting.append((future, deadline))
        self._outgoing.append(command)
        if len(self._outgoing) == 1:
            self._loop.call_soon(self._flush)

    def drop(self, reason: str) -> None:
        """Ends the connection. Everyone who waits hears that their reply is lost."""
        if self.closed.done():
            return
        self.closed.set_result(reason)
        self._on_end(reason)
        if self._ticker is not None:
            self._ticker.cancel()
        if self._transport is not None:
            self._transport.abort()
        for future, _ in self._waiting:
            if future is not None and not future.done():
                future.set_exception(Lost())
        self._waiting.clear()

    def _flush(self) -> None:
        if self._outgoing and self._transport is not None:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _tick(self) -> None:
        if self._waiting and self._loop.time() > self._waiting[0][1]:
            self.drop(SILENCE)
        else:
            self._ticker = self._loop.call_later(TICK_S, self._tick)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._waiting:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                self.drop(f"the server does not speak Redis: {error}")
                return
            if reply is False:
                return
            future, _ = self._waiting.popleft()
            if future is not None and not future.done():
                future.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(str(exc) if exc else "the server closed it")


def _packed(*words: str | int | bytes) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub says one word
    return packed
