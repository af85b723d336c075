"""The caller of `annotate`, which notes what a reservation is for. See `gateway.store.calls`."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.reservation import Unknown
from gateway.store.calls import Call, Reply, surprise


@dataclass(frozen=True, slots=True)
class Annotated:
    """The reservation says what it is for."""

    id: str


def annotate(account_key: str, id: str, purpose: str, metadata: str) -> Call[Annotated | Unknown]:
    """What an open reservation is for, in its caller's words and as JSON text. Its end tells the ledger."""
    return Call("annotate", id, account_key, (id, "", purpose, metadata), _annotated)


def _annotated(reply: Reply) -> Annotated | Unknown:
    match reply:
        case [b"annotated", id]:
            return Annotated(id.decode())
        case [b"unknown", id]:
            return Unknown(id.decode())
    raise surprise("annotate", reply)
