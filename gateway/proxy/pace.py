"""Throttle policies: a stream is slowed to a rate of output tokens, instead of being denied.

Each process paces on its own, and the streams of one account, key or team share its pace there. What is paced is what
has been counted; the client waits, the upstream feels it as a reader that takes its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

from gateway.domain.policy import Policy

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

#: Forgotten all at once beyond this: who streams then begins with a fresh burst.
MAX_PACES = 10_000


class Pace:
    """The generic cell rate algorithm in seconds, for one subject of one policy."""

    __slots__ = ("_arrival", "_burst_s", "_token_s")

    def __init__(self, policy: Policy) -> None:
        rate = policy.rate
        self._token_s = rate.period_ms / rate.limit / 1000
        self._burst_s = rate.room * self._token_s
        self._arrival = 0.0

    def delay_s(self, tokens: int, now_s: float) -> float:
        """Counts tokens, and says how long whoever brings them waits."""
        self._arrival = max(now_s, self._arrival) + tokens * self._token_s
        return max(0.0, self._arrival - now_s - self._burst_s)


class Paces:
    """All paces of a process."""

    def __init__(self) -> None:
        self._paces: dict[tuple[Policy, str], Pace] = {}

    def of(self, policies: Iterable[Policy], who: Mapping[str, str]) -> list[Pace]:
        """The paces that a call keeps. `who`: what each dimension stands for in it, "" for none."""
        found = []
        for policy in policies:
            subject = [who.get(dimension, "") for dimension in policy.by]
            if all(subject):
                found.append(self._pace((policy, "\n".join(subject))))
        return found

    def _pace(self, key: tuple[Policy, str]) -> Pace:
        pace = self._paces.get(key)
        if pace is None:
            if len(self._paces) >= MAX_PACES:
                self._paces.clear()
            pace = self._paces[key] = Pace(key[0])
        return pace


def throttled(send: Send, paces: Sequence[Pace], counted: Callable[[], int], is_gone: Callable[[], bool]) -> Send:
    """`send` that keeps the paces. `counted`: the tokens that the stream has brought so far; `is_gone`: whether there
    is still a client to be slow for."""
    loop = asyncio.get_running_loop()
    told, in_pieces = 0, False

    async def slowed(message: Message) -> None:
        nonlocal told, in_pieces
        in_pieces = in_pieces or message.get("more_body", False)
        # What comes in one piece is no stream; the last piece of one may bring words as well.
        if in_pieces and message["type"] == "http.response.body":
            tokens, told = counted() - told, counted()
            delay_s = max(pace.delay_s(tokens, loop.time()) for pace in paces)
            if delay_s > 0 and not is_gone():
                await asyncio.sleep(delay_s)
        await send(message)

    return slowed
