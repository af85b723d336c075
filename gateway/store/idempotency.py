"""The callers of `remember` and `keep`, which look after an `Idempotency-Key`. See `gateway.store.calls`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gateway.domain.errors import ScriptFault
from gateway.domain.idempotency import Claimed, Done, Kept, Lost, Reused, Running, Taken, Unkept
from gateway.store.calls import Call, Reply

RememberOutcome = Claimed | Running | Lost | Done | Unkept | Reused
KeepOutcome = Kept | Taken
State = Literal["done", "unkept", "free"]


class Asked(NamedTuple):
    """Which request asks under which key. Both are hashes: neither the key nor the body is a name to be read."""

    account_key: str
    hash: str
    fingerprint: str


def remember(asked: Asked, id: str, *, lease_ms: int, keep_ms: int, now_ms: int | None = None) -> Call[RememberOutcome]:
    own = (id, "" if now_ms is None else now_ms, asked.hash, asked.fingerprint, lease_ms, keep_ms)
    return Call("remember", id, asked.account_key, own, _remembered)


def keep(
    asked: Asked,
    id: str,
    state: State,
    *,
    keep_ms: int,
    status: int = 0,
    headers: bytes = b"",
    body: bytes = b"",
    now_ms: int | None = None,
) -> Call[KeepOutcome]:
    own = (
        id, "" if now_ms is None else now_ms, asked.hash, asked.fingerprint, keep_ms, state, status, headers, body,
    )  # fmt: skip
    return Call("keep", id, asked.account_key, own, _kept)


def _remembered(reply: Reply) -> RememberOutcome:
    match reply:
        case [b"claimed", id]:
            return Claimed(id.decode())
        case [b"running", id, other]:
            return Running(id.decode(), other.decode())
        case [b"lost", id, other]:
            return Lost(id.decode(), other.decode())
        case [b"done", id, other, status, headers, body]:
            return Done(id.decode(), other.decode(), status, headers, body)
        case [b"unkept", id, other, status]:
            return Unkept(id.decode(), other.decode(), status)
        case [b"reused", id, other]:
            return Reused(id.decode(), other.decode())
    raise ScriptFault(f"remember answered {reply!r}, which no one understands")


def _kept(reply: Reply) -> KeepOutcome:
    match reply:
        case [b"kept", id]:
            return Kept(id.decode())
        case [b"taken", id, other]:
            return Taken(id.decode(), other.decode())
    raise ScriptFault(f"keep answered {reply!r}, which no one understands")
