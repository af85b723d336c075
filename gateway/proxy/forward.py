"""The proxy app: an ASGI app that calls an upstream. It runs inside `QuotaMiddleware`, which finds the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from gateway.domain.errors import UpstreamBroken
from gateway.domain.route import Upstream
from gateway.proxy.headers import target, to_client, to_upstream
from gateway.proxy.upstream import Pool, UpstreamClient

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ForwardApp:
    """Forwards a governed call to its route's upstream and streams the answer back as it comes."""

    def __init__(self, connect: Callable[[Upstream], UpstreamClient] = Pool) -> None:
        self._connect = connect
        self._clients: dict[str, tuple[Upstream, UpstreamClient]] = {}
        #: Clients of upstreams that have changed since: calls may still run on them.
        self._replaced: list[UpstreamClient] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        call = scope["quotagate"]
        upstream = call.config.upstreams[call.route.upstream]
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UpstreamBroken("the client left before its request was whole")
        answer = await self._client(upstream).send(
            scope["method"].encode(),
            target(scope["raw_path"], scope["query_string"]),
            to_upstream(scope["headers"], upstream.headers),
            _pieces(message, receive) if message.get("more_body") else message["body"],
            call.route.timeouts,
        )
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": to_client(answer.headers)})
            more = True
            while more:
                data = await answer.read()
                more = not answer.ended()
                await send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            answer.close()

    async def close(self) -> None:
        clients = [*self._replaced, *(client for _, client in self._clients.values())]
        await asyncio.gather(*(client.close() for client in clients))
        self._clients.clear()
        self._replaced.clear()

    def _client(self, upstream: Upstream) -> UpstreamClient:
        known = self._clients.get(upstream.name)
        if known is not None and known[0] is upstream:
            return known[1]
        if known is not None and known[0] == upstream:  # The config was read again, this part stayed as it was.
            client = known[1]
        else:
            client = self._connect(upstream)
            if known is not None:
                self._replaced.append(known[1])
        self._clients[upstream.name] = (upstream, client)
        return client


async def _pieces(first: Message, receive: Receive) -> AsyncIterator[bytes]:
    message = first
    while True:
        yield message.get("body", b"")
        if not message.get("more_body"):
            return
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UpstreamBroken("the client left before its request was whole")
