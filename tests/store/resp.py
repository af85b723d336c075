"""Redis servers that misbehave as a test says: one that is all script, and one that stands before a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import hiredis

#: What stands in place of a reply: none ever comes, or the connection ends.
SILENCE, HANG_UP = b"", None
Words = list[bytes]
#: From a script call's words to its reply in RESP.
Answer = Callable[[Words], bytes | Awaitable[bytes | None] | None]


def reply_of(*items: str | int) -> bytes:
    """A script's reply in RESP: reply_of("released", "r1", 7)."""
    return b"*%d\r\n" % len(items) + b"".join(
        b":%d\r\n" % item if isinstance(item, int) else b"$%d\r\n%s\r\n" % (len(item.encode()), item.encode())
        for item in items
    )


def released(words: Words) -> bytes:
    """What `release` answers, with the id that it was called with."""
    return reply_of("released", words[4].decode(), 7)


class FakeRedis:
    """Greets as Redis does, and answers EVALSHA and all else that is not a greeting as a test says."""

    def __init__(self, answer: Answer = released, *, byte_by_byte: bool = False) -> None:
        self.answer = answer
        self._byte_by_byte = byte_by_byte
        #: Every command that arrived, in order.
        self.commands: list[Words] = []
        #: How many connections were made, and how many of them are open.
        self.connections = self.open_connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    @property
    def calls(self) -> list[str]:
        """The ids of the script calls that arrived, in order."""
        return [words[4].decode() for words in self.commands if words[0] == b"EVALSHA"]

    def drop_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.drop_connections()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._writers.append(writer)
        try:
            await self._converse(reader, writer)
        finally:
            self.open_connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                parser.feed(data)
                while (words := parser.gets()) is not False:
                    self.commands.append(words)
                    reply = self._greeting(words)
                    if reply is None:
                        answered = self.answer(words)
                        reply = await answered if isinstance(answered, Awaitable) else answered
                    if reply is HANG_UP:
                        writer.transport.abort()
                        return
                    for piece in _bytes_of(reply) if self._byte_by_byte else [reply]:
                        writer.write(piece)
                        await asyncio.sleep(0)

    def _greeting(self, words: Words) -> bytes | None:
        match [word.upper() for word in words[:2]]:
            case [b"HELLO", _]:
                return reply_of("server", "redis", "version", "6.2.14", "proto", 2)
            case [b"SELECT", _]:
                return b"+OK\r\n"
            case [b"SCRIPT", b"LOAD"]:
                return reply_of("sha")[4:]
        return None


def _bytes_of(reply: bytes) -> list[bytes]:
    return [reply[n : n + 1] for n in range(len(reply))]


class CutsReplies:
    """Stands before a real server, passes everything on, and cuts the connection in place of a reply when told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        #: A call that has this word in it is run, and its reply is lost. Once.
        self.cut: bytes | None = None
        self.cuts = 0
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(self._pass(client, to_server), self._pass_back(server, to_client))
        except ConnectionError:
            pass
        finally:
            to_client.transport.abort()
            to_server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.cut is not None and self.cut in data:
                self.cut, self.cuts = None, self.cuts + 1
            writer.write(data)
        raise ConnectionResetError

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts = self.cuts
        while data := await reader.read(65536):
            if self.cuts > cuts:
                break  # The server has run the call: its reply is here, and goes no further.
            writer.write(data)
        raise ConnectionResetError
